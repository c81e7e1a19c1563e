from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import content_coding
from harness.protocol.content_coding import MAX_CODINGS, PIECE_BYTES, BodyDecoder
from tests.cases import all_cases
from tests.protocol.cuts import at_places

TEXT = b'id: 1-0\ndata: {"type":"token","content":"word"}\n\n' * 40


def _deflated(data: bytes, window_bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=window_bits)
    return compressor.compress(data) + compressor.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip members": ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", lambda data: _deflated(data, -zlib.MAX_WBITS)),
    "brotli": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "zstd frames": ("zstd", lambda data: zstd.compress(data[:100]) + zstd.compress(data[100:])),
}


def decoded(decoder: BodyDecoder, *pieces: bytes) -> bytes:
    return b"".join(part for piece in pieces for part in decoder.feed(piece))


@pytest.mark.parametrize("kind", ENCODERS)
@given(places=st.lists(st.integers(0, 300), max_size=5))
def test_each_coding_is_decoded_however_it_is_cut(kind: str, places: list[int]) -> None:
    name, encode = ENCODERS[kind]
    decoder = BodyDecoder([("Content-Encoding", name)])
    assert decoded(decoder, *at_places(encode(TEXT), places)) == TEXT
    assert decoder.fault is None


@pytest.mark.parametrize("kind", ENCODERS)
def test_one_byte_at_a_time(kind: str) -> None:
    name, encode = ENCODERS[kind]
    decoder = BodyDecoder([("Content-Encoding", name)])
    assert decoded(decoder, *(bytes([byte]) for byte in encode(TEXT))) == TEXT
    assert decoder.fault is None


def test_what_was_flushed_is_decoded_at_once() -> None:
    compressor = zlib.compressobj(wbits=31)
    decoder = BodyDecoder([("Content-Encoding", "gzip")])
    for line in (b"one\n", b"two\n"):
        assert decoded(decoder, compressor.compress(line) + compressor.flush(zlib.Z_SYNC_FLUSH)) == line


def test_several_codings_are_undone_from_the_last() -> None:
    decoder = BodyDecoder(
        [("Content-Encoding", "br"), ("Content-Encoding", "zstd"), ("Transfer-Encoding", "gzip")]
    )
    assert decoded(decoder, gzip.compress(zstd.compress(brotli.compress(TEXT)))) == TEXT
    assert decoder.fault is None


@all_cases("name", sorted(content_coding.KNOWN_CODINGS))
@all_cases("size", [1, 10_000])
def test_plain_text_passes_unchanged_and_is_named(name: str, size: int) -> None:
    decoder = BodyDecoder([("Content-Encoding", name)])
    assert decoded(decoder, *(TEXT[at : at + size] for at in range(0, len(TEXT), size))) == TEXT
    assert decoder.fault is not None
    assert decoder.fault.startswith(f"the body is not in the coding that Content-Encoding: {name} names (")


def test_an_unknown_coding_passes_unchanged_and_is_named() -> None:
    decoder = BodyDecoder([("Content-Encoding", "exi")])
    assert decoded(decoder, TEXT) == TEXT
    assert decoder.fault == "Content-Encoding: exi is a coding that the harness does not know"


@pytest.mark.parametrize("kind", [kind for kind in ENCODERS if kind != "raw deflate"])
def test_corrupt_data_keep_what_was_decoded(kind: str) -> None:
    name, encode = ENCODERS[kind]
    first = encode(TEXT)
    decoder = BodyDecoder([("Content-Encoding", name)])
    assert decoded(decoder, first, b"\xff" * 20, b"more") == TEXT
    assert decoder.fault is not None
    assert decoder.fault.startswith(
        f"the body is corrupt in the coding that Content-Encoding: {name} names ("
    )


@pytest.mark.parametrize("kind", ["gzip", "zlib", "raw deflate", "brotli", "zstd"])
def test_a_bomb_comes_in_pieces(kind: str) -> None:
    name, encode = ENCODERS[kind]
    size = 20 * PIECE_BYTES + 17
    pieces = BodyDecoder([("Content-Encoding", name)]).feed(encode(b"x" * size))
    lengths = [len(piece) for piece in pieces]
    assert sum(lengths) == size
    assert max(lengths) <= 2 * PIECE_BYTES


@pytest.mark.parametrize("outer", [1, 2])
def test_what_each_coding_produces_is_bounded(outer: int) -> None:
    """Of several codings the first may produce little, and the next one terabytes."""
    bomb = b"x" * (4 * PIECE_BYTES)
    for _ in range(outer):
        bomb = gzip.compress(bomb)
    decoder = BodyDecoder([("Content-Encoding", "gzip")] * outer, 2 * PIECE_BYTES)
    assert len(decoded(decoder, bomb)) <= 2 * PIECE_BYTES
    assert decoder.limit == "the decompressed body is larger than 2 MiB"
    assert decoded(decoder, gzip.compress(b"more")) == b""


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_the_number_of_members_is_bounded(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Empty ones decode to nothing, which no other limit counts."""
    monkeypatch.setattr(content_coding, "MAX_MEMBERS", 500)
    name, encode = ENCODERS[kind]
    decoder = BodyDecoder([("Content-Encoding", name)])
    assert decoded(decoder, *[encode(b"")] * 499, encode(TEXT)) == TEXT
    assert decoder.limit is None
    assert decoded(decoder, encode(TEXT)) == b""
    assert decoder.limit == "the body has more than 500 compressed members"
    assert decoded(decoder, encode(TEXT)) == b""
    assert decoder.fault is None


def test_the_rest_of_a_large_read_is_not_copied_after_each_member(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Counted:
        def __init__(self, window_bits: int) -> None:
            self._inflater = original(window_bits)

        def decompress(self, data: bytes, most: int) -> bytes:
            sizes.append(len(data))
            return self._inflater.decompress(data, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflater, name)

    original = zlib.decompressobj
    monkeypatch.setattr(content_coding.zlib, "decompressobj", Counted)
    members = 3000
    assert decoded(BodyDecoder([("Content-Encoding", "gzip")]), gzip.compress(b"") * members) == b""
    assert len(sizes) >= members
    assert max(sizes) <= 4096


def test_a_window_larger_than_clients_must_accept_is_refused() -> None:
    options = {
        zstd.CompressionParameter.window_log: 25,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(os.urandom(100_000)) + compressor.flush()
    decoder = BodyDecoder([("Content-Encoding", "zstd")])
    assert decoded(decoder, data) == data
    assert decoder.fault is not None


def test_what_decodes_to_nothing_is_not_collected() -> None:
    decoder = BodyDecoder([("Content-Encoding", "gzip")])
    tracemalloc.start()
    try:
        for _ in range(40):
            assert decoded(decoder, gzip.compress(b"") * 2000) == b""
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def test_a_bomb_of_many_codings_is_refused() -> None:
    bomb = TEXT
    for _ in range(MAX_CODINGS + 1):
        bomb = gzip.compress(bomb)
    decoder = BodyDecoder([("Content-Encoding", "gzip")] * (MAX_CODINGS + 1))
    assert decoded(decoder, bomb) != TEXT
    assert decoder.fault == "more than 5 codings were applied to the body"
