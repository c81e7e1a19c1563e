"""The two readers of tokens: the one in C, and the decoders in Python alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.contract.decoding import token_layout
from tests.benchmarks.target import compiler

TOKEN_READERS = ("native", "python")


@contextmanager
def token_reader_in_use(kind: str) -> Iterator[None]:
    """Decode with the reader in C or without it (``python``). The one in C may be absent only without a compiler."""
    if kind == "python":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(token_layout, "native_reader", None)
            yield
    elif token_layout.native_reader is None and compiler() is None:
        pytest.skip("no C compiler")
    else:
        assert token_layout.native_reader is not None, "the extension was not compiled (run make)"
        yield
