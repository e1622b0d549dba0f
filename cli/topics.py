"""`callstream topics create`: makes every topic, dead letters and internal ones included."""

import typer

from runtime.kafka import make_admin
from runtime.settings import Settings
from runtime.topic_admin import WantedTopic, ensure_topics, wanted_topics
from streams.changelogs import CHANGELOGS

topics = typer.Typer(name="topics", help="The topics that everything goes through.", no_args_is_help=True)


@topics.callback()
def _group() -> None:
    """The topics that everything goes through."""


@topics.command()
def create() -> None:
    """Create what is missing and name what differs; changes nothing that is there."""
    settings = Settings.load()
    report = ensure_topics(make_admin(settings.kafka), all_topics(settings))
    for name in report.created:
        typer.echo(f"created {name}")
    for sentence in report.differences:
        typer.echo(f"differs: {sentence}")
    if not report.created and not report.differences:
        typer.echo("nothing to do")


def all_topics(settings: Settings) -> list[WantedTopic]:
    """Return every topic of the contract and the changelogs of the streams' tables."""
    partitions = settings.core.topic_partitions
    changelogs = [
        WantedTopic(name=changelog.name, partitions=partitions, config=changelog.config) for changelog in CHANGELOGS
    ]
    return [*wanted_topics(partitions, settings.core.topic_retention_days), *changelogs]
