"""Tests on both readers of sockets: the one in C, and the one in Python."""

from __future__ import annotations

import pytest

from harness.transport import ready_sockets
from tests.benchmarks.target import compiler


def use_reader(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with "native" or "python". Only where there is no compiler may the native one be absent."""
    if kind == "python":
        monkeypatch.setattr(ready_sockets, "native_reader", None)
    elif ready_sockets.native_reader is None and compiler() is None:
        pytest.skip("no C compiler")
    else:
        assert ready_sockets.native_reader is not None, "the extension was not compiled (run make)"
