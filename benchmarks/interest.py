"""How often an analyzer agrees with the labels of conversations: precision and recall per class.

Usage: python -m benchmarks.interest [--part tuning|validation|held_out]

The rules, or the model that CALLSTREAM_ANALYSIS_* name, four conversations at a time. Of the held-out ones the rules
know nothing; a model knows nothing of any. See tests/unit/streams/data/README.md for how labels were given.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import get_args

from benchmarks.measuring import record
from runtime.clock import SystemClock
from runtime.settings import Settings
from streams.analysis.model import ModelAnalyzer
from streams.analysis.protocol import Analyzer, Verdict
from streams.analysis.rules import RuleAnalyzer
from tests.unit.streams.labelled import Labelled, Part, labelled, scores

AT_ONCE = 4


def main() -> None:
    """Judge one part and keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=get_args(Part), default="held_out")
    part = parser.parse_args().part
    examples = labelled(part)
    verdicts = asyncio.run(judge_all(examples))
    found = [verdict.is_interested for verdict in verdicts]
    analyzers = Counter(verdict.analyzer for verdict in verdicts)
    record("interest", {"analyzers": dict(analyzers), "part": part, **scores(examples, found).as_dict()})


async def judge_all(examples: Sequence[Labelled]) -> list[Verdict]:
    """Return a verdict for each conversation."""
    settings = Settings.load().analysis
    analyzer: Analyzer = ModelAnalyzer(settings, SystemClock()) if settings.base_url else RuleAnalyzer()
    slots = asyncio.Semaphore(AT_ONCE)

    async def judge(example: Labelled) -> Verdict:
        async with slots:
            verdict = analyzer.analyze(example.turns)
            return await verdict if isinstance(verdict, Awaitable) else verdict

    return await asyncio.gather(*map(judge, examples))


if __name__ == "__main__":
    main()
