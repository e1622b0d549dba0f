"""The tables in the documents are those of the newest results."""

from benchmarks.tables import BEGIN, DOCUMENT, END, rendered


def test_the_tables_are_made_from_the_newest_results() -> None:
    """Whoever records a result makes the tables again: `python -m benchmarks.tables`."""
    _, begin, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    shown, end, _ = rest.partition(END)
    assert begin
    assert end
    assert shown == rendered()
