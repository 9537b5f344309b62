"""Speech to text and back: a form with a file in it, and a second of silence."""

from __future__ import annotations

import hashlib
import re
import struct

from spark_activator.demo import faults, text
from spark_activator.demo.asked import Api, Asked, BadRequest, Block, Kind, model_of, object_of
from spark_activator.demo.settings import Settings

_BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary="?([^";,\s]{1,70})"?', re.I)
_NAME = re.compile(rb'^content-disposition:[^\r\n]*?[; ]name="?([^"\r\n;]*)"?', re.I | re.M)
# 16-bit samples of 8 kHz, one channel.
_RATE = 8000


def read(raw: bytes, content_type: str, settings: Settings) -> Asked:
    """Read a form that wants a recording put into words.

    What is said depends on every byte of the file.

    Raises:
        BadRequest: It is none.
    """
    form = fields(raw, content_type)
    if "file" not in form:
        raise BadRequest("file: Field required")
    heard = hashlib.sha256(form["file"]).hexdigest()
    prompt = form.get("prompt", b"").decode("utf-8", "replace")
    tokens, reason = text.answer_tokens(
        "story", heard, length=settings.max_tokens, limit=None, endless=False
    )
    name = form.get("model")
    return Asked(
        api=Api.SPEECH_TO_TEXT,
        model=model_of(None if name is None else name.decode("utf-8", "replace"), settings),
        blocks=(Block(Kind.TEXT, tokens),),
        reason=reason,
        # As long as its file would last.
        prompt_tokens=len(form["file"]) // (2 * _RATE) + 1,
        stream=form.get("stream", b"").lower() in (b"true", b"1"),
        fault=faults.directive(prompt) if settings.faults.allow_faults else None,
    )


def fields(raw: bytes, content_type: str) -> dict[str, bytes]:
    """Take a multipart form apart.

    Raises:
        BadRequest: It is none, or has no end.
    """
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise BadRequest("expected multipart/form-data")
    mark = b"--" + found[1].encode()
    first, *parts = (b"\r\n" + raw).split(b"\r\n" + mark)
    if first.strip() or not parts or not parts[-1].startswith(b"--"):
        raise BadRequest("the form does not end with its boundary")
    form = {}
    for part in parts[:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if name := _NAME.search(head):
            form[name[1].decode("utf-8", "replace")] = value
    return form


def speech(raw: bytes, settings: Settings) -> bytes:
    """Answer with a second of silence, as a WAV file.

    Raises:
        BadRequest: Nothing is to be said.
    """
    body = object_of(raw)
    model_of(body.get("model"), settings)
    if not isinstance(body.get("input"), str):
        raise BadRequest("input: expected a string")
    sound = bytes(2 * _RATE)
    head = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16, b"data",
                       len(sound))  # fmt: skip
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(sound)) + b"WAVE" + head + sound
