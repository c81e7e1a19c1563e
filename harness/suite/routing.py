"""Which replica of the target gets a request."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count


class Route:
    """Sends the requests of one run to the replicas in turn: the first one to a replica, the second one to the next.

    base_url: where requests with a key that is not known here were sent first.
    """

    def __init__(self, replicas: Sequence[str], base_url: str | None) -> None:
        self.replicas = replicas
        self._after_base = 1 + (replicas.index(base_url) if base_url in replicas else 0)
        self._runs = count()
        self._next: dict[str, int] = {}

    def begin(self, key: str) -> None:
        """A new run has this key. Each one begins at a different replica than the one before."""
        self._next.setdefault(key, next(self._runs))

    def after(self, origin: str | None) -> str:
        """The replica after `origin`; None is the target's own address."""
        number = self._after_base if origin is None else self.replicas.index(origin) + 1
        return self.replicas[number % len(self.replicas)]

    def next(self, key: str | None, origin: str | None = None) -> int:
        """The number, from 0, of the replica for the next request with this key.

        A request without a key goes to `origin`, or without one to a replica that changes with each.
        """
        if key is None:
            return next(self._runs) % len(self.replicas) if origin is None else self.replicas.index(origin)
        number = self._next.get(key, self._after_base)
        self._next[key] = number + 1
        return number % len(self.replicas)
