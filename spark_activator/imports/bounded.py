"""A document of YAML that is no larger than it looks: anchors can make a short one endless.

A number of thousands of digits is one that Python refuses to write.
"""

from __future__ import annotations

from collections.abc import Mapping

# More than any compose file has.
_MOST_NODES, _DEEPEST = 100_000, 32
_MOST_BITS = 256


def is_small(document: object) -> bool:
    """Say whether *document* has no more parts, levels and digits than people write."""
    return _small(document, [_MOST_NODES], 0)


def _small(value: object, left: list[int], deep: int) -> bool:
    """Say whether *value* has at most *left* parts."""
    left[0] -= 1
    if left[0] < 0 or deep > _DEEPEST:
        return False
    if isinstance(value, int):
        return value.bit_length() <= _MOST_BITS
    inside = [*value, *value.values()] if isinstance(value, Mapping) else value
    if not isinstance(inside, list):
        return True
    return all(_small(item, left, deep + 1) for item in inside)
