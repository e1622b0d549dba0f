"""The shell around the gateway: sockets, the clock, and the faults that need time or a connection to cut."""

import asyncio
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from devtools.cloud.assign_actions import assign_half
from devtools.cloud.control import add_control_routes
from devtools.cloud.errors import ApiError, internal
from devtools.cloud.faults import Rule
from devtools.cloud.gateway import Answer, Call, Gateway, reshaped
from devtools.cloud.recordings import add_recording_routes
from devtools.cloud.signature import Wire
from runtime.clock import SystemClock

MAX_LINE = 1 << 20
MAX_BODY = 64 << 20
HALVED = frozenset({"AssignJobs", "AssignJobsAsync"})


class Server:
    """Answers every signed call; one instance per process, all in one event loop."""

    def __init__(self, gateway: Gateway, clock: SystemClock) -> None:
        self._gateway = gateway
        self._clock = clock

    def application(self) -> web.Application:
        """Return the web application: the API on `/`, recordings, and the control API on `/_sim/`."""
        app = web.Application(client_max_size=MAX_BODY)
        add_control_routes(app, self._gateway, self._clock)
        add_recording_routes(app, self._gateway, self._clock)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call; may hang or cut the connection if a fault says so."""
        wire, gateway = await read_wire(request), self._gateway
        action = wire.headers.get("x-acs-action", "")
        gateway.calls.arrived(action, self._clock.now_ms())
        try:
            call = gateway.admit(wire, self._clock.now_ms())
        except ApiError as error:
            answer: Answer | None = gateway.refuse(error, wire.headers.get("host", ""))
        else:
            gateway.measure(call)
            rule = gateway.faults.take(call.action)
            answer = self._perform(call) if rule is None else await self._spoil(rule, call)
        if answer is None:
            return _cut(request)
        gateway.calls.ended(action, answer.outcome)
        return web.Response(
            status=answer.status, body=answer.encoded(), headers=answer.headers, content_type="application/json"
        )

    def _perform(self, call: Call) -> Answer:
        return self._gateway.perform(call, self._clock.now_ms())

    async def _spoil(self, rule: Rule, call: Call) -> Answer | None:
        """Do what the rule says; None cuts the connection, the outcome is counted then already."""
        if rule.kind in {"throttle", "throttle-retry-after", "unavailable", "success-false", "other-shape"}:
            return self._answer_wrong(rule, call)
        if rule.kind in {"late", "late-drop", "half"}:
            return self._answer_broken(rule, call)
        self._gateway.calls.ended(call.action, rule.kind)
        if rule.kind.endswith("-after"):
            self._perform(call)
        if rule.kind.startswith("hang"):
            await asyncio.sleep(rule.seconds)
        return None

    def _answer_wrong(self, rule: Rule, call: Call) -> Answer:
        """Return an answer at once; only `other-shape` has an effect."""
        host = call.parameters.host
        if rule.kind == "success-false":
            return self._gateway.unsuccessful()
        if rule.kind == "other-shape":
            return reshaped(self._perform(call))
        if rule.kind == "unavailable":
            return self._gateway.refuse(ApiError(503, "ServiceUnavailable", "The request has failed."), host)
        headers = {"x-acs-retry-after": str(int(rule.seconds * 1000))} if rule.kind == "throttle-retry-after" else {}
        error = ApiError(400, "Throttling.User", "Request was denied due to user flow control.")
        return self._gateway.refuse(error, host, headers)

    def _answer_broken(self, rule: Rule, call: Call) -> Answer | None:
        """Fail although the effect happens: half of it now, or all of it `seconds` later."""
        if rule.kind == "half":
            self._halve(call)
        else:
            asyncio.get_running_loop().call_later(rule.seconds, self._perform, call)
        if rule.kind == "late-drop":
            self._gateway.calls.ended(call.action, rule.kind)
            return None
        answer = self._gateway.refuse(internal(), call.parameters.host)
        return Answer(status=answer.status, body=answer.body, outcome=rule.kind)

    def _halve(self, call: Call) -> None:
        """Create half of the jobs; on an action that assigns nothing, or a refused call, do nothing."""
        if call.action not in HALVED:
            return
        try:
            assign_half(self._gateway.store, call.action, call.parameters, self._clock.now_ms())
        except ApiError:
            return


async def read_wire(request: web.Request) -> Wire:
    """Return a request as the signature sees it."""
    target = urlsplit(request.raw_path)
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name.lower(), []).append(value)
    return Wire(
        method=request.method,
        path=target.path,
        query=tuple(parse_qsl(target.query, keep_blank_values=True)),
        headers={name: ",".join(sorted(values)) for name, values in headers.items()},
        body=await request.read(),
    )


async def serve(gateway: Gateway, clock: SystemClock, port: int, host: str = "127.0.0.1") -> tuple[web.AppRunner, int]:
    """Listen and return the runner and the port; the caller cleans the runner up."""
    runner = web.AppRunner(
        Server(gateway, clock).application(),
        access_log=None,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        shutdown_timeout=0.2,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, int(runner.addresses[0][1])


def _cut(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer; what is returned never reaches anybody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
