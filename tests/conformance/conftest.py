from __future__ import annotations

from tests.conformance.suite import light

__all__ = ["light"]
