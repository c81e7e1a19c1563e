"""A store in one Redis server, for replicas on any number of machines: the same steps as in SQLite, each one a script.

Redis runs a script as a whole, so no other replica comes between its commands. All names start with ``harness:``; a
separate database, such as ``redis://localhost/5``, keeps two groups of replicas apart.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.reference.runs import Event, KeyTakenError, Run, RunKey
from harness.reference.store import Entry, PlaceTakenError, StoredRun

_TIMEOUT_S = 5.0
_SEQ_BITS = (
    20  # of a position; an entry of a stream has milliseconds and a number among those of its millisecond
)

_CLAIM = """
local number = redis.call('INCR', 'harness:number')
if ARGV[1] ~= '' and not redis.call('SET', ARGV[1], number, 'NX') then return 0 end
redis.call('SET', ARGV[2], number)
redis.call('HSET', 'harness:run:' .. number, 'key', ARGV[1], 'id', ARGV[2], 'row', ARGV[3])
redis.call('ZADD', 'harness:runs', ARGV[4], number)
redis.call('ZADD', 'harness:unfinished', ARGV[4], number)
return number
"""
_APPEND = """
local log = 'harness:log:' .. ARGV[1]
if redis.call('HEXISTS', log, ARGV[2]) == 1 then return 0 end
local position = redis.call('XADD', 'harness:log', '*', 'entry', ARGV[3])
redis.call('HSET', log, ARGV[2], position .. ' ' .. ARGV[3])
if ARGV[4] ~= '' then
  redis.call('ZREM', 'harness:unfinished', ARGV[1])
  redis.call('ZADD', 'harness:ended', ARGV[4], ARGV[1])
end
return 1
"""
_EXPIRE = """
for _, number in ipairs(redis.call('ZRANGEBYSCORE', 'harness:ended', '-inf', '(' .. ARGV[1])) do
  local run = 'harness:run:' .. number
  for _, name in ipairs(redis.call('HMGET', run, 'key', 'id')) do
    if name and redis.call('GET', name) == number then redis.call('DEL', name) end
  end
  redis.call('DEL', run, 'harness:log:' .. number)
  redis.call('ZREM', 'harness:ended', number)
  redis.call('ZREM', 'harness:runs', number)
end
redis.call('XTRIM', 'harness:log', 'MINID', ARGV[2])
"""

_Row = tuple[str, str, bytes, RunKey | None, str, int]
_Logged = tuple[int, int, Event | None]
_encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(_Row).decode
_logged = msgspec.msgpack.Decoder(_Logged).decode


class RedisStore:
    """A store at ``redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]``, or ``rediss://`` with TLS; Redis 6.2 or later.

    Calls block for the time of one round trip. Raises ValueError for another form of address, and OSError, as each
    call does, if Redis does not answer: nothing is sent again, because the first request may have had its effect.
    """

    def __init__(self, address: str) -> None:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port or 6379
        except ValueError:
            host, port = None, 0
        if not host or not re.fullmatch(r"(/\d*)?", parts.path) or parts.query or parts.fragment:
            raise ValueError("the store is not of the form redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")
        self._name = f"{parts.scheme}://{host}:{port}{parts.path}"  # without the password
        self._client: Any = redis.Redis.from_url(
            address,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            self.last_position()
        except OSError:
            self.close()
            raise

    def _ask(self, *command: str | bytes | float) -> Any:
        try:
            return self._client.execute_command(*command)
        except redis.RedisError as problem:
            raise OSError(f"the store {self._name} does not answer as expected: {problem}") from None

    def claim(self, run: Run, owner: str, generation: int) -> int:
        row: _Row = (run.organization, run.run_id, run.fingerprint, run.identity, owner, generation)
        key = "" if run.identity is None else _name("key", *run.identity)
        run_id = _name("id", run.organization, run.run_id)
        number: int = self._ask("EVAL", _CLAIM, 0, key, run_id, _encode(row), generation)
        if not number:
            raise KeyTakenError
        return number

    def find(self, identity: RunKey) -> StoredRun | None:
        return self._named(_name("key", *identity))

    def find_by_run_id(self, organization: str, run_id: str) -> StoredRun | None:
        return self._named(_name("id", organization, run_id))

    def _named(self, name: str) -> StoredRun | None:
        number = self._ask("GET", name)
        return None if number is None else self._stored(int(number))

    def _stored(self, number: int) -> StoredRun | None:
        row = self._ask("HGET", f"harness:run:{number}", "row")
        return None if row is None else StoredRun(number, *_row(row))

    def log(self, number: int) -> list[Entry]:
        found = (value.partition(b" ") for value in self._ask("HGETALL", f"harness:log:{number}").values())
        return sorted(_entry(position, packed) for position, _, packed in found)

    def log_after(self, position: int) -> list[Entry]:
        found = self._ask("XRANGE", "harness:log", _stream_id(position + 1), "+")
        return [_entry(name, fields[b"entry"]) for name, fields in found]

    def last_position(self) -> int:
        newest = self._ask("XREVRANGE", "harness:log", "+", "-", "COUNT", 1)
        return _position(newest[0][0]) if newest else 0

    def append(self, number: int, place: int, event: Event | None) -> None:
        entry: _Logged = (number, place, event)
        ended_s = "" if event else time.time()
        if not self._ask("EVAL", _APPEND, 0, number, place, _encode(entry), ended_s):
            raise PlaceTakenError

    def unfinished(self, owner: str, before_generation: int) -> list[StoredRun]:
        numbers = self._ask("ZRANGEBYSCORE", "harness:unfinished", "-inf", f"({before_generation}")
        rows = [self._stored(int(number)) for number in numbers]
        return [row for row in rows if row is not None and row.owner == owner]

    def has_older(self, generation: int) -> bool:
        return bool(self._ask("ZCOUNT", "harness:runs", "-inf", f"({generation}"))

    def expire(self, ended_before_s: float) -> None:
        self._ask("EVAL", _EXPIRE, 0, ended_before_s, max(0, int(ended_before_s * 1000)))

    def close(self) -> None:
        self._client.close()


def _name(kind: str, *parts: str) -> str:
    return f"harness:{kind}:{json.dumps(parts)}"


def _entry(stream_id: bytes, packed: bytes) -> Entry:
    return Entry(_position(stream_id), *_logged(packed))


def _position(stream_id: bytes) -> int:
    ms, seq = map(int, stream_id.split(b"-"))
    return ms << _SEQ_BITS | seq


def _stream_id(position: int) -> str:
    return f"{position >> _SEQ_BITS}-{position & ((1 << _SEQ_BITS) - 1)}"
