"""Every error raised on purpose, by who must act.

* `UserError`: whoever typed the command or wrote the file.  The command line
  prints it in one sentence and a remedy, and exits with 1.
* `Refusal`: whoever sent the request.  It becomes an OpenAI-shaped answer.
* `EngineFailed`: whoever owns the model.  The runner turns it into a `failed`
  line, and the activator turns that into a `Refusal`.

Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RefusalKind:
    """What a refusal code means in HTTP.

    Attributes:
        status: The HTTP status.
        type: The `error.type` of OpenAI's error object.
        retry_after: Seconds until another try may help; None where it cannot.
    """

    status: int
    type: str
    retry_after: int | None = None


# The one table of codes: a new refusal is a new line here and in docs/errors.md.
# Clients' SDKs retry 408, 409, 429 and 5xx by themselves, so what a retry cannot
# mend is a 4xx that they leave alone.
REFUSALS: dict[str, RefusalKind] = {
    # The request itself is at fault.
    "invalid_request": RefusalKind(400, "invalid_request_error"),
    "invalid_json": RefusalKind(400, "invalid_request_error"),
    "unsupported_field": RefusalKind(400, "invalid_request_error"),
    "unsupported_media": RefusalKind(400, "invalid_request_error"),
    "invalid_api_key": RefusalKind(401, "authentication_error"),
    "invalid_host": RefusalKind(403, "invalid_request_error"),
    "origin_not_allowed": RefusalKind(403, "invalid_request_error"),
    "key_required": RefusalKind(403, "permission_error"),
    "admin_required": RefusalKind(403, "permission_error"),
    "model_not_permitted": RefusalKind(403, "permission_error"),
    "model_not_found": RefusalKind(404, "invalid_request_error"),
    "model_retired": RefusalKind(404, "invalid_request_error"),
    "model_not_enabled": RefusalKind(404, "invalid_request_error"),
    "model_not_loaded": RefusalKind(404, "invalid_request_error"),
    "response_not_found": RefusalKind(404, "invalid_request_error"),
    "path_not_allowed": RefusalKind(404, "invalid_request_error"),
    "method_not_allowed": RefusalKind(405, "invalid_request_error"),
    "request_timeout": RefusalKind(408, "invalid_request_error"),
    "body_too_large": RefusalKind(413, "invalid_request_error"),
    "expectation_failed": RefusalKind(417, "invalid_request_error"),
    "model_busy": RefusalKind(423, "invalid_request_error"),
    "head_too_large": RefusalKind(431, "invalid_request_error"),
    "not_implemented": RefusalKind(501, "invalid_request_error"),
    "http_version": RefusalKind(505, "invalid_request_error"),
    # Too many at once.
    "concurrency_limit": RefusalKind(429, "rate_limit_error", 5),
    "queue_full": RefusalKind(503, "server_error", 30),
    # The engine is not there, and may be later.
    "model_loading": RefusalKind(503, "server_error", 30),
    "docker_unavailable": RefusalKind(503, "server_error", 10),
    "runner_unavailable": RefusalKind(503, "server_error", 5),
    "memory_short": RefusalKind(503, "server_error", 60),
    "start_failed": RefusalKind(503, "server_error", 60),
    "start_timeout": RefusalKind(503, "server_error", 60),
    "engine_died": RefusalKind(503, "server_error", 5),
    "gpu_held": RefusalKind(503, "server_error", 60),
    "gpu_paused": RefusalKind(503, "server_error", 60),
    "gpu_busy": RefusalKind(503, "server_error", 60),
    "shutting_down": RefusalKind(503, "server_error", 5),
    "restart_needed": RefusalKind(503, "server_error", 60),
    "overloaded": RefusalKind(503, "server_error", 10),
    # The engine is not there, and its owner has to act first.
    "breaker_open": RefusalKind(503, "server_error", 60),
    "model_held": RefusalKind(503, "server_error", 60),
    "model_file_broken": RefusalKind(503, "server_error", 60),
    "image_missing": RefusalKind(503, "server_error", 60),
    "weights_missing": RefusalKind(503, "server_error", 60),
    "state_unwritable": RefusalKind(503, "server_error", 60),
    # The engine was there, and did not answer as HTTP.
    "bad_gateway": RefusalKind(502, "server_error", 5),
    # nginx's own, units/nginx/.
    "internal_error": RefusalKind(500, "server_error"),
    "routes_unavailable": RefusalKind(503, "server_error", 5),
    "gateway_timeout": RefusalKind(504, "server_error", 5),
}


class SparkError(Exception):
    """The root of all errors that are raised on purpose; never raised itself.

    Attributes:
        message: One sentence: subject first, value quoted, no full stop.
        hint: What to do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(SparkError):
    """The person at the command line, or the owner of a file, has to act."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in one file.

    Attributes:
        file: The file as the user knows it.
        key: Dotted path of the key, empty for the file as a whole.
        message: What was expected, and what was found.
    """

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.message}"


class FileProblems(UserError):
    """A model file or the host settings have problems: all of them, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        assert problems
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class EngineFailed(SparkError):
    """The engine could not be started, or is gone without having been asked to go.

    Attributes:
        code: A key of `REFUSALS`.
        message: For clients: says what to do, without internals.
        retry_after: Seconds; None takes the code's own.
        holder: Who has the memory, where that is why.
        due: When it goes, CLOCK_BOOTTIME, where that is known.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        holder: str | None = None,
        due: float | None = None,
    ) -> None:
        assert code in REFUSALS, code
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.holder = holder
        self.due = due


class Refusal(SparkError):
    """A request that is answered with an error.

    Attributes:
        code: A key of `REFUSALS`, stable for clients.
        message: For clients: says what to do, without internals.
        retry_after: Seconds; None takes the code's own.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = REFUSALS[code]
        self.retry_after = self.kind.retry_after if retry_after is None else retry_after
        self.headers = headers or {}
