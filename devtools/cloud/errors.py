"""What the cloud answers when it refuses: an HTTP status, a code that callers match on, and a sentence."""


class ApiError(Exception):
    """A refusal; the server turns it into the error envelope, the effect of the call does not happen."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def missing(name: str) -> ApiError:
    """Return the refusal of a call that lacks the required parameter `name`."""
    return ApiError(400, "MissingParameter", f"Missing{name}: the mandatory parameter {name} is not supplied.")


def invalid(name: str, reason: str) -> ApiError:
    """Return the refusal of a parameter whose value the cloud does not take."""
    return ApiError(400, "InvalidParameter", f"The specified parameter {name} is not valid: {reason}.")


def not_exist(kind: str, identifier: str) -> ApiError:
    """Return the refusal of an id that is unknown; `kind` is Instance, JobGroup, Job, ..."""
    return ApiError(404, f"NotExist.{kind}", f"The specified {kind} does not exist: {identifier}.")


def internal() -> ApiError:
    """Return the failure that says nothing about whether the effect happened."""
    return ApiError(500, "InternalError", "The request processing has failed due to some unknown error.")
