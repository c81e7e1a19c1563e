"""Free TCP ports for processes that must be told theirs."""

from __future__ import annotations

import random
import socket

#: Below the range from which Linux takes the ports of outgoing connections, which other tests open by the hundred.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A port on which nothing listens."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
