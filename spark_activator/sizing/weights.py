"""Bytes of the weights: what the index says, or the files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

# Weights that engines read.  What else lies in a repository is not loaded: the same weights
# for other programs, or of a training.
_SUFFIX = ".safetensors"
# The vendor's own layout of the same weights, beside those for everybody (Mistral, gpt-oss, Llama).
_TWICE = ("consolidated", "original/", "metal/")


def weights_bytes(index: Mapping[str, Any]) -> int:
    """Return the bytes that a `model.safetensors.index.json` says its tensors have.

    Args:
        index: The file's content, `{"metadata": {"total_size": …}, "weight_map": {…}}`.

    Raises:
        ValueError: It does not say; some tools write 0, and the files have to be counted.
    """
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    # Some tools write a float.
    if isinstance(total, bool) or not isinstance(total, int | float) or not 0 < total < inf:
        raise ValueError(
            f"model.safetensors.index.json: metadata.total_size: expected bytes, got {total!r}"
        )
    return int(total)


def files_bytes(sizes: Mapping[str, int]) -> int:
    """Return the bytes of the weights among the files of a repository.

    A file's header is counted too, some kilobytes for each.

    Args:
        sizes: Bytes by the file's path in the repository.

    Raises:
        ValueError: There are none.
    """
    weights = {path: size for path, size in sizes.items() if path.endswith(_SUFFIX)}
    kept = {path: size for path, size in weights.items() if not path.startswith(_TWICE)}
    total = sum((kept or weights).values())
    if total <= 0:
        raise ValueError("expected weights as *.safetensors, there are none")
    return total
