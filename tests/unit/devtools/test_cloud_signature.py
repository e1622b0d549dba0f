"""A signature made by the SDK is accepted; whatever is changed on the way afterwards refuses the request."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest

from devtools.cloud.errors import ApiError
from devtools.cloud.signature import Wire, verify

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
NOW_MS = int(datetime(2026, 11, 23, 16, 13, 30, tzinfo=UTC).timestamp() * 1000)


def signed(**changes: str) -> Wire:
    """Return a request as the SDK signs it."""
    headers = {
        "host": "127.0.0.1:18080",
        "x-acs-version": "2019-12-26",
        "x-acs-action": "ListJobs",
        "x-acs-date": "2026-11-23T16:13:21Z",
        "x-acs-signature-nonce": "b944f0d0",
        "accept": "application/json",
        "x-acs-content-sha256": EMPTY,
        **changes,
    }
    request = DaraRequest()
    request.method, request.pathname, request.headers = "POST", "/", headers
    request.query = {"InstanceId": "张 三+&=%~", "JobId.1": "a", "JobId.10": "b", "JobId.2": "c"}
    authorization = Utils.get_authorization(request, "ACS3-HMAC-SHA256", EMPTY, "key", "secret")
    return Wire(
        method="POST",
        path="/",
        query=tuple(request.query.items()),
        headers={**headers, "authorization": authorization},
        body=b"",
    )


def check(wire: Wire, *, now_ms: int = NOW_MS) -> str:
    """Verify with the right key and secret."""
    return verify(wire, key_id="key", secret="secret", now_ms=now_ms)


def test_the_sdk_is_accepted() -> None:
    """The right signature gives its nonce."""
    assert check(signed()) == "b944f0d0"


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (replace(signed(), query=(("InstanceId", "other"),)), "SignatureDoesNotMatch"),
        (replace(signed(), method="GET"), "SignatureDoesNotMatch"),
        (replace(signed(), body=b"x"), "SignatureDoesNotMatch"),
        (replace(signed(), headers={**signed().headers, "x-acs-action": "CancelJobs"}), "SignatureDoesNotMatch"),
        (replace(signed(), headers={**signed().headers, "x-acs-more": "1"}), "IncompleteSignature"),
        (replace(signed(), headers={}), "IncompleteSignature"),
        (signed(**{"x-acs-date": "yesterday"}), "InvalidTimeStamp.Format"),
        (signed(**{"x-acs-date": "2026-11-23T15:50:00Z"}), "InvalidTimeStamp.Expired"),
    ],
)
def test_changed_requests_are_refused(wire: Wire, code: str) -> None:
    """Query, method, body, headers and age are all covered."""
    with pytest.raises(ApiError) as caught:
        check(wire)
    assert caught.value.code == code
