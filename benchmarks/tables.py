"""The tables of docs/performance.md, section "Against others", made from the newest recorded results.

Usage: python -m benchmarks.tables

What stands between the two marks in the document is replaced; a test compares them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.measuring import RESULTS, ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- made by benchmarks.tables: begin -->\n", "<!-- made by benchmarks.tables: end -->\n"
CALLSTREAM = "callstream"


def main() -> None:
    """Put the tables into the document."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + rendered() + END + rest.partition(END)[2], encoding="utf-8")


def rendered() -> str:
    """Return what stands between the marks."""
    parts = (debezium(newest("debezium")), row_by_row(newest("row_by_row")), bad_rows(newest("bad_rows")))
    return "\n" + "\n".join(parts) + "\n"


def newest(name: str) -> dict[str, Any]:
    """Return the last result that was recorded under `name`."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return result


def debezium(result: Mapping[str, Any]) -> str:
    """Return the comparison with the Debezium JDBC sink."""
    measures = ("events_per_second", "client_cpu_us_each", "client_rss_mb", "server_cpu_us_each")
    rows = [[name, *(_number(medians[measure]) for measure in measures)] for name, medians in result["medians"].items()]
    ratios = [
        [f"callstream / {name}", *(f"**{of[measure]:.2f}**" for measure in measures)]
        for name, of in result["ratios"].items()
    ]
    head = ["", "events/s", "client CPU µs/event", "client memory MB", "server CPU µs/event"]
    return _heading("Debezium JDBC sink", "debezium", result) + _table(head, rows + ratios) + _spread(result)


def _spread(result: Mapping[str, Any]) -> str:
    lines = []
    for name in result["ratios"]:
        each = [r[CALLSTREAM]["events_per_second"] / r[name]["events_per_second"] for r in result["rounds"]]
        lines.append(f"{name}: {', '.join(f'{ratio:.2f}' for ratio in each)}")
    return f"\nMedians of {len(result['rounds'])} rounds. Events/s as ratios, round by round: {'; '.join(lines)}.\n"


def row_by_row(result: Mapping[str, Any]) -> str:
    """Return what batches gain over a statement per row."""
    said = result["statements"]
    counts = [[way, *(_counts(said[way][step]) for step in ("create", "start", "page"))] for way in said]
    leads = f"{result['leads']:,}"
    text = _heading("Row by row, the CRM's way", "row_by_row", result)
    text += "What the server was told to do, by its own log:\n\n"
    text += _table(["", f"create {leads} leads", f"start {leads} leads", "a page of 20"], counts)
    text += "\nHow long that takes:\n\n"
    head = ["", "round trip", f"create and start {leads}, ms", "times", "a page of 20, ms", "times"]
    return text + _table(head, _durations(result["networks"]))


def _durations(networks: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, network in networks.items():
        for way, medians in network["medians"].items():
            times = network["times_as_fast"].get(way)
            yield [
                f"{way}, {name}",
                f"{network['round_trip_ms']:.2f} ms",
                _number(medians["create_and_start_ms"]),
                f"**{times['create_and_start_ms']:.0f}**" if times else "1",
                _number(medians["page_ms"]),
                f"**{times['page_ms']:.1f}**" if times else "1",
            ]


def bad_rows(result: Mapping[str, Any]) -> str:
    """Return what rows cost that the database refuses."""
    rows = [
        [
            f"{each['bad']} of {result['rows']:,}, {each['way']}",
            _number(each["statements"]),
            _number(each["with_transaction_control"]),
            _number(each["ms"]),
        ]
        for each in result["results"]
    ]
    head = ["bad rows", "statements", "with transaction control", "ms"]
    return _heading("Rows that the database refuses", "bad_rows", result) + _table(head, rows)


def _heading(title: str, name: str, result: Mapping[str, Any]) -> str:
    machine = f"{result['cores']} cores, {result['memory_gb']} GB, Python {result['python']}"
    where = f"at commit `{result['commit']}`, {result['at'][:10]}, {machine}"
    return f"### {title}\n\n`python -m benchmarks.{name}` {where}.\n\n"


def _counts(said: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in said.items())


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
