"""One role as a process of its own: `python -m cli.role NAME [SUPERVISOR]`, started by `callstream run`.

It ends with its supervisor, whose process id it is given.

Exit status: 0 after a signal, 1 to be started again, 2 for wrong settings, 3 where going on would do harm.
"""

import ctypes
import logging
import os
import signal
import sys

import psycopg

from runtime.errors import CallstreamError, FatalError
from runtime.logs import configure_logs, get_logger
from runtime.postgres import describe
from runtime.settings import Settings, SettingsError

EXIT_RESTART, EXIT_SETTINGS, EXIT_FATAL = 1, 2, 3
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the role that the argument names; returns the exit status."""
    name = sys.argv[1]
    if len(sys.argv) > 2:
        end_with(int(sys.argv[2]))
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logs need settings to be set up
        return EXIT_SETTINGS
    configure_logs(form=settings.core.log_format, level=settings.core.log_level, role=name)
    log = get_logger(__name__)
    from cli.roles import ROLES  # noqa: PLC0415 - every role's libraries, slow to import: first answer for the settings

    try:
        ROLES[name](settings)
    except FatalError as error:
        log.critical("role.fatal", error=str(error))
        return EXIT_FATAL
    except (CallstreamError, psycopg.Error) as error:
        # Said in a sentence: a traceback would add nothing, and a database error's text quotes rows.
        said = describe(error) if isinstance(error, psycopg.Error) else str(error)
        log.error("role.failed", error=said)  # noqa: TRY400 - see above
        return EXIT_RESTART
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_RESTART
    except Exception:
        log.exception("role.failed")
        return EXIT_RESTART
    return 0


def end_with(supervisor: int) -> None:
    """Ask the kernel, where it is Linux, for SIGTERM when the supervisor dies: a killed `run` leaves no orphans."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != supervisor:
        sys.exit(EXIT_RESTART)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # a thread that hangs in a dead connection must not hold the process
