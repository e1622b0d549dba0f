"""From a request as it arrived to the answer, without a socket and without a clock.

The order is the real gateway's: signature, action, then the action's own checks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from devtools.cloud import actions
from devtools.cloud.calls import Calls
from devtools.cloud.errors import ApiError
from devtools.cloud.faults import Faults
from devtools.cloud.parameters import Parameters
from devtools.cloud.settings import Settings
from devtools.cloud.shapes import Json
from devtools.cloud.signature import Wire, verify
from devtools.cloud.store import Store

VERSION = "2019-12-26"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, a JSON body, the headers beside it, and the word under which the call is counted."""

    status: int
    body: Json
    outcome: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the body in UTF-8; half a surrogate pair has no UTF-8 and forces escapes on the whole body."""
        try:
            return json.dumps(self.body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return json.dumps(self.body).encode()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call whose signature was right: what it wants, with which parameters."""

    action: str
    parameters: Parameters


class Gateway:
    """The simulated cloud as one object: settings, memory, faults and counts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings=settings)
        self.faults = Faults()
        self.calls = Calls()
        self._nonces: set[str] = set()

    def admit(self, wire: Wire, now_ms: int) -> Call:
        """Check the signature and that the action exists; ApiError refuses."""
        name = wire.headers.get("x-acs-action", "")
        settings = self.settings
        nonce = verify(wire, key_id=settings.access_key_id, secret=settings.access_key_secret, now_ms=now_ms)
        if nonce in self._nonces:
            raise ApiError(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces.add(nonce)
        actions.find(name)
        if wire.headers.get("x-acs-version") != VERSION or (wire.method, wire.path) != ("POST", "/"):
            raise ApiError(404, "InvalidAction.NotFound", "Specified api is not found, please check your version.")
        return Call(action=name, parameters=_parameters(name, wire))

    def measure(self, call: Call) -> None:
        """Note how large a call is, whatever becomes of it."""
        values = call.parameters.values
        ids = sum(key.startswith(("JobId.", "JobsJson.")) for key in values)
        size = values.get("PageSize", "0")
        self.calls.sized(call.action, ids, int(size) if size.isdecimal() else 0)

    def perform(self, call: Call, now_ms: int) -> Answer:
        """Do what a call asks for and return the answer; a refusal is an answer too."""
        try:
            fields = actions.find(call.action)(self.store, call.parameters, now_ms)
        except ApiError as error:
            return self.refuse(error, call.parameters.host)
        return Answer(status=200, body={**self._envelope("OK", "Success", success=True), **fields}, outcome="OK")

    def refuse(self, error: ApiError, host: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the error envelope."""
        body: Json = {
            "RequestId": self._request_id(),
            "HostId": host,
            "Code": error.code,
            "Message": error.message,
            "Recommend": f"https://api.aliyun.com/troubleshoot?q={error.code}&product=OutboundBot",
        }
        return Answer(status=error.status, body=body, outcome=error.code, headers=headers or {})

    def unsuccessful(self) -> Answer:
        """Return the answer that says 200 and yet is a failure."""
        body = self._envelope("HandleJobGroupError", "The operation failed.", success=False)
        return Answer(status=200, body=body, outcome="success-false")

    def _envelope(self, code: str, message: str, *, success: bool) -> Json:
        return {
            "RequestId": self._request_id(),
            "Code": code,
            "Message": message,
            "HttpStatusCode": 200,
            "Success": success,
        }

    def _request_id(self) -> str:
        return self.store.new_id("request", 0).upper()


def reshaped(answer: Answer) -> Answer:
    """Return the same answer with its lists wrapped and its objects listed, as another gateway might spell it."""
    body: Json = {}
    for name, value in answer.body.items():
        if isinstance(value, list):
            body[name] = {name.removesuffix("s"): value}
        else:
            body[name] = [value] if isinstance(value, dict) else value
    return Answer(status=answer.status, body=body, outcome="other-shape")


def _parameters(action: str, wire: Wire) -> Parameters:
    pairs = list(wire.query)
    if action in actions.FORM_ACTIONS:
        try:
            pairs += parse_qsl(wire.body.decode(), keep_blank_values=True, strict_parsing=bool(wire.body))
        except ValueError as error:
            raise ApiError(400, "InvalidParameter", "The body is no form.") from error
    return Parameters(values=dict(pairs), host=wire.headers.get("host", ""))
