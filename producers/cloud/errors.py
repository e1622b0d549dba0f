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
TRANSIENT_CODES: Final = (
    "Throttling",
    "ServiceUnavailable",
    "InternalError",
    "FlowControl",
    "RequestTimeout",
    "SignatureNonceUsed",
)
NO_CODES: Final = frozenset({"", "None"})  # the SDK writes None where a proxy's answer has no code
UNCLEAR_STATUSES: Final = frozenset({408, 409, 425, 429, 499})
SERVER_ERROR: Final = 500


class CredentialsError(RetryableError):
    """The cloud does not let us in, or does not know the instance: nothing works until a person acts, so it waits."""


class UnclearAnswerError(RetryableError):
    """The cloud answered with a failure that says nothing of whether there was an effect."""


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
    if code.startswith(TRANSIENT_CODES) or wait_ms or not is_clear:
        return RetryableError(sentence, retry_after=wait_ms / 1000 if wait_ms else None)
    return RejectedError(sentence, code=code)


def check_answer(action: str, body: object) -> Mapping[str, Any]:
    """Return an answer that says that it succeeded; raises UnclearAnswerError for any other."""
    if not isinstance(body, Mapping) or "Success" not in body:
        raise UnclearAnswerError(f"{action} answered in another shape")
    if body["Success"] is not True:
        raise UnclearAnswerError(f"{action} did not succeed: {body.get('Code')}")
    return body
