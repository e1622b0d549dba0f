"""What the SDK raises, in our words: what may be tried again, what is refused for certain, and nothing that leaks."""

import pytest
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException

from producers.cloud.errors import (
    CredentialsError,
    ThrottledError,
    UnclearAnswerError,
    check_answer,
    from_exception,
    plain,
)
from runtime.errors import RejectedError, RetryableError

SECRETS = "phone 13812345678 string to sign abc"


@pytest.mark.parametrize("code", ["InvalidParameter", "NotExist.JobGroup", "InvalidJobGroupName.Duplicated"])
def test_a_client_error_with_a_code_is_a_refusal(code: str) -> None:
    """Only this answer says that nothing happened."""
    error = from_exception(ClientException(status_code=400, code=code, message=SECRETS, request_id="R1"))
    assert isinstance(error, RejectedError)
    assert error.code == code
    assert "R1" in str(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "None"),
        (403, ""),
        (400, "SignatureNonceUsed"),
        (400, "Throttling.User"),
        (408, "RequestTimeout"),
        (409, "Conflict"),
        (499, "ClientClosed"),
        (None, "Odd"),
    ],
)
def test_what_does_not_say_that_nothing_happened_is_no_refusal(status: int | None, code: str) -> None:
    """A proxy's answer without a code, or a nonce used by an earlier copy of the call: somebody may be called."""
    error = from_exception(ClientException(status_code=status, code=code, message=SECRETS))
    assert isinstance(error, RetryableError)


def test_a_server_error_may_work_later() -> None:
    """Also with a code that a client error could have."""
    error = from_exception(ServerException(status_code=503, code="InvalidParameter", message=SECRETS))
    assert isinstance(error, RetryableError)


def test_the_services_own_time_to_wait_is_kept_in_seconds() -> None:
    """The header counts milliseconds."""
    error = from_exception(ThrottlingException(status_code=400, code="Throttling", message="", retry_after=1500))
    assert isinstance(error, ThrottledError)
    assert error.retry_after == 1.5


@pytest.mark.parametrize("code", ["Throttling", "Throttling.User", "FlowControlError"])
def test_throttling_is_known_by_its_code_whatever_comes_with_it(code: str) -> None:
    """With any status and without a time to wait, or inside an answer of 200."""
    error = from_exception(ClientException(status_code=400, code=code, message=SECRETS))
    assert isinstance(error, ThrottledError)
    assert error.retry_after == 1
    with pytest.raises(ThrottledError):
        check_answer("ListJobs", {"Success": False, "Code": code})


def test_too_many_calls_are_throttled_whatever_the_code() -> None:
    """The status alone says it."""
    assert isinstance(from_exception(ClientException(status_code=429, code="TooMany", message="")), ThrottledError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NotExist.Job", RejectedError),
        ("InvalidParameter", RejectedError),
        ("NotExist.Instance", CredentialsError),
        ("NoPermission", CredentialsError),
        ("HandleJobGroupError", UnclearAnswerError),
        ("", UnclearAnswerError),
    ],
)
def test_a_failure_that_comes_with_200_is_unclear_but_its_code_can_be_plain(code: str, kind: type[Exception]) -> None:
    """It is believed where nobody is called twice if it is wrong."""
    with pytest.raises(UnclearAnswerError) as caught:
        check_answer("AssignJobs", {"Success": False, "Code": code})
    assert isinstance(plain(caught.value), kind)


@pytest.mark.parametrize(
    "code", ["SignatureDoesNotMatch", "InvalidAccessKeyId.NotFound", "Forbidden.RAM", "NotExist.Instance"]
)
def test_not_being_let_in_waits_for_a_person(code: str) -> None:
    """The role survives it."""
    assert isinstance(from_exception(ClientException(status_code=403, code=code, message="")), CredentialsError)


@pytest.mark.parametrize("code", ["InvalidParameter", "SignatureDoesNotMatch", "Throttling.User"])
def test_no_message_of_the_service_is_shown(code: str) -> None:
    """It quotes the call: phone numbers, or the string that was signed."""
    error = from_exception(ClientException(status_code=400, code=code, message=SECRETS, description=SECRETS))
    assert "138" not in str(error)
    assert "sign abc" not in str(error)


@pytest.mark.parametrize("body", [None, [], {}, {"Success": False, "Code": "X"}, {"Success": None}])
def test_an_answer_that_does_not_say_that_it_succeeded_is_unclear(body: object) -> None:
    """200 alone means nothing."""
    with pytest.raises(UnclearAnswerError):
        check_answer("ListJobs", body)
