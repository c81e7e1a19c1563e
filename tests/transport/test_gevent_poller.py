from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import gevent
import pytest

from harness.contract.decoding.token_layout import TokenReader
from harness.transport import gevent_poller as polling
from harness.transport import ready_sockets
from harness.transport.gevent_poller import Poller
from harness.transport.receiver import CutHow, close_connection
from tests.transport.readers import use_reader
from tests.transport.servers import connected


@pytest.fixture(params=["native", "python", "watchers"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Poller:
    if request.param == "watchers":
        monkeypatch.setattr(polling, "ready_sockets", lambda: None)
    elif ready_sockets.ready_sockets() is None:
        pytest.skip("no epoll on this system")
    else:
        use_reader(request.param, monkeypatch)
    return Poller()


class Reads:
    """Keeps what it gets. on_each: called with each read."""

    token_reader: TokenReader | None = None

    def __init__(self, on_each: Callable[[bytes], object] = lambda _: None) -> None:
        self.data: list[bytes] = []
        self.problems: list[OSError] = []
        self._on_each = on_each

    def on_read(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        self.data.append(data)
        self._on_each(data)

    def on_broken(self, problem: OSError) -> None:
        self.problems.append(problem)


def pair() -> tuple[socket.socket, socket.socket]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    return ours, peer


def within_5_s(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.001)


def test_reads_until_unwatched(poller: Poller) -> None:
    ours, peer = pair()
    reads = Reads()
    with ours, peer:
        poller.watch(ours, reads)
        gevent.sleep(0.02)
        assert reads.data == []
        for part in (b"abc", b"d" * 100_000):
            peer.sendall(part)
            within_5_s(lambda part=part: b"".join(reads.data).endswith(part))
        assert max(map(len, reads.data)) <= 65536
        poller.unwatch(ours.fileno())
        poller.unwatch(ours.fileno())
        count = len(reads.data)
        peer.sendall(b"e")
        gevent.sleep(0.05)
        assert len(reads.data) == count


def test_the_peers_close_is_a_read_without_bytes(poller: Poller) -> None:
    ours, peer = pair()
    reads = Reads(lambda data: None if data else poller.unwatch(ours.fileno()))
    with ours:
        poller.watch(ours, reads)
        peer.sendall(b"x")
        peer.close()
        within_5_s(lambda: reads.data[-1:] == [b""])
    assert (reads.data, reads.problems) == ([b"x", b""], [])


def test_a_reset_is_a_problem_and_not_a_read(poller: Poller) -> None:
    with connected() as (ours, peer):
        reads = Reads()
        reads.on_broken = lambda problem: (reads.problems.append(problem), poller.unwatch(ours.fileno()))  # type: ignore[method-assign]
        poller.watch(ours, reads)
        close_connection(peer, CutHow.RST)
        within_5_s(lambda: bool(reads.problems))
    assert [type(problem) for problem in reads.problems] == [ConnectionResetError]
    assert reads.data == []


def test_a_callback_reads_for_itself(poller: Poller) -> None:
    ours, peer = pair()
    seen: list[bytes] = []
    with ours, peer:
        poller.notify(ours.fileno(), lambda: seen.append(ours.recv(1)))
        peer.sendall(b"abc")
        within_5_s(lambda: seen == [b"a", b"b", b"c"])  # once for each byte that is left
        poller.unwatch(ours.fileno())
        peer.sendall(b"d")
        gevent.sleep(0.05)
    assert len(seen) == 3


def test_a_reader_may_unwatch_others_and_what_was_read_from_them_is_dropped(poller: Poller) -> None:
    pairs = [pair() for _ in range(5)]

    def unwatch_all(_: bytes) -> None:
        for ours, _ in pairs:
            poller.unwatch(ours.fileno())

    readers = [Reads(unwatch_all) for _ in pairs]
    for (ours, peer), reader in zip(pairs, readers, strict=True):
        peer.sendall(b"x")
        poller.watch(ours, reader)
    gevent.sleep(0.05)
    assert [data for reader in readers for data in reader.data] == [b"x"]
    for ours, peer in pairs:
        ours.close()
        peer.close()


def test_bytes_of_a_closed_socket_never_reach_the_next_one_with_its_descriptor(poller: Poller) -> None:
    """The reader of the first one closes the others and watches new sockets, which get the same descriptors."""
    pairs = [pair() for _ in range(8)]
    replaced: list[tuple[socket.socket, socket.socket]] = []
    later = Reads()

    def replace_others(_: bytes) -> None:
        if replaced:
            return
        for ours, peer in pairs:
            poller.unwatch(ours.fileno())
            ours.close()
            peer.close()
        replaced.extend(pair() for _ in pairs)
        for ours, _ in replaced:
            poller.watch(ours, later)

    for ours, peer in pairs:
        peer.sendall(b"old")
        poller.watch(ours, Reads(replace_others))
    within_5_s(lambda: bool(replaced))
    for _, peer in replaced:
        peer.sendall(b"new")
    within_5_s(lambda: len(later.data) >= len(replaced))
    assert set(later.data) == {b"new"}
    for ours, peer in replaced:
        poller.unwatch(ours.fileno())
        ours.close()
        peer.close()


def test_an_exception_is_handed_to_the_hub_and_other_sockets_are_still_read(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[object] = []  # of a hub that prints it, or one whose handler Locust has replaced
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *error: handled.append(error[2]))
    (bad, bad_peer), (good, good_peer) = pair(), pair()

    def fail(_: bytes) -> None:
        raise ZeroDivisionError("a bug")

    broken, reads = Reads(fail), Reads()
    with bad, bad_peer, good, good_peer:
        poller.watch(bad, broken)
        poller.watch(good, reads)
        bad_peer.sendall(b"x")
        within_5_s(lambda: bool(broken.data))
        bad_peer.sendall(b"z")
        good_peer.sendall(b"y")
        within_5_s(lambda: bool(reads.data))
        poller.unwatch(good.fileno())
    assert (broken.data, reads.data) == ([b"x"], [b"y"])
    assert list(map(repr, handled)) == ["ZeroDivisionError('a bug')"]


def test_one_poller_per_hub_and_process() -> None:
    mine = Poller.for_current_hub()
    assert Poller.for_current_hub() is mine
    others: list[Poller] = []
    thread = threading.Thread(target=lambda: others.append(Poller.for_current_hub()))
    thread.start()
    thread.join()
    assert others[0] is not mine
    mine.pid = os.getpid() + 1  # as after a fork
    assert Poller.for_current_hub() is not mine


def test_an_idle_hub_is_not_kept_alive(poller: Poller) -> None:
    with pytest.raises(gevent.exceptions.LoopExit):
        gevent.get_hub().switch()


def test_a_pause_lasts_until_the_next_watch(poller: Poller) -> None:
    (ours, peer), (other, others_peer), (own, owns_peer) = pair(), pair(), pair()
    reads = Reads()
    with ours, peer, other, others_peer, own, owns_peer:
        poller.watch(ours, reads)
        poller.notify(own.fileno(), lambda: reads.on_read(0, None, own.recv(8)))
        poller.pause()
        poller.pause()
        peer.sendall(b"a")
        owns_peer.sendall(b"b")
        gevent.sleep(0.05)
        assert reads.data == []
        poller.watch(other, reads)
        others_peer.sendall(b"c")
        within_5_s(lambda: sorted(reads.data) == [b"a", b"b", b"c"])
        for sock in (ours, other, own):
            poller.unwatch(sock.fileno())


def test_the_pulse_tells_up_to_when_all_was_read(poller: Poller) -> None:
    ours, peer = pair()
    reads = Reads()
    with ours, peer:
        poller.watch(ours, reads)
        began_ns = time.monotonic_ns()
        within_5_s(
            lambda: poller.pulse.earliest_ns(time.monotonic_ns()) > began_ns
        )  # although nothing arrives
        poller.pause()
        gevent.sleep(0.03)
        seen_ns = poller.pulse.earliest_ns(time.monotonic_ns())
        gevent.sleep(0.03)
        if poller._sockets is not None:
            assert poller.pulse.earliest_ns(time.monotonic_ns()) == seen_ns
        poller.unwatch(ours.fileno())


def test_many_ready_sockets_are_read_before_the_hub_rests(poller: Poller) -> None:
    """More sockets than one call reads: all of them are read, and none is starved."""
    pairs = [pair() for _ in range(300)]
    readers = [Reads() for _ in pairs]
    try:
        for (ours, peer), reader in zip(pairs, readers, strict=True):
            peer.sendall(b"x")
            poller.watch(ours, reader)
        within_5_s(lambda: all(reader.data == [b"x"] for reader in readers))
    finally:
        for ours, peer in pairs:
            poller.unwatch(ours.fileno())
            ours.close()
            peer.close()


def test_decoding_that_takes_long_reads_less_but_every_small_read(poller: Poller) -> None:
    """Small reads are all made at once, however slow the decoding or the machine is."""
    if poller._sockets is None:
        return  # they are read one by one

    def compute(_: bytes) -> None:
        until_ns = time.thread_time_ns() + 1_000_000
        while time.thread_time_ns() < until_ns:
            pass

    pairs = [pair() for _ in range(20)]
    reads = Reads(compute)
    try:
        for ours, peer in pairs:
            peer.sendall(b"x" * 100)
            poller.watch(ours, reads)
        for _ in range(5):
            assert poller._drain() == len(pairs)  # 20 ms of decoding
            for _, peer in pairs:
                peer.sendall(b"x" * 100)
        assert poller._limit_bytes == 65536
        for ours, _ in pairs[1:]:
            poller.unwatch(ours.fileno())
        reads._on_each = lambda _: None
        for _ in range(6):
            pairs[0][1].sendall(b"x")
            poller._drain()
        assert poller._limit_bytes == 1 << 20
    finally:
        for ours, peer in pairs:
            poller.unwatch(ours.fileno())
            ours.close()
            peer.close()


def test_it_looks_at_its_sockets_only_while_nothing_else_does(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Busy, it reads every millisecond already; a look more would cost as much as ten reads."""
    if poller._sockets is None:
        return  # each socket has a watcher, and nothing looks
    looks: list[int] = []
    monkeypatch.setattr(poller, "_drain", lambda: looks.append(1) or 0)
    poller._rest.again(lambda: None, update=True)
    poller._on_look()
    assert looks == []
    poller._rest.stop()
    poller._on_look()
    assert looks == [1]
