"""One role as a process of its own: `python -m cli.role ROLE PORT`, started by `callstream run`.

Exit status: 0 after a signal, 1 to be started again, 2 for wrong settings, 3 where going on would do harm.
"""

import logging
import os
import sys

from cli.roles import ROLES
from runtime.errors import FatalError
from runtime.logs import configure_logs, get_logger
from runtime.settings import Settings, SettingsError

EXIT_RESTART, EXIT_SETTINGS, EXIT_FATAL = 1, 2, 3


def main() -> int:
    """Run the role that the arguments name; returns the exit status."""
    name, port = sys.argv[1], int(sys.argv[2])
    try:
        settings = Settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logs need settings to be set up
        return EXIT_SETTINGS
    configure_logs(form=settings.core.log_format, level=settings.core.log_level, role=name)
    log = get_logger(__name__)
    try:
        ROLES[name](settings, port)
    except FatalError as error:
        log.critical("role.fatal", error=str(error))
        return EXIT_FATAL
    except Exception:
        log.exception("role.failed")
        return EXIT_RESTART
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # a thread that hangs in a dead connection must not hold the process
