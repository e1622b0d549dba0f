"""One error tree, split by what the caller does.

CallstreamError
├── RetryableError   wait and try again: the other side is away or busy
├── RejectedError    this one record can never work: dead-letter it and go on
├── RestartError     this process cannot go on, a new one can: end, and be started again
└── FatalError       nothing can work until a person acts: stop with a sentence
"""


class CallstreamError(Exception):
    """Any failure that callstream itself names; the message is one sentence for a person."""


class RetryableError(CallstreamError):
    """The same call may succeed later; `retry_after` is in seconds where the other side said when."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RejectedError(CallstreamError):
    """The other side refused this very record and will refuse it again; `code` is its own word for why."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class RestartError(CallstreamError):
    """Something that only a new process has anew is finished, as a client of Kafka that was fenced."""


class FatalError(CallstreamError):
    """Going on would do harm or nothing: code, schema or settings are wrong."""
