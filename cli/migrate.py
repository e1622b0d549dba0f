"""`callstream migrate`: brings the database to this release's schema."""

import typer

from runtime.settings import Settings
from sinks.migrate import migrate as apply_migrations


def migrate() -> None:
    """Create or update the database's tables; does nothing where they are up to date."""
    applied = apply_migrations(Settings.load().dsn)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do")
