"""`python -m devtools.cloud`: serves one simulated cloud until SIGTERM, SIGINT, or the death of its parent."""

import argparse
import asyncio
import json
import os
import signal
import sys

from devtools.cloud.gateway import Gateway
from devtools.cloud.plan import Pace
from devtools.cloud.server import serve
from devtools.cloud.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, INSTANCE_ID, Settings
from runtime.clock import SystemClock

PARENT_CHECK_SECONDS = 0.5


def main() -> None:
    """Read the command line and serve."""
    arguments = parser().parse_args()
    asyncio.run(_run(_settings(arguments), arguments.host, arguments.port, arguments.parent))


def parser() -> argparse.ArgumentParser:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m devtools.cloud", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address that it listens on")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; it is printed as JSON")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=float, default=1.0, help="2 halves every wait; calls keep their length")
    parser.add_argument("--spread", type=float, default=8.0, help="seconds within which first calls start, at speed 1")
    parser.add_argument("--unknown-ids", choices=("error", "omit"), default="error")
    parser.add_argument("--recording-seconds", type=int, default=3600, help="how long a recording's link is valid")
    parser.add_argument("--instance-id", default=INSTANCE_ID)
    parser.add_argument("--access-key-id", default=ACCESS_KEY_ID)
    parser.add_argument("--access-key-secret", default=ACCESS_KEY_SECRET)
    parser.add_argument("--parent", type=int, help="end when this process is no longer the parent")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        seed=arguments.seed,
        pace=Pace(speed=arguments.speed, spread_seconds=arguments.spread),
        instance_id=arguments.instance_id,
        access_key_id=arguments.access_key_id,
        access_key_secret=arguments.access_key_secret,
        unknown_ids=arguments.unknown_ids,
        recording_seconds=arguments.recording_seconds,
    )


async def _run(settings: Settings, host: str, port: int, parent: int | None) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner, bound = await serve(Gateway(settings), SystemClock(), port, host)
    sys.stdout.write(json.dumps({"port": bound}) + "\n")
    sys.stdout.flush()
    while not stopped.is_set() and parent in {None, os.getppid()}:
        try:
            await asyncio.wait_for(stopped.wait(), PARENT_CHECK_SECONDS)
        except TimeoutError:
            continue
    await runner.cleanup()


if __name__ == "__main__":
    main()
