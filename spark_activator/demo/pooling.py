"""Embeddings, scores and rankings: numbers made from the words of a text alone.

Two texts are as near as their words are the same: whoever ranks finds the
document that has the words of the query.
"""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
import struct
import time
from typing import Any

from spark_activator.demo import text
from spark_activator.demo.asked import BadRequest, model_of, object_of
from spark_activator.demo.settings import Settings
from spark_activator.demo.shapes import dump

# Small, and wide enough that two words seldom meet.
WIDTH = 64


def embeddings(raw: bytes, settings: Settings) -> bytes:
    """Answer a request for embeddings.

    Raises:
        BadRequest: It is none.
    """
    body = object_of(raw)
    model = model_of(body.get("model"), settings)
    texts = _texts(body.get("input"), "input")
    width = body.get("dimensions") or WIDTH
    if type(width) is not int or not 0 < width <= WIDTH:
        raise BadRequest(f"dimensions: expected a number from 1 to {WIDTH}")
    packed = body.get("encoding_format") == "base64"
    data = []
    for index, one in enumerate(texts):
        vector = _vector(one)[:width]
        whole = struct.pack(f"<{width}f", *vector)
        told = base64.b64encode(whole).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": told})
    return dump({**_frame("list", model), "data": data, "usage": _usage(texts)})


def scores(raw: bytes, settings: Settings) -> bytes:
    """Answer a request for scores: of one text with many, or of pairs.

    Raises:
        BadRequest: It is none.
    """
    body = object_of(raw)
    model = model_of(body.get("model"), settings)
    ones = _texts(body.get("text_1", body.get("queries")), "text_1")
    others = _texts(body.get("text_2", body.get("documents")), "text_2")
    if len(ones) not in (1, len(others)):
        raise BadRequest("text_1: expected one text, or as many as in text_2")
    pairs = zip(ones * (len(others) // len(ones)), others, strict=True)
    data = [
        {"index": index, "object": "score", "score": _nearness(one, other)}
        for index, (one, other) in enumerate(pairs)
    ]
    return dump({**_frame("list", model), "data": data, "usage": _usage([*ones, *others])})


def ranking(raw: bytes, settings: Settings) -> bytes:
    """Answer a request to rank documents by a query.

    Raises:
        BadRequest: It is none.
    """
    body = object_of(raw)
    model = model_of(body.get("model"), settings)
    query = body.get("query")
    if not isinstance(query, str):
        raise BadRequest("query: expected a string")
    documents = _texts(body.get("documents"), "documents")
    results = [
        {"index": index, "document": {"text": one}, "relevance_score": _nearness(query, one)}
        for index, one in enumerate(documents)
    ]
    results.sort(key=lambda result: -_score(result))
    most = body.get("top_n") or len(results)
    if type(most) is not int or most < 0:
        raise BadRequest("top_n: expected a number, 0 or more")
    usage = _usage([query, *documents])
    del usage["completion_tokens"]
    frame = {"id": f"rerank-{secrets.token_hex(12)}", "model": model}
    return dump({**frame, "usage": usage, "results": results[:most]})


def _score(result: dict[str, Any]) -> float:
    return float(result["relevance_score"])


def _texts(given: object, key: str) -> list[str]:
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not given:
        raise BadRequest(f"{key}: expected a string or a list of strings")
    if all(type(part) is int for part in given):
        given = [given]
    texts = [" ".join(str(part) for part in one) if isinstance(one, list) else one for one in given]
    if not all(isinstance(one, str) for one in texts):
        raise BadRequest(f"{key}: expected a string or a list of strings")
    return texts


def _vector(one: str) -> list[float]:
    vector = [0.0] * WIDTH
    for word in one.lower().split():
        vector[hashlib.sha256(word.encode("utf-8", "replace")).digest()[0] % WIDTH] += 1
    length = math.sqrt(sum(part * part for part in vector)) or 1
    return [part / length for part in vector]


def _nearness(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(_vector(one), _vector(other), strict=True))


def _frame(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"embd-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _usage(texts: list[str]) -> dict[str, int]:
    count = sum(text.count_tokens(one) for one in texts)
    return {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0}
