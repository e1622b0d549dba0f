"""Analysis by a model, with patience: what fails is asked again, for a while.

Three kinds of trouble, three answers. The other side is away or busy: ask again with growing random pauses, nobody
sooner than it wishes (`Retry-After`); after `patience_seconds` the verdict says `unavailable/` and the audit asks again
later on. This conversation cannot be answered for: the verdict says so at once, or after three tries. Key, model or URL
are wrong: nothing is concluded from that, however long it takes, because it would make doubt of every conversation. The
questions wait, their offsets with them, the log says it once and readiness says it as long as it lasts.
"""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import Final

from runtime import metrics
from runtime.clock import Clock
from runtime.errors import FatalError, RejectedError, RetryableError
from runtime.logs import get_logger
from runtime.settings import AnalysisSettings
from schemas.followups import CANNOT_TELL
from schemas.jobs import Turn
from streams.analysis.endpoint import Endpoint
from streams.analysis.prompting import UnusableError, document_of
from streams.analysis.protocol import CONTACT, REFUSED, UNAVAILABLE, UNUSABLE, Verdict
from streams.analysis.rules import judge

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 20.0
MOST_UNUSABLE: Final = 3

log = get_logger(__name__)


class ModelAnalyzer:
    """Asks a model about whatever the contact said; where nothing was said, the rules know as much."""

    def __init__(self, settings: AnalysisSettings, clock: Clock) -> None:
        self._endpoint = Endpoint(settings, clock)
        self._patience = settings.patience_seconds
        self._clock = clock
        self._chance = random.SystemRandom()
        self._is_let_in = True
        self._quiet_until = 0.0

    def is_let_in(self) -> bool:
        """Return whether the endpoint took key, model and URL when it was asked last."""
        return self._is_let_in

    def analyze(self, conversation: Sequence[Turn]) -> Verdict | Awaitable[Verdict]:
        """Return the model's verdict, when there is one; the rules' at once where nobody but the robot spoke."""
        if not any(turn.speaker == CONTACT and turn.script.strip() for turn in conversation):
            return judge(conversation)
        return self._ask(document_of(conversation))

    async def close(self) -> None:
        """Give up its connections."""
        await self._endpoint.close()

    async def _ask(self, document: str) -> Verdict:
        with metrics.MODEL_IN_FLIGHT.track_inprogress():
            return await self._ask_patiently(document)

    async def _ask_patiently(self, document: str) -> Verdict:
        deadline, tries, unusable = self._clock.monotonic() + self._patience, 0, 0
        while True:
            if self._quiet_until > deadline:
                return self._no_answer(UNAVAILABLE, "the endpoint wants to be left alone for longer")
            try:
                await self._be_quiet()
                return await self._ask_once(document)
            except RejectedError as error:
                return self._no_answer(REFUSED, str(error))
            except UnusableError as error:
                unusable += 1
                if unusable == MOST_UNUSABLE:
                    return self._no_answer(UNUSABLE, str(error))
                pause = self._pause(unusable)
            except FatalError as error:
                self._lock_out(error)
                pause = self._pause(tries)
                deadline = self._clock.monotonic() + self._patience
            except RetryableError as error:
                self._quiet_until = max(self._quiet_until, self._clock.monotonic() + (error.retry_after or 0.0))
                pause = self._pause(tries)
                if self._clock.monotonic() + pause > deadline:
                    return self._no_answer(UNAVAILABLE, str(error))
            tries += 1
            await asyncio.sleep(pause)

    async def _be_quiet(self) -> None:
        """Wait as long as the other side wants to be left alone by everybody, then not all at the same moment."""
        while (seconds := self._quiet_until - self._clock.monotonic()) > 0:  # noqa: ASYNC110 - time tells nobody
            await asyncio.sleep(seconds + self._pause(0))

    async def _ask_once(self, document: str) -> Verdict:
        answer = await self._endpoint.ask(document)
        if not self._is_let_in:
            self._is_let_in = True
            log.info("analysis.let_in", model=self._endpoint.model)
        return Verdict(
            is_interested=answer.is_interested,
            summary=answer.summary,
            reason=answer.reason,
            analyzer=f"{self._endpoint.model}/{self._endpoint.prompt_version}",
        )

    def _lock_out(self, error: FatalError) -> None:
        if self._is_let_in:
            self._is_let_in = False
            log.critical("analysis.locked_out", model=self._endpoint.model, error=str(error))

    def _no_answer(self, kind: str, reason: str) -> Verdict:
        log.warning("analysis.no_answer", kind=kind.rstrip("/"), model=self._endpoint.model, reason=reason)
        return Verdict(
            is_interested=CANNOT_TELL,
            summary="The conversation could not be analysed.",
            reason=reason,
            analyzer=f"{kind}{self._endpoint.model}",
        )

    def _pause(self, tries: int) -> float:
        """Return a pause between half and all of what doubles from try to try."""
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries, 10)) * self._chance.uniform(0.5, 1.0)
