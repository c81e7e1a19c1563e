from __future__ import annotations

import os
import socket
import threading

import gevent
import pytest

from harness.transport import gevent_poller as polling
from harness.transport.gevent_poller import Poller


@pytest.fixture(params=["epoll", "watchers"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Poller:
    if request.param == "epoll":
        if polling._new_epoll is None:
            pytest.skip("no epoll on this system")
    else:
        monkeypatch.setattr(polling, "_new_epoll", None)
    return Poller()


def pair() -> tuple[socket.socket, socket.socket]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    return ours, peer


def test_callbacks_until_unwatched(poller: Poller) -> None:
    ours, peer = pair()
    seen: list[bytes] = []
    with ours, peer:
        poller.watch(ours.fileno(), lambda: seen.append(ours.recv(1)))
        gevent.sleep(0.02)
        assert seen == []
        peer.sendall(b"abc")
        gevent.sleep(0.05)
        assert seen == [b"a", b"b", b"c"]  # once for each byte that is left
        poller.unwatch(ours.fileno())
        poller.unwatch(ours.fileno())
        peer.sendall(b"d")
        gevent.sleep(0.05)
    assert len(seen) == 3


def test_a_callback_may_watch_and_unwatch_others(poller: Poller) -> None:
    pairs = [pair() for _ in range(5)]
    called: list[int] = []

    def unwatch_all(mine: int) -> None:
        called.append(mine)
        for ours, _ in pairs:
            poller.unwatch(ours.fileno())

    for number, (ours, peer) in enumerate(pairs):
        peer.sendall(b"x")
        poller.watch(ours.fileno(), lambda number=number: unwatch_all(number))
    gevent.sleep(0.05)
    assert len(called) == 1
    poller.watch(pairs[3][0].fileno(), lambda: unwatch_all(3))
    gevent.sleep(0.05)
    assert called[1:] == [3]
    for ours, peer in pairs:
        ours.close()
        peer.close()


def test_an_exception_is_printed_and_other_sockets_are_still_read(
    poller: Poller, capsys: pytest.CaptureFixture[str]
) -> None:
    (bad, bad_peer), (good, good_peer) = pair(), pair()
    seen: list[bytes] = []
    calls: list[str] = []

    def broken() -> None:
        calls.append("broken")
        raise ZeroDivisionError("a bug")

    with bad, bad_peer, good, good_peer:
        poller.watch(bad.fileno(), broken)
        poller.watch(good.fileno(), lambda: seen.append(good.recv(8)))
        bad_peer.sendall(b"x")
        gevent.sleep(0.05)
        good_peer.sendall(b"y")
        gevent.sleep(0.05)
        poller.unwatch(good.fileno())
    assert (calls, seen) == (["broken"], [b"y"])
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


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
    ours, peer = pair()
    other, others_peer = pair()
    seen: list[bytes] = []
    with ours, peer, other, others_peer:
        poller.watch(ours.fileno(), lambda: seen.append(ours.recv(1)))
        poller.pause()
        poller.pause()
        peer.sendall(b"ab")
        gevent.sleep(0.05)
        assert seen == []
        poller.watch(other.fileno(), lambda: seen.append(other.recv(1)))
        others_peer.sendall(b"c")
        gevent.sleep(0.05)
        assert sorted(seen) == [b"a", b"b", b"c"]
        poller.unwatch(ours.fileno())
        poller.unwatch(other.fileno())
