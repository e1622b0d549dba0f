"""Whether the cloud lets this process in: said once when that changes, and for readiness to ask."""

import threading
from collections.abc import Callable
from typing import Final

from producers.cloud.errors import CredentialsError
from runtime.clock import SystemClock
from runtime.errors import CallstreamError
from runtime.logs import get_logger

ASK_SECONDS: Final = 10.0
OPTIONAL_ACTIONS: Final = frozenset({"QueryJobsWithResult"})
"""What the poller does without where it is not granted."""
ASKED_ACTION: Final = "DescribeInstance"
"""What is asked only in order to know; where it alone is refused, other calls that work outweigh it."""

log = get_logger(__name__)


class Admission:
    """Told of the outcome of each call; safe to share between threads."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._refused: set[str] = set()
        self._is_known = False
        self._ask_at = self._clock.monotonic()

    def note(self, action: str, error: CallstreamError | None) -> None:
        """Take what came of a call: a refusal is logged when it is new, and its end too."""
        with self._lock:
            if isinstance(error, CredentialsError):
                is_news = action not in self._refused
                self._refused.add(action)
            elif error is None:
                is_news = action in self._refused
                self._refused -= {action, ASKED_ACTION}
                self._is_known = True
            else:
                return
        if is_news and error is not None:
            log.error("cloud.refused", action=action, error=str(error))
        elif is_news:
            log.info("cloud.admitted", action=action)

    def is_granted(self) -> bool:
        """Return False where the cloud does not let us in; asks by itself, beside the caller, where nobody knows yet.

        A cloud that does not answer refuses nobody.
        """
        is_refused = bool(self._refused - OPTIONAL_ACTIONS)
        if (is_refused or not self._is_known) and self._clock.monotonic() >= self._ask_at:
            self._ask_at = self._clock.monotonic() + ASK_SECONDS
            threading.Thread(target=self._ask_quietly, name="admission", daemon=True).start()
        return not is_refused

    def _ask_quietly(self) -> None:
        try:
            self._ask()
        except CallstreamError:
            return  # `note` was told
