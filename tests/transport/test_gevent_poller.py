from __future__ import annotations

import os
import socket
import threading

import gevent
import pytest

from harness.transport import gevent_poller as polling
from harness.transport.gevent_poller import Poller


@pytest.fixture(params=["epoll", "a watcher for each"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Poller:
    if request.param == "epoll":
        if polling._new_epoll is None:
            pytest.skip("this system has no epoll")
    else:
        monkeypatch.setattr(polling, "_new_epoll", None)
    return Poller()


def pair() -> tuple[socket.socket, socket.socket]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    return ours, peer


def test_who_can_be_read_is_called_until_it_is_forgotten(poller: Poller) -> None:
    ours, peer = pair()
    seen: list[bytes] = []
    with ours, peer:
        poller.watch(ours.fileno(), lambda: seen.append(ours.recv(1)))
        gevent.sleep(0.02)
        assert seen == []
        peer.sendall(b"abc")
        gevent.sleep(0.05)
        assert seen == [b"a", b"b", b"c"]  # as long as something is there
        poller.forget(ours.fileno())
        poller.forget(ours.fileno())
        peer.sendall(b"d")
        gevent.sleep(0.05)
    assert len(seen) == 3


def test_a_callback_may_have_others_forgotten_and_watched(poller: Poller) -> None:
    pairs = [pair() for _ in range(5)]
    called: list[int] = []

    def first_come(mine: int) -> None:
        called.append(mine)
        for ours, _ in pairs:
            poller.forget(ours.fileno())

    for number, (ours, peer) in enumerate(pairs):
        peer.sendall(b"x")
        poller.watch(ours.fileno(), lambda number=number: first_come(number))
    gevent.sleep(0.05)
    assert len(called) == 1
    poller.watch(pairs[3][0].fileno(), lambda: first_come(3))
    gevent.sleep(0.05)
    assert called[1:] == [3]
    for both in pairs:
        for one in both:
            one.close()


def test_one_that_raises_is_told_of_and_the_others_are_still_read(
    poller: Poller, capsys: pytest.CaptureFixture[str]
) -> None:
    (bad, bad_peer), (good, good_peer) = pair(), pair()
    seen: list[bytes] = []
    calls: list[str] = []

    def broken() -> None:
        calls.append("broken")
        raise ZeroDivisionError("of ours")

    with bad, bad_peer, good, good_peer:
        poller.watch(bad.fileno(), broken)
        poller.watch(good.fileno(), lambda: seen.append(good.recv(8)))
        bad_peer.sendall(b"x")
        gevent.sleep(0.05)
        good_peer.sendall(b"y")
        gevent.sleep(0.05)
        poller.forget(good.fileno())
    assert (calls, seen) == (["broken"], [b"y"])
    assert "ZeroDivisionError: of ours" in capsys.readouterr().err


def test_each_hub_and_each_process_has_its_own() -> None:
    mine = Poller.of_hub()
    assert Poller.of_hub() is mine
    others: list[Poller] = []
    thread = threading.Thread(target=lambda: others.append(Poller.of_hub()))
    thread.start()
    thread.join()
    assert others[0] is not mine
    mine.pid = os.getpid() + 1  # as after a fork
    assert Poller.of_hub() is not mine


def test_a_hub_with_nothing_else_to_do_is_not_kept_alive(poller: Poller) -> None:
    with pytest.raises(gevent.exceptions.LoopExit):
        gevent.get_hub().switch()


def test_who_is_held_reads_nothing_until_there_is_another_to_watch(poller: Poller) -> None:
    ours, peer = pair()
    other, others_peer = pair()
    seen: list[bytes] = []
    with ours, peer, other, others_peer:
        poller.watch(ours.fileno(), lambda: seen.append(ours.recv(1)))
        poller.hold()
        poller.hold()
        peer.sendall(b"ab")
        gevent.sleep(0.05)
        assert seen == []
        poller.watch(other.fileno(), lambda: seen.append(other.recv(1)))
        others_peer.sendall(b"c")
        gevent.sleep(0.05)
        assert sorted(seen) == [b"a", b"b", b"c"]
        poller.forget(ours.fileno())
        poller.forget(other.fileno())
