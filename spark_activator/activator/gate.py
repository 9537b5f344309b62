"""Who may come in, decided from the head alone, before anything is woken."""

from __future__ import annotations

from spark_activator.http.caller import Caller
from spark_activator.http.head import Head


class Gate:
    """Knows hosts, origins and keys."""

    def admit(self, head: Head, peer: str) -> Caller:
        """Say who asks.

        Args:
            head: The request's.
            peer: The address at the other end of the connection.

        Raises:
            Refusal: Not from there, not by this name, or not without a valid key.
        """
        del head, peer
        return Caller()
