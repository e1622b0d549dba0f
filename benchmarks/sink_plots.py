"""Draws what `benchmarks.sink --matrix` and `--backlog` recorded last, as SVG in docs/images.

Usage: python -m benchmarks.sink_plots
"""

import json
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.measuring import RESULTS, ROOT

IMAGES = ROOT / "docs" / "images"


def main() -> None:
    """Draw both, each where it was measured."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "callstream"  # the same numbers are the same file
    IMAGES.mkdir(exist_ok=True)
    if found := recorded("sink_matrix"):
        draw_batch_sizes(found)
    if found := recorded("sink_backlog"):
        draw_backlog(found[-1])


def recorded(name: str) -> list[dict[str, Any]]:
    """Return what was recorded under a name, oldest first."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def draw_batch_sizes(results: list[dict[str, Any]]) -> None:
    """Rate and client CPU against the batch size, everything else as it was in the last run."""
    last = next(result for result in reversed(results) if result["rows"] == 100)
    same = ("fillfactor", "writing", "ready")
    newest = {result["rows"]: result for result in results if all(result[name] == last[name] for name in same)}
    sizes = sorted(newest)
    figure, rate = plt.subplots(figsize=(7, 4))
    cpu = rate.twinx()
    rate.plot(sizes, [newest[n]["ratio_to_server_side"] for n in sizes], "o-", color="tab:blue")
    cpu.plot(sizes, [newest[n]["sink_cpu_us_each"] for n in sizes], "s--", color="tab:orange")
    rate.set(xscale="log", xlabel="records per flush (CALLSTREAM_SINK_BATCH_ROWS)", ylim=(0, 1))
    rate.set_xticks(sizes, [f"{n:,}" for n in sizes])
    rate.set_ylabel("rate, as a share of one UPDATE in the server", color="tab:blue")
    cpu.set_ylabel("client CPU per event in µs", color="tab:orange")
    cpu.set_ylim(bottom=0)
    rate.grid(visible=True, alpha=0.3)
    save(figure, "sink_batch_size.svg")


def draw_backlog(result: dict[str, Any]) -> None:
    """Resident memory while a backlog is worked off."""
    samples = result["rss_mb"]
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.plot([result["seconds"] * n / max(1, len(samples) - 1) for n in range(len(samples))], samples)
    axes.axhline(150, color="tab:red", linestyle=":", label="150 MB")
    axes.set(xlabel=f"seconds into a backlog of {result['events']:,} events", ylabel="resident MB", ylim=(0, 200))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    save(figure, "sink_backlog.svg")


def save(figure: Any, name: str) -> None:
    """Write one picture."""
    figure.tight_layout()
    figure.savefig(IMAGES / name, metadata={"Date": None})


if __name__ == "__main__":
    main()
