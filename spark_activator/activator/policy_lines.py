"""What the activator and its policy worker say to each other.

One JSON object a message, and with it a file that has a body.  Both sides are of
one version: the worker is started by the process that talks to it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from spark_activator.errors import Refusal
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.decision import Clamp, Decision

# All of it but a refusal's message is a few hundred bytes.
MAX_LINE = 64 * 1024


def ask_decide(endpoint: Endpoint) -> bytes:
    """Ask for the decision about the body that comes along."""
    return json.dumps({"endpoint": endpoint}).encode()


def ask_reclamp(decision: Decision, counted: int) -> bytes:
    """Ask for a better limit, now that the prompt's tokens are *counted*."""
    return json.dumps({"decision": _fields(decision), "counted": counted}).encode()


def asked(line: bytes, body: bytes) -> Endpoint | tuple[Decision, int]:
    """Read a question about *body*: the endpoint, or a decision and what was counted."""
    said = json.loads(line)
    if "endpoint" in said:
        return Endpoint(said["endpoint"])
    return _decision(said["decision"], body), said["counted"]


def answer_decision(decision: Decision) -> bytes:
    """Say what was decided; the body comes along if it changed."""
    return json.dumps({"decision": _fields(decision)}).encode()


def answer_refusal(refusal: Refusal) -> bytes:
    """Say why the request is refused."""
    return json.dumps(
        {
            "code": refusal.code,
            "message": refusal.message,
            "retry_after": refusal.retry_after,
            "headers": dict(refusal.headers),
        }
    ).encode()


def answered(line: bytes) -> Decision:
    """Read an answer; the decision's body is empty.

    Raises:
        Refusal: That was the answer.
    """
    said = json.loads(line)
    if "decision" in said:
        return _decision(said["decision"], b"")
    raise Refusal(
        said["code"], said["message"], retry_after=said["retry_after"], headers=said["headers"]
    )


def _fields(decision: Decision) -> dict[str, Any]:
    fields = asdict(decision)
    del fields["body"]  # it lies in a file
    return fields


def _decision(fields: dict[str, Any], body: bytes) -> Decision:
    clamp = fields.pop("clamp")
    return Decision(
        body,
        **{**fields, "changed": tuple(fields["changed"])},
        clamp=None if clamp is None else Clamp(**clamp),
    )
