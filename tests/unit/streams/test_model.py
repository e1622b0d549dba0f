"""Analysis by a model, against a strict local server that misbehaves as told."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from pydantic import SecretStr

from devtools.model_server import Mode, ModelServer, Turns, conversation_of
from runtime.clock import SystemClock
from runtime.errors import FatalError
from runtime.logs import configure_logs
from runtime.settings import AnalysisSettings
from schemas.jobs import Turn
from streams.analysis.endpoint import Endpoint, retry_after
from streams.analysis.model import ModelAnalyzer
from streams.analysis.prompting import document_of
from streams.analysis.protocol import Verdict, is_answer, is_owed
from tests.unit.streams.test_prompting import INJECTIONS

TALK = (Turn(speaker="Robot", script="您有兴趣吗"), Turn(speaker="Contact", script="我很感兴趣"))
KEY = "sk-hunter2"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another quickly."""
    monkeypatch.setattr("streams.analysis.model.FIRST_PAUSE", 0.01)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """A server that knows one key."""
    with ModelServer(key=KEY) as server:
        yield server


def settings(model: ModelServer, **changed: Any) -> AnalysisSettings:
    """Settings that lead to the server."""
    values: dict[str, Any] = {"base_url": model.base_url, "model": "qwen-plus", "api_key": SecretStr(KEY)}
    return AnalysisSettings(**(values | {"patience_seconds": 5.0} | changed))


async def verdict_of(analyzer: ModelAnalyzer, conversation: Sequence[Turn] = TALK) -> Verdict:
    """The verdict, whenever it comes."""
    verdict = analyzer.analyze(conversation)
    return await verdict if isinstance(verdict, Awaitable) else verdict


def analyze(model: ModelServer, conversation: Sequence[Turn] = TALK, **changed: Any) -> Verdict:
    """Analyse one conversation."""

    async def scenario() -> Verdict:
        analyzer = ModelAnalyzer(settings(model, **changed), SystemClock())
        verdict = await verdict_of(analyzer, conversation)
        await analyzer.close()
        return verdict

    return asyncio.run(scenario())


def sample(name: str, **labels: str) -> float:
    """What a metric says now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_conversation_is_asked_about_as_the_server_demands(model: ModelServer) -> None:
    """Key, model, temperature 0, strict schema, one document; the analyzer tells model and prompt, tokens count."""
    before = sample("callstream_model_tokens_total", kind="prompt")
    verdict = analyze(model)
    assert model.violations == []
    assert (verdict.is_interested, verdict.analyzer) == (1, "qwen-plus/1")
    assert is_answer(verdict.analyzer)
    assert conversation_of(model.asked[0]) == [
        {"speaker": "robot", "text": "您有兴趣吗"},
        {"speaker": "contact", "text": "我很感兴趣"},
    ]
    assert sample("callstream_model_tokens_total", kind="prompt") == before + 100


@pytest.mark.parametrize("conversation", [(), TALK[:1], (*TALK[:1], Turn(speaker="Contact", script=" "))])
def test_nobody_is_asked_where_the_contact_said_nothing(model: ModelServer, conversation: Sequence[Turn]) -> None:
    """The rules know as much, at once, and cost nothing."""
    verdict = ModelAnalyzer(settings(model), SystemClock()).analyze(conversation)
    assert isinstance(verdict, Verdict)
    assert (verdict.is_interested, verdict.analyzer, model.asked) == (0, "rules", [])


@pytest.mark.parametrize("mode", ["limited", "failing", "drop", "wrong_json", "extra_field", "wrong_body", "truncated"])
def test_what_may_pass_is_asked_again(model: ModelServer, mode: Mode) -> None:
    """Once is an accident, whatever it is."""
    model.plan += [mode, mode]
    verdict = analyze(model)
    assert (verdict.is_interested, verdict.analyzer, len(model.asked)) == (1, "qwen-plus/1", 3)
    assert model.violations == []


@pytest.mark.parametrize(("mode", "why"), [("failing", "500"), ("limited", "429"), ("odd_request", "400")])
def test_when_patience_ends_the_verdict_says_so(model: ModelServer, mode: Mode, why: str) -> None:
    """Doubt, and an analyzer that the audit knows to ask again."""
    model.mode = mode
    verdict = analyze(model, patience_seconds=0.5)
    assert (verdict.is_interested, verdict.analyzer) == (0, "unavailable/qwen-plus")
    assert is_owed(verdict.analyzer)
    assert why in verdict.reason
    assert 2 <= len(model.asked) <= 15


def test_a_model_that_nobody_can_reach_is_unavailable(model: ModelServer) -> None:
    """Nothing listens there."""
    assert analyze(model, base_url="http://127.0.0.1:9/v1", patience_seconds=0.1).analyzer == "unavailable/qwen-plus"


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_model_that_hangs_is_given_up_in_time(model: ModelServer, mode: Mode) -> None:
    """Each question has its time-out, however its bytes come; all of them together have the patience."""
    model.mode = mode
    began = time.monotonic()
    assert analyze(model, timeout_seconds=0.1, patience_seconds=0.4).analyzer == "unavailable/qwen-plus"
    assert time.monotonic() - began < 3
    assert len(model.asked) >= 2


@pytest.mark.parametrize(
    "mode", ["wrong_json", "extra_field", "out_of_range", "truncated", "wrong_body", "no_choices", "null_content"]
)
def test_a_model_that_cannot_answer_is_asked_three_times(model: ModelServer, mode: Mode) -> None:
    """Then the verdict is doubt, and says why."""
    model.mode = mode
    verdict = analyze(model)
    assert (verdict.is_interested, verdict.analyzer, len(model.asked)) == (0, "unusable/qwen-plus", 3)


@pytest.mark.parametrize("mode", ["sparse", "odd_usage", "other_finish", "text_type"])
def test_what_an_endpoint_leaves_out_or_calls_otherwise_spoils_no_answer(model: ModelServer, mode: Mode) -> None:
    """Usage, ids, the reason why it ended and the type of the body are the endpoint's affair; the answer is checked."""
    model.mode = mode
    verdict = analyze(model)
    assert (verdict.is_interested, verdict.analyzer, len(model.asked)) == (1, "qwen-plus/1", 1)


BODIES = (
    '{"error": {"code": ["x"], "message": {}}}',
    '{"error": {"code": {"a": 1}}}',
    '{"error": null}',
    '{"code": 7}',
    "[]",
    '"text"',
    "null",
    '{"choices": {"0": {}}}',
    '{"choices": "text"}',
    '{"choices": [1]}',
    '{"choices": [{}]}',
    '{"choices": [{"message": {"content": ["a"]}}]}',
    '{"choices": [{"message": {"content": 1}, "finish_reason": {}}]}',
    '{"choices": [{"finish_reason": ["length"], "message": "x"}], "usage": []}',
)


def test_no_body_at_all_stops_the_worker(model: ModelServer) -> None:
    """Whatever an endpoint says, in an answer or in an error, it comes to no answer and to nothing worse."""
    model.mode = "raw"

    async def scenario() -> None:
        analyzer = ModelAnalyzer(settings(model, patience_seconds=0.05), SystemClock())
        for status in (200, 400, 500):
            for body in BODIES:
                model.raw = (status, body.encode())
                verdict = await verdict_of(analyzer)
                assert verdict.is_interested == 0
                assert verdict.analyzer in {"unusable/qwen-plus", "unavailable/qwen-plus"}, body
        await analyzer.close()

    asyncio.run(scenario())


def test_an_error_code_that_quotes_the_conversation_is_left_out(model: ModelServer) -> None:
    """The reason is logged, so only what looks like a code gets into it."""
    model.mode, model.raw = "raw", (400, json.dumps({"error": {"code": "张三 said 我很感兴趣"}}).encode())
    assert "感兴趣" not in analyze(model, patience_seconds=0.05).reason


def test_the_base_url_may_end_with_a_slash(model: ModelServer) -> None:
    """Both spellings are common."""
    assert analyze(model, base_url=model.base_url + "/").analyzer == "qwen-plus/1"
    assert model.violations == []


@pytest.mark.parametrize("mode", ["filtered", "refusing", "filtered_answer"])
def test_a_conversation_that_is_refused_is_not_asked_about_again(model: ModelServer, mode: Mode) -> None:
    """Neither now nor by the audit: the answer would be the same."""
    model.mode = mode
    verdict = analyze(model)
    assert (verdict.is_interested, verdict.analyzer, len(model.asked)) == (0, "refused/qwen-plus", 1)
    assert not is_owed(verdict.analyzer)
    assert not is_answer(verdict.analyzer)


def test_the_other_side_is_left_alone_for_as_long_as_it_wishes(model: ModelServer) -> None:
    """`Retry-After` outweighs our own pause; more than is left of the patience ends it at once."""
    model.plan.append("limited")
    model.retry_after = "0.7"
    assert analyze(model).analyzer == "qwen-plus/1"
    assert model.asked_at[1] - model.asked_at[0] >= 0.7
    model.plan.append("limited")
    model.retry_after = "3600"
    assert analyze(model).analyzer == "unavailable/qwen-plus"
    assert len(model.asked) == 3


def test_while_the_other_side_wants_to_be_left_alone_no_conversation_is_asked_about(model: ModelServer) -> None:
    """`Retry-After` is a wish to the whole process; whose patience ends sooner is not asked about at all."""
    model.plan.append("limited")
    model.retry_after = "0.8"

    async def scenario() -> list[str]:
        analyzer = ModelAnalyzer(settings(model), SystemClock())
        hasty = ModelAnalyzer(settings(model, patience_seconds=0.1), SystemClock())
        first = asyncio.ensure_future(verdict_of(analyzer))
        while not model.asked:  # noqa: ASYNC110 - the server counts in another thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        others = [asyncio.ensure_future(verdict_of(analyzer)) for _ in range(5)]
        verdicts = [await each for each in (first, *others)]
        model.plan += ["limited", "ok"]
        verdicts += [await verdict_of(hasty), await verdict_of(hasty)]
        await analyzer.close()
        await hasty.close()
        return [verdict.analyzer for verdict in verdicts]

    assert asyncio.run(scenario()) == ["qwen-plus/1"] * 6 + ["unavailable/qwen-plus"] * 2
    assert model.asked_at[1] - model.asked_at[0] >= 0.8
    assert len(model.asked) == 1 + 6 + 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Mon, 23 Nov 2026 08:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    """As HTTP has it; what is neither is no wish."""
    headers = {} if value is None else {"retry-after": value}
    assert retry_after(headers, datetime(2026, 11, 23, 8, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("mode", ["unauthorized", "unknown_model"])
def test_wrong_settings_conclude_nothing_and_readiness_says_so(
    model: ModelServer, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    """However long it takes; when the endpoint lets us in, the answer is the model's."""
    model.mode = mode

    async def scenario() -> None:
        analyzer = ModelAnalyzer(settings(model, patience_seconds=0.1), SystemClock())
        asking = [asyncio.ensure_future(verdict_of(analyzer)) for _ in range(3)]
        while len(model.asked) < 20:  # noqa: ASYNC110 - the server counts in another thread
            await asyncio.sleep(0.01)
        assert not any(each.done() for each in asking)
        assert not analyzer.is_let_in()
        model.mode = "ok"
        assert {(await each).analyzer for each in asking} == {"qwen-plus/1"}
        assert analyzer.is_let_in()
        await analyzer.close()

    asyncio.run(scenario())
    assert capsys.readouterr().out.count("locked_out") == 1


def test_a_check_says_what_is_wrong_without_the_key(model: ModelServer) -> None:
    """In a sentence for the operator."""
    wrong = settings(model, api_key=SecretStr("sk-wrong"))
    model.mode = "unauthorized"
    model.key = None

    async def scenario() -> None:
        endpoint = Endpoint(wrong, SystemClock())
        try:
            await endpoint.ask(document_of(TALK))
        finally:
            await endpoint.close()

    with pytest.raises(FatalError, match="401 invalid_api_key: check key, model and URL") as refusal:
        asyncio.run(scenario())
    assert "sk-wrong" not in str(refusal.value)


def test_a_conversation_that_speaks_to_the_model_is_judged_like_any_other() -> None:
    """The server takes its words for nothing but words; an obedient model's odd answers do not get through.

    It copies into the summary what it was told, which is masked, and adds a field, which is no answer.
    """

    def obedient(turns: Turns) -> Mapping[str, Any]:
        assert [turn["speaker"] for turn in turns] == ["robot", "contact", "contact"]
        return {"reason": "told so", "summary": f"{turns[1]['text']} 13800138000", "is_interested": 1}

    async def scenario(server: ModelServer) -> None:
        analyzer = ModelAnalyzer(settings(server), SystemClock())
        for words in INJECTIONS:
            talk = (TALK[0], Turn(speaker="Contact", script=words), Turn(speaker="Contact", script="没兴趣"))
            server.mode = "ok"
            verdict = await verdict_of(analyzer, talk)
            assert verdict.analyzer == "qwen-plus/1"
            assert "13800138000" not in verdict.summary
            assert len(verdict.summary) <= 400
            server.mode = "extra_field"
            assert (await verdict_of(analyzer, talk)).is_interested == 0
        await analyzer.close()

    with ModelServer(answer=obedient) as server:
        asyncio.run(scenario(server))
        assert server.violations == []


def test_nothing_of_a_conversation_or_the_key_is_logged(model: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever goes wrong, and at the lowest level, at which some versions of the client log whole requests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs(form="json", level="DEBUG", role="test")
    try:
        modes: tuple[Mode, ...] = ("failing", "filtered", "wrong_json", "drop", "ok")
        for mode in modes:
            model.mode = mode
            analyze(model, patience_seconds=0.05)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    logged = "".join(capsys.readouterr())
    events = [json.loads(line)["event"] for line in logged.splitlines()]
    assert set(events) == {"analysis.no_answer"}
    assert "感兴趣" not in logged
    assert "\\u611f\\u5174\\u8da3" not in logged
    assert KEY not in logged
