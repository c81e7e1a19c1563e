"""The store of runs, the registry that shares it, and the processes of the replicas."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference import redis_store, store
from harness.reference.faults import faulty_api
from harness.reference.redis_store import RedisStore
from harness.reference.replicas import RESTART, serve_replicas
from harness.reference.runs import Event, KeyTakenError, Run, RunEndedError
from harness.reference.server import _serve
from harness.reference.settings import ServerSettings
from harness.reference.shared_runs import SharedRegistry
from harness.reference.store import Entry, PlaceTakenError, RunStore, open_store
from tests.reference import replica_checks
from tests.reference.redis_server import new_database, redis_server
from tests.reference.support import Client, action, ask, body, until

KEY = ("org-1", "key", "k")
LONG = action("long", tokens=12, intervalMs=15)


def a_run(run_id: str = "r", key: str | None = "k") -> Run:
    return Run("org-1", run_id, b"print", None if key is None else ("org-1", "key", key))


def event(seq: int, kind: str = "token") -> Event:
    return Event(StreamId(5, seq), kind, f'{{"n": {seq}}}')


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """The address of a Redis server."""
    with redis_server() as address:
        yield address


def new_address(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """Of an empty store."""
    return f"sqlite:{folder}/runs.db" if kind == "sqlite" else new_database(request.getfixturevalue("redis"))


@pytest.fixture(params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RunStore, RunStore]]:
    """Two connections to one store."""
    address = new_address(request.param, tmp_path, request)
    first, second = open_store(address), open_store(address)
    yield first, second
    first.close()
    second.close()


def test_a_key_is_claimed_once(stores: tuple[RunStore, RunStore]) -> None:
    first, second = stores
    number = first.claim(a_run(), "1", 1)
    with pytest.raises(KeyTakenError):
        second.claim(a_run("other"), "2", 1)
    found = second.find(KEY)
    assert found is not None
    assert (found.number, found.run_id, found.fingerprint, found.owner) == (number, "r", b"print", "1")
    assert second.claim(a_run(key=None), "2", 1) != second.claim(a_run(key=None), "2", 1)


def test_a_place_in_a_runs_log_is_taken_once(stores: tuple[RunStore, RunStore]) -> None:
    first, second = stores
    number = first.claim(a_run(), "1", 1)
    first.append(number, 0, event(0))
    with pytest.raises(PlaceTakenError):
        second.append(number, 0, event(1))
    second.append(number, 1, None)
    with pytest.raises(PlaceTakenError):
        first.append(number, 1, event(1))
    assert [(entry.place, entry.event) for entry in first.log(number)] == [(0, event(0)), (1, None)]


def test_the_log_tells_what_others_have_written(stores: tuple[RunStore, RunStore]) -> None:
    first, second = stores
    number = first.claim(a_run(), "1", 1)
    assert second.log_after(0) == []
    first.append(number, 0, event(0))
    (entry,) = second.log_after(0)
    assert entry.event == event(0)
    assert second.log_after(entry.position) == []
    assert second.last_position() == entry.position


def test_unfinished_runs_of_an_earlier_generation_are_told(stores: tuple[RunStore, RunStore]) -> None:
    first, _ = stores
    ended, left = first.claim(a_run(key="a"), "1", 1), first.claim(a_run(key="b"), "1", 1)
    first.claim(a_run(key="c"), "2", 1)
    first.append(ended, 0, None)
    assert [row.number for row in first.unfinished("1", 2)] == [left]
    assert first.unfinished("1", 1) == []


def test_ended_runs_expire(stores: tuple[RunStore, RunStore]) -> None:
    first, _ = stores
    number = first.claim(a_run(), "1", 1)
    first.expire(2e9 * 10)
    assert first.find(KEY) is not None, "a run in flight is kept"
    first.append(number, 0, None)
    first.expire(0)
    assert first.find(KEY) is not None
    first.expire(2e9 * 10)
    assert first.find(KEY) is None
    assert first.log(number) == []


@pytest.mark.parametrize("address", ["mysql://localhost", "sqlite:", "runs.db"])
def test_another_kind_of_store_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not of the form sqlite:PATH or redis://HOST"):
        open_store(address)


def test_a_store_that_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot open the store"):
        open_store(f"sqlite:{tmp_path}/missing/runs.db")


def test_a_store_that_is_another_kind_of_file_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"<html>" * 200)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="file is not a database") as refused:
        open_store(f"sqlite:{tmp_path}/runs.db")
    assert refused.value.__traceback__ is not None, "its frames still have the connection"
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.parametrize(
    "address",
    [
        "redis://",
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://localhost/name",
        "redis://localhost/1?db=2",
        "rediss://[",
    ],
)
def test_another_form_of_address_of_redis_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=re.escape("redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")):
        open_store(address)


def test_a_wrong_store_is_refused_before_a_replica_starts() -> None:
    with pytest.raises(ValueError, match="is not of the form sqlite:PATH or redis://HOST"):
        serve_replicas(ServerSettings(store="runs.db"), 2)


def test_redis_without_its_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'agent-run-harness\[redis\]'"):
        open_store("redis://localhost")


def test_redis_that_does_not_answer_is_an_os_error_without_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(OSError, match=f"the store redis://{address}/7 does not answer") as refused:
            open_store(f"redis://user:secret@{address}/7")
    assert "secret" not in str(refused.value)


def test_a_key_that_was_used_again_outlives_what_expired_before(stores: tuple[RunStore, RunStore]) -> None:
    first, _ = stores
    first.append(first.claim(a_run(), "1", 1), 0, None)
    first.expire(2e9 * 10)
    assert not first.has_older(2)
    number = first.claim(a_run(), "1", 1)
    first.expire(2e9 * 10)
    found = first.find(KEY)
    assert found is not None
    assert found.number == number
    assert first.has_older(2)
    assert not first.has_older(1)


def test_a_server_whose_store_is_lost_ends(redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(RedisStore):
        def log_after(self, position: int) -> list[Entry]:
            raise OSError("the store is lost")

    monkeypatch.setattr(redis_store, "RedisStore", Lost)
    until_it_ends = asyncio.wait_for(_serve(ServerSettings(store=new_database(redis)), (), None), 30)
    with pytest.raises(OSError, match="the store is lost"):
        asyncio.run(until_it_ends)


def test_replicas_with_redis_are_one_server(redis: str) -> None:
    async def scenario(client: Client) -> None:
        both = (client, client.other)
        answers = await asyncio.gather(
            *(both[number % 2].post(body(sessionId=f"s{number}"), key="different") for number in range(6))
        )
        assert sorted(answer.status for answer in answers) == [200] + [409] * 5
        before = await client.post(body(LONG), key="k", cut_after=3)
        rest = await client.other.post(body(LONG), key="k", Last_Event_ID=str(before.ids[2]))
        whole = before.sequence[:3] + rest.sequence
        assert len(whole) == 13
        await client.post(body(LONG), key="unfinished", cut_after=3)
        async with replica_checks.restarted(client) as later:
            assert (await later.other.post(body(LONG), key="k")).sequence == whole
            assert (await later.other.post(body(LONG), key="unfinished")).types[-1] == "error"

    ask(scenario, shared=True, store=new_database(redis))


def registry(store: RunStore, owner: str) -> SharedRegistry:
    return SharedRegistry(store, owner=owner, generation=1, ttl_s=60, max_runs=10)


def test_a_run_that_another_process_writes_to_is_ended_for_its_own(
    stores: tuple[RunStore, RunStore],
) -> None:
    own, other = registry(stores[0], "1"), registry(stores[1], "2")
    run = a_run()
    own.add(run)
    own.publish(run, event(0))
    found = other.find(KEY)
    assert found is not None
    assert other.is_foreign(found)
    other.publish(found, event(1, "cancelled"))
    with pytest.raises(RunEndedError):
        own.publish(run, event(1))
    own.catch_up()  # with the terminal event, before the other process has written the end
    with pytest.raises(RunEndedError):
        own.publish(run, event(2, "done"))
    other.retire(found)
    own.refresh(run)
    assert (run.ended, run.events) == (True, [event(0), event(1, "cancelled")])
    assert not own.running


@pytest.mark.parametrize("types", [["token", "error"], ["cancelled"]])
def test_a_server_that_ends_stops_for_no_event_of_another_replica(tmp_path: Path, types: list[str]) -> None:
    address = f"sqlite:{tmp_path}/runs.db"

    async def end() -> Run:
        api = faulty_api(())(ServerSettings(store=address, replica="1"))
        run = a_run()
        api.registry.add(run)
        other = registry(open_store(address), "2")
        found = other.find(KEY)
        assert found is not None
        other.publish(found, event(0, types[0]))
        other.store.close()
        await api.close(0)
        return run

    assert [one.type for one in asyncio.run(end()).events] == types


def test_a_run_takes_each_entry_once_and_in_order(stores: tuple[RunStore, RunStore]) -> None:
    own, other = registry(stores[0], "1"), registry(stores[1], "2")
    run = a_run()
    own.add(run)
    own.publish(run, event(0))
    found = other.find(KEY)
    assert found is not None
    own.publish(run, event(1))
    other.refresh(found)
    other.catch_up()  # from the first entry of the log on
    own.publish(run, event(2))
    own.retire(run)
    other.catch_up()
    assert (found.events, found.ended) == ([event(0), event(1), event(2)], True)


def test_a_cancelled_run_ends_at_both_replicas() -> None:
    async def scenario(client: Client) -> None:
        first = asyncio.create_task(client.post(body(LONG, runId="r"), key="k"))
        await until(lambda: client.server.api.registry.running)
        await asyncio.sleep(0.05)
        assert (await client.other.cancel("r")).events == []
        told = (await first).types
        assert told[-1] == "cancelled"
        assert "done" not in told
        for replica in (client, client.other):
            assert (await replica.post(body(LONG, runId="r"), key="k")).types == told
        await until(lambda: not client.server.api.registry.running)

    ask(scenario, shared=True)


def alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=5):
            return True
    except OSError:
        return False


def wait_until(condition: object) -> None:
    async def wait() -> None:
        async with asyncio.timeout(30):
            await until(condition)  # type: ignore[arg-type]

    asyncio.run(wait())


def test_replicas_keep_their_ports_when_they_are_restarted_and_end_with_their_parent(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        settings = ServerSettings(store=f"sqlite:{tmp_path}/runs.db")
        serve_replicas(settings, 2, on_ready=lambda *ports: os.write(writer, f"{ports}\n".encode()))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as ready:
        ports = [int(port) for port in ready.readline().strip("()\n").split(",")]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    try:
        assert all(map(alive, urls))
        children = Path(f"/proc/{pid}/task/{pid}/children")
        before = children.read_text()
        os.kill(pid, RESTART)
        wait_until(lambda: children.read_text() != before and all(map(alive, urls)))
    finally:
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not any(map(alive, urls))
