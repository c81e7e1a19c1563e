from __future__ import annotations

from tests.conformance.suite import hashed_once

__all__ = ["hashed_once"]
