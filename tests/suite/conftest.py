from __future__ import annotations

from tests.transport.servers import authority

__all__ = ["authority"]
