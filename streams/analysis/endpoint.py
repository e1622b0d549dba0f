"""One question to an OpenAI-compatible endpoint, and what its errors mean."""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import openai
from openai.types.chat import ChatCompletion

from runtime import metrics
from runtime.clock import Clock
from runtime.errors import CallstreamError, FatalError, RejectedError, RetryableError
from runtime.settings import AnalysisSettings
from streams.analysis.prompting import SCHEMA, Answer, UnusableError, prompt, read_answer

MOST_TOKENS: Final = 600
LOCKED_OUT: Final = frozenset({401, 403, 404})
# What endpoints call a conversation that they will never answer for: OpenAI, Azure, DashScope.
REFUSALS: Final = frozenset(
    {"content_filter", "content_policy_violation", "data_inspection_failed", "DataInspectionFailed"}
)
_CODE: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Endpoint:
    """Asks one model. Needs a base URL and a model in its settings; to be used from one event loop."""

    def __init__(self, settings: AnalysisSettings, clock: Clock) -> None:
        self.model = settings.model or ""
        self._clock = clock
        self._timeout = settings.timeout_seconds
        self.prompt_version, self._prompt = prompt()
        key = settings.api_key.get_secret_value() if settings.api_key else "none"
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url, api_key=key, max_retries=0, timeout=settings.timeout_seconds
        )

    async def ask(self, document: str) -> Answer:
        """Return the model's answer to one conversation, given as a document.

        Raises RetryableError where it may come later, RejectedError where the endpoint refuses this conversation,
        UnusableError for an answer that is none, FatalError where it lets nobody in: key, model or URL are wrong.
        """
        began, outcome = self._clock.monotonic(), "answered"
        try:
            async with asyncio.timeout(self._timeout):
                completion = await self._complete(document)
            return _read(completion)
        except TimeoutError:
            outcome = "timeout"
            raise RetryableError(f"the model did not answer within {self._timeout:g} s") from None
        except openai.OpenAIError as error:
            outcome = _outcome_of(error)
            raise self._meaning_of(error) from None
        except UnusableError:
            outcome = "unusable"
            raise
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
        ) as error:  # the client believes whatever a server sends
            outcome = "unusable"
            raise UnusableError(f"the endpoint's answer is no completion: {type(error).__name__}") from None
        except RejectedError:
            outcome = "refused"
            raise
        finally:
            metrics.MODEL_REQUESTS.labels(outcome).inc()
            metrics.MODEL_SECONDS.observe(self._clock.monotonic() - began)

    async def close(self) -> None:
        """Give up its connections."""
        await self._client.close()

    async def _complete(self, document: str) -> ChatCompletion:
        return await self._client.chat.completions.create(
            model=self.model,
            messages=[{"role": "system", "content": self._prompt}, {"role": "user", "content": document}],
            temperature=0,
            max_tokens=MOST_TOKENS,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "follow_up", "strict": True, "schema": dict(SCHEMA)},
            },
        )

    def _meaning_of(self, error: openai.OpenAIError) -> CallstreamError:
        if not isinstance(error, openai.APIStatusError):
            return RetryableError(f"the model cannot be reached: {type(error).__name__}")
        status, code = error.status_code, _code_of(error)
        if status in LOCKED_OUT:
            return FatalError(f"the model's endpoint answers {status} {code}: check key, model and URL of the analysis")
        if status in {400, 422} and code in REFUSALS:
            return RejectedError("the endpoint refuses this conversation", code=code)
        after = retry_after(error.response.headers, self._clock.now())
        return RetryableError(f"the model's endpoint answers {status} {code}", retry_after=after)


def _code_of(error: openai.APIStatusError) -> str:
    """Return the endpoint's code where it looks like one: it is logged, and whatever else stands there is not."""
    code: object = error.code
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that the other side wants to be left alone for, given as a number or as a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


def _read(completion: ChatCompletion) -> Answer:
    """Return the answer in a completion; what a careless server left out of it counts as no answer."""
    for kind in ("prompt", "completion"):
        tokens = getattr(completion.usage, f"{kind}_tokens", None)
        if isinstance(tokens, int):
            metrics.MODEL_TOKENS.labels(kind).inc(max(0, tokens))
    choices = cast(list[Any] | None, completion.choices)
    if not choices or choices[0].message is None:
        raise UnusableError("the completion is empty")
    message = choices[0].message
    if choices[0].finish_reason == "content_filter" or message.refusal:
        raise RejectedError("the model refuses this conversation", code="refusal")
    if choices[0].finish_reason == "length" or not message.content:
        raise UnusableError("the answer is cut off, or empty")
    return read_answer(message.content)


def _outcome_of(error: openai.OpenAIError) -> str:
    return str(error.status_code) if isinstance(error, openai.APIStatusError) else "unreachable"
