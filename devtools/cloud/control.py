"""The control API under `/_sim/`: the truth that a test compares with, and the faults it switches on."""

from aiohttp import web

from devtools.cloud.actions import ACTIONS
from devtools.cloud.faults import parse_rule
from devtools.cloud.gateway import Gateway
from devtools.cloud.jobs import Job
from devtools.cloud.order_actions import hurry_jobs
from devtools.cloud.shapes import Json, latest
from runtime.clock import SystemClock


def truth_of(job: Job, now_ms: int) -> Json:
    """Return what every observer of this job must come to know; `ended_at` is null until the job is final.

    `call_ended_at` is the last attempt's start plus its duration, as the API shows them; a cancelled job ends later.
    """
    state = job.state(now_ms)
    last = latest(state)
    turns = () if last is None else job.turns(last, now_ms)
    return {
        "job_id": job.job_id,
        "group_id": job.group_id,
        "reference_id": job.entry.reference_id,
        "phone": job.entry.phone,
        "name": job.entry.name,
        "status": state.status,
        "failure_reason": state.failure_reason,
        "created_at": job.created_ms,
        "planed_time": None if last is None else last.planed_ms,
        "started_at": None if last is None else last.started_ms,
        "ended_at": state.ended_ms,
        "call_ended_at": last.started_ms + last.seconds * 1000 if last is not None and state.final else None,
        "attempts": len(state.attempts),
        "call_task_id": None if last is None else job.task_id(last.number),
        "calling_number": None if last is None else job.calling_number(last.number),
        "connected": last is not None and last.connected and last.ended_ms <= now_ms,
        "conversation": [
            {"speaker": turn.speaker, "script": turn.script, "at_ms": last.started_ms + turn.offset_ms}
            for turn in turns
            if last is not None
        ],
        "intent": job.plan.intent,
        "final": state.final,
    }


class Control:
    """Unsigned, for the test that owns the process; nothing of it exists in the real cloud."""

    def __init__(self, gateway: Gateway, clock: SystemClock) -> None:
        self._gateway = gateway
        self._clock = clock

    async def truth(self, request: web.Request) -> web.Response:
        """Return every job, or those of one group, as they stand now."""
        now_ms = self._clock.now_ms()
        jobs = self._gateway.store.jobs(now_ms, request.query.get("group"))
        return web.json_response([truth_of(job, now_ms) for job in jobs])

    async def groups(self, _request: web.Request) -> web.Response:
        """Return every group with the count of its jobs."""
        store, now_ms = self._gateway.store, self._clock.now_ms()
        rows = [
            {"id": group.group_id, "name": group.name, "jobs": len(store.jobs(now_ms, group.group_id))}
            for group in store.groups.values()
        ]
        return web.json_response(rows)

    async def calls(self, _request: web.Request) -> web.Response:
        """Return the counts of calls and their outcomes."""
        return web.json_response(self._gateway.calls.summary())

    async def duplicates(self, _request: web.Request) -> web.Response:
        """Return every reference id that was assigned more than once, with its jobs."""
        rows = [
            {"reference_id": reference, "jobs": [{"job_id": job.job_id, "group_id": job.group_id} for job in jobs]}
            for reference, jobs in self._gateway.store.duplicates().items()
        ]
        return web.json_response(rows)

    async def add_fault(self, request: web.Request) -> web.Response:
        """Add one rule; 400 says what is wrong with it."""
        try:
            rule = parse_rule(await request.json(), ACTIONS)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self._gateway.faults.add(rule)
        return web.json_response({})

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """Forget every rule."""
        self._gateway.faults.clear()
        return web.json_response({})

    async def finish(self, _request: web.Request) -> web.Response:
        """Take away every wait: all open jobs end as soon as their remaining calls have lasted."""
        return web.json_response({"open": hurry_jobs(self._gateway.store, self._clock.now_ms())})


def add_control_routes(app: web.Application, gateway: Gateway, clock: SystemClock) -> None:
    """Serve the control API."""
    control = Control(gateway, clock)
    app.router.add_get("/_sim/truth", control.truth)
    app.router.add_get("/_sim/groups", control.groups)
    app.router.add_get("/_sim/calls", control.calls)
    app.router.add_get("/_sim/duplicates", control.duplicates)
    app.router.add_post("/_sim/faults", control.add_fault)
    app.router.add_delete("/_sim/faults", control.clear_faults)
    app.router.add_post("/_sim/finish", control.finish)
