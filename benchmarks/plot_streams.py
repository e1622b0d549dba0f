"""Puts the newest results of change detection into docs/performance.md: tables, and plots in docs/images.

Usage: python -m benchmarks.plot_streams
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.measuring import RESULTS, ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
OURS, OTHERS = "#2f6f9f", "#9a9a9a"


def main() -> None:
    """Draw what is recorded, and write its tables."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "callstream", "svg.fonttype": "none", "font.size": 10})
    IMAGES.mkdir(parents=True, exist_ok=True)
    detectors, recovery = last("detectors"), last("recovery")
    replace("detection", detection_table(results("change_detection")))
    draw_detectors(detectors)
    draw_recovery(recovery)
    replace("detectors", detectors_table(detectors))
    replace("recovery", recovery_table(recovery))


def results(name: str) -> list[dict[str, Any]]:
    """Return the results of a benchmark, the newest last."""
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text().splitlines()]


def last(name: str) -> dict[str, Any]:
    """Return the newest result of a benchmark."""
    return results(name)[-1]


def draw_detectors(result: dict[str, Any]) -> None:
    """Rates and CPU side by side; a dot is a round, a bar the median."""
    names = sorted(result["median"], key=lambda name: result["median"][name]["observations_per_second"])
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
    numbers = (("observations_per_second", "observations per second"), ("cpu_us_each", "CPU µs per observation"))
    for axis, (number, label) in zip(axes, numbers, strict=True):
        medians = [result["median"][name][number] for name in names]
        bars = axis.barh(names, medians, color=[OURS if name == "callstream" else OTHERS for name in names])
        axis.bar_label(bars, [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in medians], padding=4)
        for place, name in enumerate(names):
            rounds = [each[name][number] for each in result["rounds"]]
            axis.plot(rounds, [place] * len(rounds), "k.", markersize=4)
        axis.set_xlabel(label)
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, "detectors")


def draw_recovery(result: dict[str, Any]) -> None:
    """Seconds until ready and memory against the number of tracked jobs, and the changelog's bytes per change."""
    tables = [{"jobs": 0, **result["empty"]}, *result["tables"]]
    jobs = [table["jobs"] / 1e6 for table in tables]
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8))
    for axis, number, label in zip(axes, ("ready_seconds", "rss_mb"), ("seconds until ready", "MiB"), strict=False):
        axis.plot(jobs, [table[number] for table in tables], "o-", color=OURS)
        axis.set_xlabel("million tracked jobs")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    shares = {name: value for name, value in tables[-1]["changelog_bytes_per_change"].items() if name != "first"}
    bars = axes[2].bar(list(shares), list(shares.values()), color=OURS)
    axes[2].bar_label(bars, [f"{value:,.0f}" for value in shares.values()])
    axes[2].set_yscale("log")
    axes[2].set_xlabel("jobs of a page that changed")
    axes[2].set_ylabel("changelog bytes per change")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, "recovery")


def detection_table(found: Sequence[dict[str, Any]]) -> str:
    """Return the newest rate, cost and delay of each interpreter as Markdown."""
    newest = {result["python"]: result for result in found if "delay_ms_p99" in result}
    rows = [
        (
            f"{result['python']} (`{result['commit']}`, {result['at'][:10]})",
            f"{result['python_ms']:.1f}",
            f"{result['observations_per_second']:,.0f}",
            f"{result['worker_cpu_us_each']:.1f}",
            f"{result['worker_rss_mb']:,.0f}",
            f"{result['delay_ms_p50']:.0f}",
            f"{result['delay_ms_p99']:.0f}",
        )
        for result in newest.values()
    ]
    heads = (
        "Python (commit, day)", "its own speed, ms", "observations/s", "CPU µs each", "resident MiB",
        "delay p50, ms", "delay p99, ms",
    )  # fmt: skip
    return table(heads, rows)


def detectors_table(result: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    median, ratios = result["median"], result["ours_to"]
    rows = [
        (
            name,
            f"{numbers['observations_per_second']:,.0f}",
            f"{numbers['cpu_us_each']:.1f}",
            f"{numbers['rss_mb']:,.0f}",
            f"{ratios[name]:.2f}" if name in ratios else "1",
        )
        for name, numbers in median.items()
    ]
    heads = ("", "observations/s", "CPU µs each", "resident MiB", "callstream is faster by")
    return f"{provenance(result)}\n\n{table(heads, rows)}\n\n![Rates and CPU](images/detectors.svg)"


def recovery_table(result: dict[str, Any]) -> str:
    """Return recovery and the changelog's cost as Markdown."""
    rows = [
        (
            f"{each['jobs']:,}",
            f"{each['ready_seconds']:.1f}",
            f"{each['rss_mb']:.0f}",
            f"{each['memory_bytes_per_job']:.0f}",
            f"{each['row_bytes_per_job']:.0f}",
            f"{each['changelog_mb_written']:.0f} / {each['changelog_mb_compacted']:.0f}",
            *(f"{each['changelog_bytes_per_change'][share]:,.0f}" for share in ("100%", "20%", "1%")),
        )
        for each in result["tables"]
    ]
    heads = (
        "jobs", "s to ready", "resident MiB", "bytes of memory per job", "bytes of row per job",
        "changelog MB, before and after compaction", "bytes per change at 100%", "at 20%", "at 1%",
    )  # fmt: skip
    empty = (
        f"An empty table: ready after {result['empty']['ready_seconds']:.1f} s, {result['empty']['rss_mb']:.0f} MiB."
    )
    return f"{provenance(result)} {empty}\n\n{table(heads, rows)}\n\n![Recovery](images/recovery.svg)"


def provenance(result: dict[str, Any]) -> str:
    """Say where numbers come from."""
    return f"Commit `{result['commit']}`, {result['at'][:10]}, {result['cores']} cores, {result['memory_gb']} GB."


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))


def replace(name: str, text: str) -> None:
    """Put a text between the marks of its name in the document."""
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    document = DOCUMENT.read_text(encoding="utf-8")
    changed, count = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", document, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{DOCUMENT} has no place for {name}")
    DOCUMENT.write_text(changed, encoding="utf-8")


def save(figure: Any, name: str) -> None:
    """Write the figure without a date, so that the same numbers are the same file."""
    figure.tight_layout()
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
