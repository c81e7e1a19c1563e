from collections.abc import Mapping

from harness.contract.decoding.token_layout import TokenReader

def read_ready(
    epoll: int,
    buffer: memoryview,
    most: int,
    read_bytes: int,
    ahead_ns: int,
    earliest_ns: int,
    token_readers: Mapping[int, TokenReader],
    /,
) -> tuple[list[tuple[int, int, int | None, bytes]], list[tuple[int, int]], bool, int]: ...
