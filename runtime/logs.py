"""Logging: a record is a constant event name plus fields, written to stderr as JSON or for a terminal.

Only a command configures it. Libraries that log through the standard library go the same way. No record carries phone
numbers, names, conversations or credentials: values are logged by id and count.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

# Debug lines of some of them hold records and requests.
LIBRARIES = (
    "aiokafka", "faust", "mode", "rdkafka", "alibabacloud", "urllib3", "asyncio", "yoyo", "pyrate_limiter",
    "openai", "httpx", "httpx2", "httpcore", "httpcore2", "psycopg",
)  # fmt: skip
LIBRARY_SECONDS = 10.0


class LibraryLimit(logging.Filter):
    """Lets each line of a library's code speak once in a while: an outage makes it say the same a hundred times."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is ours, or its line has not spoken lately."""
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        line = record.name, record.lineno
        if record.created - self._last.get(line, -LIBRARY_SECONDS) < LIBRARY_SECONDS:
            return False
        self._last[line] = record.created
        return True


def configure_logs(*, form: str, level: str, role: str, libraries: str = "WARNING") -> None:
    """Set up structlog and the standard library's root logger; called once per process, by the entry point.

    Libraries are heard from level `libraries` upwards.
    """

    def add_role(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {**event, "role": role}

    shared: list[Processor] = [
        add_role,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    handler.addFilter(LibraryLimit())
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(libraries)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger for a module; call it with a constant event name and fields."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
