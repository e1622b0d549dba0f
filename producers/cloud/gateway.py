"""One call of the cloud: sent in its turn by the real SDK, read as JSON, its failure told in our words.

Calls go through the SDK's `call_api` with raw bytes, because its typed models cost twice the CPU; its own retries are
off, because it ignores half of what one sets. Reads are retried here, with jitter and the service's own time to wait.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from io import BytesIO
from typing import Any, Final

import orjson
from alibabacloud_outboundbot20191226.client import Client
from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
from alibabacloud_tea_openapi.utils import Utils
from darabonba import core
from darabonba.runtime import RuntimeOptions
from requests import PreparedRequest, ReadTimeout, Response, Session
from Tea.exceptions import TeaException
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from producers.cloud.admission import Admission
from producers.cloud.errors import (
    CredentialsError,
    ThrottledError,
    UnclearAnswerError,
    check_answer,
    from_exception,
    plain,
)
from producers.cloud.pace import LONGEST_HOLD_SECONDS, Pace
from runtime import metrics
from runtime.clock import SystemClock
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.settings import CloudSettings

SDK_LOGGER: Final = "darabonba-core"
READ_ATTEMPTS: Final = 4
THROTTLED: Final = "Throttling"
READ_BYTES: Final = 1 << 18

Answer = Mapping[str, Any]


def _unguarded() -> None:
    """Let every call be sent."""


class Gateway:
    """Calls of one process, spaced so that no second has more than the settings allow; safe to share between threads.

    Every method blocks for at most the time-out of a few attempts. Raises RetryableError (CredentialsError among them)
    where a later call may work, RejectedError with the service's code where it will not.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._pace = Pace(settings.max_qps)
        self._lock = threading.Lock()
        self._admission = Admission(lambda: self.read("DescribeInstance", {}))

    def is_let_in(self) -> bool:
        """Return False while the cloud refuses our credentials or does not know the instance; never blocks."""
        return self._admission.is_granted()

    def read(self, action: str, parameters: dict[str, Any]) -> Answer:
        """Call what may be called twice, a few times."""
        retrying = Retrying(
            retry=retry_if_exception(_is_worth_another),
            wait=_wait,
            stop=stop_after_attempt(READ_ATTEMPTS),
            reraise=True,
        )
        return retrying(self.write, action, parameters)

    def write(self, action: str, parameters: dict[str, Any]) -> Answer:
        """Call once; a refusal is believed, also one that comes with 200."""
        try:
            return self.call(action, parameters)
        except UnclearAnswerError as error:
            raise plain(error) from None

    def call(self, action: str, parameters: dict[str, Any], guard: Callable[[], None] = _unguarded) -> Answer:
        """Call once; a failure that comes with 200 is unclear.

        `guard` is called when the turn has come; what it raises passes, and nothing was sent.
        """
        try:
            sdk, query = self._sdk, {"InstanceId": self._instance_id, **parameters}
        except CredentialsError as error:
            self._admission.note(action, error)
            raise
        with self._pace.turn():
            guard()
            try:
                answer = self._send(sdk, action, query)
            except CallstreamError as error:
                metrics.API_CALLS.labels(action, _code(error)).inc()
                self._admission.note(action, error)
                if isinstance(error, ThrottledError):
                    self._pace.hold(error.retry_after or 0.0)
                raise
        metrics.API_CALLS.labels(action, "OK").inc()
        self._admission.note(action, None)
        return answer

    def _send(self, sdk: Client, action: str, query: dict[str, Any]) -> Answer:
        try:
            answer = sdk.call_api(_params(action), OpenApiRequest(query=Utils.query(query)), self._runtime)
        except TeaException as error:
            raise from_exception(error) from None
        return check_answer(action, _parse(action, answer["body"]))

    @property
    def _instance_id(self) -> str:
        if not self._settings.instance_id:
            raise CredentialsError("CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID is not set")
        return self._settings.instance_id

    @property
    def _sdk(self) -> Client:
        with self._lock:
            return self._made_sdk

    @cached_property
    def _made_sdk(self) -> Client:
        settings = self._settings
        if not settings.access_key_id or settings.access_key_secret is None:
            raise CredentialsError("ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET are not set")
        # With DEBUG=sdk in the environment it would log each call: the signature, phone numbers, the key's id.
        logging.getLogger(SDK_LOGGER).disabled = True
        core.Session = OneCallSession
        return Client(
            Config(
                access_key_id=settings.access_key_id,
                access_key_secret=settings.access_key_secret.get_secret_value(),
                region_id=settings.region_id,
                endpoint=settings.endpoint,
                protocol=settings.protocol,
            )
        )

    @cached_property
    def _runtime(self) -> RuntimeOptions:
        timeout_ms = max(1, int(self._settings.timeout_seconds * 1000))
        return RuntimeOptions(connect_timeout=min(5000, timeout_ms), read_timeout=timeout_ms, autoretry=False)


class OneCallSession(Session):
    """What the SDK sends calls by: each once, and not waited for longer than its time-out.

    The library's own follows a redirect by sending the call again, thirty times, and takes the time-out for that of a
    single byte, so that an answer that drips is waited for all day.
    """

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 0

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        """Send a call and read its whole answer; ReadTimeout where that takes longer than one read may."""
        _, longest = options["timeout"]
        clock = SystemClock()
        deadline = clock.monotonic() + longest
        response = super().send(request, **options | {"stream": True})
        content = bytearray()
        while part := response.raw.read1(READ_BYTES, decode_content=True):
            content += part
            if clock.monotonic() > deadline:
                response.close()
                raise ReadTimeout("the answer is not complete in time")
        response.raw.read()  # its end, which gives the connection back to the pool
        response.raw = BytesIO(content)
        return response


def _params(action: str) -> Params:
    return Params(
        action=action,
        version="2019-12-26",
        protocol="HTTPS",
        pathname="/",
        method="POST",
        auth_type="AK",
        style="RPC",
        req_body_type="formData",
        body_type="byte",
    )


def _parse(action: str, body: bytes) -> object:
    """Return the JSON of an answer; text with lone surrogates, which the fast parser refuses, is left as it is."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UnclearAnswerError(f"{action} answered with no JSON") from None


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RetryableError) else None
    return (asked or 0.0) + wait_random_exponential(multiplier=0.2, max=2)(state)


def _code(error: CallstreamError) -> str:
    if isinstance(error, ThrottledError):
        return THROTTLED  # whatever it is called there; an alert asks for it
    return (error.code if isinstance(error, RejectedError) else None) or type(error).__name__


def _is_worth_another(error: BaseException) -> bool:
    """Whether asking again within seconds may help."""
    if not isinstance(error, RetryableError) or isinstance(error, CredentialsError):
        return False
    return (error.retry_after or 0.0) <= LONGEST_HOLD_SECONDS
