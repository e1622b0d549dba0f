"""`callstream recording JOB`: a fresh URL of a call's recording."""

from typing import Annotated

import psycopg
import typer

from cli.parts import cloud_client, parse_id
from runtime.errors import CallstreamError
from runtime.settings import Settings
from runtime.sql import statement
from schemas.ids import CallTaskId


def recording(job: Annotated[str, typer.Argument(metavar="JOB", show_default=False, callback=parse_id)]) -> None:
    """Print a fresh URL of a job's recording, whether recordings are stored or not."""
    settings = Settings.load()
    with psycopg.connect(settings.dsn, application_name="callstream-cli") as connection:
        row = connection.execute(statement("cli", "recording_of_job"), {"call_job_id": job}).fetchone()
    if row is None:
        raise CallstreamError(f"there is no job {job}")
    if row[0] is None:
        raise CallstreamError(f"job {job} has no call yet")
    typer.echo(cloud_client(settings).download_recording(CallTaskId(row[0])))
