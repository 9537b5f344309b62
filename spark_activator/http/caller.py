"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from.

    Attributes:
        key: The name of the API key; empty where there are none.
        admin: Whether it may change what is loaded.
    """

    key: str = ""
    admin: bool = True
