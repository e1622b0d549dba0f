"""What a person sees of the demo: live progress per task and lag, and the summary at the end."""

from collections import defaultdict

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from devtools.performance import Moment, Summary


def live(moment: Moment, *, seconds: float, leads_per_task: int) -> RenderableType:
    """Return the picture of one moment."""
    table = Table(
        "task", "created", "assigned", "calling", "ended", "followed up", "", title=f"callstream demo, {seconds:.0f} s"
    )
    for task in moment.progress:
        bar = ProgressBar(total=leads_per_task, completed=task.ended, width=24)
        counts = (task.leads, task.assigned, task.calling, task.ended, task.followed_up)
        table.add_row(task.task_id, *map(str, counts), bar)
    return Group(table, _lag(moment))


def summary(result: Summary) -> RenderableType:
    """Return the summary: counts, statements, delays, checks."""
    facts = Table(show_header=False, title="what happened")
    facts.add_row("leads, tasks", f"{result.leads:,} in {result.tasks}")
    facts.add_row("by status", ", ".join(f"{name} {count}" for name, count in sorted(result.by_status.items())))
    meaning = {"0": "cannot tell", "1": "interested", "2": "not interested", "none": "not analysed"}
    facts.add_row("by interest", ", ".join(f"{meaning[name]} {n}" for name, n in sorted(result.by_interest.items())))
    if result.statements_per_1000_leads is not None:
        detail = ", ".join(f"{name} {count}" for name, count in result.statements.items())
        facts.add_row("statements per 1,000 leads", f"{result.statements_per_1000_leads:g} ({detail})")
    facts.add_row("call's end to its row", f"p50 {result.delay(50)} s, p99 {result.delay(99)} s")
    facts.add_row("duration", f"{result.duration_seconds:.1f} s")
    checks = Table(show_header=False, title="checks")
    for name, passed in result.checks.items():
        checks.add_row(Text("ok", "green") if passed else Text("FAILED", "bold red"), name.replace("_", " "))
    problems = [Text(problem, "red") for problem in result.problems]
    return Group(facts, checks, *problems)


def _lag(moment: Moment) -> Text:
    by_group: dict[str, int] = defaultdict(int)
    for entry in moment.lag:
        by_group[entry.group.removeprefix("callstream-")] += entry.records
    return Text("lag  " + "  ".join(f"{group} {records}" for group, records in by_group.items()), "dim")
