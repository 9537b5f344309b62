"""Which requests are allowed, and who answers them.

An allow-list, because an engine has dozens of routes that no key protects and
that load weights, pause the scheduler or run code.  Paths are compared as they
were sent: nothing is decoded or normalised, so there is nothing to disagree on.
"""

from __future__ import annotations

import re
from enum import Enum

from spark_activator.errors import Refusal
from spark_activator.http import websocket
from spark_activator.http.head import Head


class Route(Enum):
    """Who answers a request."""

    ENGINE = "engine"
    # These say how we are: they ask nobody, wake nothing and do not keep awake.
    HEALTH = "health"
    METRICS = "metrics"
    MODELS = "models"
    MODEL = "model"
    # What a browser asks before it lets a page ask.
    OPTIONS = "options"
    # For those who may change what is loaded.
    TOUCH = "touch"
    WARM = "warm"
    STOP = "stop"


# Their callers have to be admins.
FOR_ADMINS = frozenset({Route.TOUCH, Route.WARM, Route.STOP})

_READ = ("GET", "HEAD")
_LOCAL: dict[str, tuple[tuple[str, ...], Route]] = {
    "/health": (_READ, Route.HEALTH),
    "/metrics": (_READ, Route.METRICS),
    "/v1/models": (_READ, Route.MODELS),
    "/debug/touch": (("POST",), Route.TOUCH),
    "/debug/warm": (("POST",), Route.WARM),
    "/debug/stop": (("POST",), Route.STOP),
}
REALTIME = "/v1/realtime"
# Those of an engine's paths that people use.  Their other names (`/rerank`,
# `/v2/rerank`, `/score`, `/invocations`) are the same behind other rules.
_ENGINE: dict[str, tuple[str, ...]] = {
    "/v1/audio/speech": ("POST",),
    "/v1/audio/transcriptions": ("POST",),
    "/v1/audio/translations": ("POST",),
    "/v1/chat/completions": ("POST",),
    "/v1/completions": ("POST",),
    "/v1/embeddings": ("POST",),
    "/v1/messages": ("POST",),
    "/v1/messages/count_tokens": ("POST",),
    REALTIME: ("GET",),
    "/v1/rerank": ("POST",),
    "/v1/responses": ("POST",),
    "/v1/score": ("POST",),
}
# Identifiers are what engines make of them: letters, digits, '-' and '_'.
_PATTERNS: tuple[tuple[re.Pattern[str], tuple[str, ...], Route], ...] = (
    (re.compile(r"/v1/responses/[0-9A-Za-z_-]{1,128}"), ("GET",), Route.ENGINE),
    (re.compile(r"/v1/responses/[0-9A-Za-z_-]{1,128}/cancel"), ("POST",), Route.ENGINE),
    # Names have slashes, and some clients encode them.  Answered here, so that
    # nobody else has to decode them as we do.
    (re.compile(r"/v1/models/[0-9A-Za-z._:/%@+~-]{1,256}"), _READ, Route.MODEL),
)


def route(head: Head) -> Route:
    """Decide who answers.

    Raises:
        Refusal: Nobody: the path is not in the list, or not with this method.
    """
    methods, found = _look_up(head.path)
    if found is None:
        raise Refusal("path_not_allowed", f"there is no '{head.path[:200]}' here")
    if head.method == "OPTIONS":
        return Route.OPTIONS
    if head.method not in methods:
        raise Refusal(
            "method_not_allowed",
            f"'{head.path[:200]}' wants {' or '.join(methods)}, not {head.method}",
            headers={"Allow": allowed(head.path)},
        )
    if head.path == REALTIME:
        websocket.check(head)
    return found


def allowed(path: str) -> str:
    """What `Allow` says of *path*."""
    return ", ".join((*_look_up(path)[0], "OPTIONS"))


def _look_up(path: str) -> tuple[tuple[str, ...], Route | None]:
    if path in _ENGINE:
        return _ENGINE[path], Route.ENGINE
    if path in _LOCAL:
        return _LOCAL[path]
    for pattern, methods, found in _PATTERNS:
        if pattern.fullmatch(path):
            return methods, found
    return (), None
