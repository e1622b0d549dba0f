"""What the SDK raises and what the service answers, in the words of our error tree. Pure.

The service's throttling codes come with any status, with or without a time to wait; a dropped connection has no code;
an answer of 200 may still say that it failed. All of these may work later. A client error with a code will not.
"""

from collections.abc import Mapping
from typing import Any, Final

from runtime.errors import CallstreamError, RejectedError, RetryableError

CREDENTIAL_CODES: Final = (
    "InvalidAccessKeyId",
    "InvalidSecurityToken",
    "InvalidTimeStamp",
    "IncompleteSignature",
    "SignatureDoesNotMatch",
    "Forbidden",
    "NoPermission",
    "Permission.",
)
# A nonce that was used already means that an earlier copy of this very call arrived: nobody knows what became of it.
THROTTLING_CODES: Final = ("Throttling", "FlowControl")
TRANSIENT_CODES: Final = ("ServiceUnavailable", "InternalError", "RequestTimeout", "SignatureNonceUsed")
# What fails by these has had no effect: the call asks for something that is not there, or that makes no sense.
PLAIN_CODES: Final = ("NotExist.", "InvalidParameter", "MissingParameter")
NO_CODES: Final = frozenset({"", "None"})  # the SDK writes None where a proxy's answer has no code
UNCLEAR_STATUSES: Final = frozenset({408, 409, 425, 429, 499})
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
THROTTLED_SECONDS: Final = 1.0


class CredentialsError(RetryableError):
    """The cloud does not let us in, or does not know the instance: nothing works until a person acts, so it waits."""


class ThrottledError(RetryableError):
    """The cloud wants fewer calls, of anybody; `retry_after` is what it asked for, else a second."""


class UnclearAnswerError(RetryableError):
    """The cloud answered with a failure that says nothing of whether there was an effect; `code` is its word for it."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def from_exception(error: Exception) -> CallstreamError:
    """Return what an exception of the SDK means.

    Only code and request id are shown: messages of the service and of the network library quote the call, phone
    numbers and the string that was signed included.
    """
    code = getattr(error, "code", None)
    if not isinstance(code, str) or code in NO_CODES:
        return RetryableError(f"the cloud does not answer: {type(error).__name__}")
    status = getattr(error, "status_code", None)
    sentence = f"the cloud says {code} (request {getattr(error, 'request_id', None) or 'unknown'})"
    if code.startswith(CREDENTIAL_CODES) or code == "NotExist.Instance":
        return CredentialsError(sentence)
    wait_ms = getattr(error, "retry_after", None)
    is_clear = isinstance(status, int) and status < SERVER_ERROR and status not in UNCLEAR_STATUSES
    if code.startswith(THROTTLING_CODES) or wait_ms or status == TOO_MANY:
        return ThrottledError(sentence, retry_after=wait_ms / 1000 if wait_ms else THROTTLED_SECONDS)
    if code.startswith(TRANSIENT_CODES) or not is_clear:
        return RetryableError(sentence)
    return RejectedError(sentence, code=code)


def check_answer(action: str, body: object) -> Mapping[str, Any]:
    """Return an answer that says that it succeeded; raises ThrottledError or UnclearAnswerError for any other.

    A failure that comes with 200 is unclear whatever its code says; `plain` is for who may believe the code.
    """
    if not isinstance(body, Mapping) or "Success" not in body:
        raise UnclearAnswerError(f"{action} answered in another shape")
    if body["Success"] is not True:
        code = str(body.get("Code"))
        if code.startswith(THROTTLING_CODES):
            raise ThrottledError(f"{action}: {code}", retry_after=THROTTLED_SECONDS)
        raise UnclearAnswerError(f"{action} did not succeed: {code}", code=code)
    return body


def plain(error: UnclearAnswerError) -> CallstreamError:
    """Return what a failure with 200 means where its code may be believed: nobody is called twice if it is wrong."""
    if error.code.startswith(CREDENTIAL_CODES) or error.code == "NotExist.Instance":
        return CredentialsError(str(error))
    return RejectedError(str(error), code=error.code) if error.code.startswith(PLAIN_CODES) else error
