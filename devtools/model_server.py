"""A local stand-in for a model behind an OpenAI-compatible endpoint: strict about what it is asked, and faulty at will.

Whatever a request lacks that the analysis promises is answered with 400 and kept in `violations`: the key, the model,
temperature 0, a strict JSON schema, a user message that is one JSON document. What it answers is not judged by any
model: it is what `answer` makes of the conversation.
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self, cast

Mode = Literal[
    "ok", "limited", "failing", "wrong_json", "extra_field", "out_of_range", "truncated", "refusing", "filtered",
    "wrong_body", "unauthorized", "unknown_model", "odd_request", "hang", "drip", "drop",
    "sparse", "odd_usage", "other_finish", "text_type", "no_choices", "null_content", "filtered_answer", "raw",
]  # fmt: skip
Turns = list[dict[str, str]]
Answer = Callable[[Turns], Mapping[str, Any]]

HANG_SECONDS: Final = 60.0
DRIP_SECONDS: Final = 0.02
_PHONE: Final = re.compile(r"\d{7,}")
_ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "limited": (429, "rate_limit_exceeded"),
    "failing": (500, "internal_error"),
    "filtered": (400, "content_filter"),
    "odd_request": (400, "unknown_parameter"),
    "unauthorized": (401, "invalid_api_key"),
    "unknown_model": (404, "model_not_found"),
}
_FINISHES: Final[Mapping[str, str]] = {
    "truncated": "length",
    "other_finish": "eos_token",
    "filtered_answer": "content_filter",
}


def interested_where_said(turns: Turns) -> Mapping[str, Any]:
    """Return 1 where the contact speaks of interest, else 0."""
    is_said = any("感兴趣" in turn["text"] for turn in turns if turn["speaker"] == "contact")
    return {"reason": "said so", "summary": "客户的意向见结论。", "is_interested": int(is_said)}


class ModelServer:
    """A context in which the endpoint answers; `plan` is used up request by request, then `mode` holds."""

    def __init__(
        self,
        *,
        seconds: float = 0.0,
        key: str | None = None,
        answer: Answer = interested_where_said,
        mode: Mode = "ok",
        retry_after: str | None = None,
    ) -> None:
        self.seconds = seconds
        self.key = key
        self.answer = answer
        self.mode: Mode = mode
        self.plan: deque[Mode] = deque()
        self.retry_after = retry_after
        self.raw: tuple[int, bytes] = (200, b"")
        self.asked: list[dict[str, Any]] = []
        self.asked_at: list[float] = []
        self.violations: list[str] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(self)

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="model", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, document: dict[str, Any], authorization: str) -> Mode:
        """Take note of a request; return how to behave."""
        problem = self._problem_of(document, authorization)
        with self._lock:
            self.asked.append(document)
            self.asked_at.append(time.monotonic())
            if problem:
                self.violations.append(problem)
                return "odd_request"
            return self.plan.popleft() if self.plan else self.mode

    def enter(self, change: int) -> None:
        """Count a request that begins (1) or ends (-1)."""
        with self._lock:
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)

    def pause(self, seconds: float) -> None:
        """Let time pass, unless the server closes."""
        self._closing.wait(seconds)

    def _problem_of(self, document: dict[str, Any], authorization: str) -> str:
        """Return the first promise that a request breaks, empty where it keeps all."""
        messages = document.get("messages", [])
        schema = document.get("response_format", {})
        checks = {
            "key": self.key is None or authorization == f"Bearer {self.key}",
            "model": bool(document.get("model")),
            "temperature": document.get("temperature") == 0,
            "bounded": 0 < document.get("max_tokens", 0) <= 1_000,
            "stream": not document.get("stream"),
            "roles": [message.get("role") for message in messages] == ["system", "user"],
            "schema": schema.get("type") == "json_schema" and _is_strict(schema.get("json_schema", {})),
            "conversation": bool(messages) and conversation_of(document) is not None,
            "numbers": bool(messages) and not _PHONE.search(messages[-1]["content"]),
        }
        return next((name for name, is_kept in checks.items() if not is_kept), "")


def conversation_of(document: Mapping[str, Any]) -> Turns | None:
    """Return the turns in a request's user message, None where it holds anything else."""
    try:
        data = json.loads(document["messages"][-1]["content"])
        turns = [{"speaker": turn["speaker"], "text": turn["text"]} for turn in data["conversation"]]
    except (ValueError, KeyError, TypeError):
        return None
    return turns if data == {"conversation": turns} else None


def _is_strict(wanted: Mapping[str, Any]) -> bool:
    """Return whether a schema is one that strict mode accepts: closed, and every property required."""
    schema = wanted.get("schema", {})
    properties = schema.get("properties", {})
    return bool(
        wanted.get("strict") is True
        and wanted.get("name")
        and schema.get("type") == "object"
        and schema.get("additionalProperties") is False
        and sorted(schema.get("required", [])) == sorted(properties) == ["is_interested", "reason", "summary"]
        and properties["is_interested"].get("enum") == [0, 1, 2]
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, model: ModelServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that give up are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer one request as its mode says."""
        model = cast(_Server, self.server).model
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            self._error(404, "not_found", model)
            return
        document = json.loads(body)
        model.enter(1)
        try:
            self._behave(model.take(document, self.headers.get("Authorization", "")), document, model)
        finally:
            model.enter(-1)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server calls
        """Say nothing."""

    def _behave(self, mode: Mode, document: dict[str, Any], model: ModelServer) -> None:
        if mode == "hang":
            model.pause(HANG_SECONDS)
        if mode == "drip":
            self._drip(model)
        if mode in {"hang", "drip", "drop"}:
            self.close_connection = True
            return
        if model.seconds:
            model.pause(model.seconds)
        if mode in _ERRORS:
            self._error(*_ERRORS[mode], model)
        elif mode == "raw":
            self._send(*model.raw)
        elif mode == "wrong_body":
            self._send(200, b"<html>busy</html>")
        else:
            kind = "text/plain" if mode == "text_type" else "application/json"
            self._send(200, json.dumps(_completion(mode, document, model)).encode(), {"Content-Type": kind})

    def _drip(self, model: ModelServer) -> None:
        """Answer so slowly that no pause is long, for as long as the client bears it."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        for _ in range(int(HANG_SECONDS / DRIP_SECONDS)):
            self.wfile.write(b" ")
            model.pause(DRIP_SECONDS)

    def _error(self, status: int, code: str, model: ModelServer) -> None:
        headers = {"Retry-After": model.retry_after} if model.retry_after and status in {429, 500} else {}
        self._send(status, json.dumps({"error": {"message": code, "code": code, "type": code}}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _completion(mode: Mode, document: dict[str, Any], model: ModelServer) -> dict[str, Any]:
    answer = dict(model.answer(conversation_of(document) or []))
    if mode == "extra_field":
        answer["confidence"] = 1
    if mode == "out_of_range":
        answer["is_interested"] = 3
    content: str | None = json.dumps(answer, ensure_ascii=False)
    if mode == "wrong_json":
        content = "Sure! Here is the JSON: {is_interested: 1}"
    if mode == "truncated":
        content = json.dumps(answer)[:20]
    if mode == "sparse":
        return {"choices": [{"message": {"role": "assistant", "content": content}}]}
    if mode == "null_content":
        content = None
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": document["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": _FINISHES.get(mode, "stop"),
                "message": {
                    "role": "assistant",
                    "content": None if mode == "refusing" else content,
                    "refusal": "I cannot help with that." if mode == "refusing" else None,
                },
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    if mode == "odd_usage":
        completion["usage"] = {"prompt_tokens": "many", "total_tokens": None}
    if mode == "no_choices":
        completion["choices"] = []
    return completion
