"""Ways to split a byte stream into pieces for a decoder."""

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st


def in_pieces_of(size: int, data: bytes) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def at_places(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Split `data` before each of `places`; a repeated place makes an empty piece."""
    ends = [*sorted(places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def everywhere_twice(data: bytes) -> Iterator[list[bytes]]:
    """Every split of `data` into three pieces, including empty ones."""
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            yield at_places(data, (first, second))


@st.composite
def cuttings(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """A stream, and its pieces."""
    data = draw(streams)
    places = draw(st.lists(st.integers(0, len(data)), max_size=12))
    return data, at_places(data, places)
