"""Pictures and sounds: only what is in the request itself.

An engine that fetches what a client names is a way into the network that it
stands in (CVE-2025-6242, CVE-2026-24779), and vectors in the place of a picture
go into the model unread (CVE-2025-62372).
"""

from __future__ import annotations

import re
from typing import Any, Final

from spark_activator.catalog.model import Model, Network
from spark_activator.errors import Refusal
from spark_activator.http.policy.places import contents
from spark_activator.http.policy.strict import Fields

# Fields of a part that name a thing to fetch, or have it: text, or an object with it.
_FETCHED = ("image_url", "audio_url", "video_url", "file_url", "image", "audio", "video", "file")
_ADDRESS = ("url", "file_url")
EMBEDS: Final = ("image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil")
_VIDEO: Final = ("video_url", "video", "input_video")
_WATCHED = frozenset({"type", "source", *_FETCHED, *EMBEDS, *_VIDEO})
VIDEO: Final = "video_url"  # what `requests.allow` says for all of them

# What every parser of addresses takes apart alike: no user, no backslash, no space.
_HTTP = re.compile(r"https?://([a-z0-9.-]+)(?::[0-9]{1,5})?(?:[/?][!-\[\]-~]*)?", re.IGNORECASE)


def check_media(fields: Fields, model: Model) -> None:
    """Check every part of every message.

    Raises:
        Refusal: One has to be fetched from where the model may not fetch, or is
            of a kind that is not served.
    """
    allowed = model.requests.allow
    for path, part in contents(fields):
        if _WATCHED.isdisjoint(part):
            continue
        kind = part.get("type")
        for name in EMBEDS:
            if (kind == name or part.get(name)) and name not in allowed:
                raise Refusal("unsupported_field", f"{path}: parts of type {name!r} are not served")
        for name in _VIDEO:
            if (kind == name or part.get(name)) and VIDEO not in allowed:
                raise Refusal("unsupported_media", f"{path}: videos are not served")
        for name in _FETCHED:
            _check(part.get(name), f"{path}.{name}", model)
        source = part.get("source")
        if isinstance(source, dict):  # else the name of a search result
            _check(source, f"{path}.source", model)


def is_media(part: dict[str, Any]) -> bool:
    """Whether the part is a picture, a sound or a file, whose data is no text."""
    kind = part.get("type")
    return (isinstance(kind, str) and kind in _MEDIA_TYPES) or not _DATA.isdisjoint(part)


def _check(value: object, path: str, model: Model) -> None:
    if isinstance(value, dict):
        for name in _ADDRESS:
            _check(value.get(name), f"{path}.{name}", model)
    if not isinstance(value, str) or value[:5].lower() == "data:":
        return
    if model.network is not Network.OUTBOUND or not model.requests.media_hosts:
        what = "only data in the request itself is served, as 'data:image/png;base64,…'"
    else:
        found = _HTTP.fullmatch(value)
        if found and found[1].lower() in model.requests.media_hosts:
            return
        what = "not an address of a host that this model may fetch from"
    raise Refusal("unsupported_media", f"{path}: {what}")


_DATA = frozenset({"image_url", "audio_url", "video_url", "input_audio"})
_MEDIA_TYPES = frozenset(
    {*_DATA, *_FETCHED, *_VIDEO, *EMBEDS, "input_image", "input_file", "document"}
)
