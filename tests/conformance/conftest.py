from __future__ import annotations

from tests.conformance.suite import few, light

__all__ = ["few", "light"]
