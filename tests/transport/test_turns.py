from __future__ import annotations

from harness.transport.turns import next_size


def test_the_size_of_a_turn_has_bounds() -> None:
    def after(took_ns: int, size: int) -> int:
        return next_size(size, took_ns, least=2048, most=65536)

    assert after(1_000_000_000, 65536) == 2048
    assert after(4_000_000, 10_000) == 10_000
    assert [after(1000, 2048), after(1000, 40_000)] == [4096, 65536]
