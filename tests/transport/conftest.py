from __future__ import annotations

from .servers import authority

__all__ = ["authority"]
