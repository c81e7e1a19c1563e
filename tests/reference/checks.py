"""One short check per requirement: it passes on the conforming server and fails with each of its faults.

They are not a conformance suite: they know the embedded server's actions and accept one reading of the API.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from harness.profiles.workflow_actions.event_id import StreamId
from harness.protocol.sse import lines
from tests.reference.support import (
    PATH,
    TOKEN,
    Answer,
    Client,
    action,
    body,
    raw_answer,
    stalled_connection,
    until,
)

LONG = action("long", tokens=12, intervalMs=15)
TERMINAL = {"done", "error", "cancelled"}
HEARTBEAT_S = 0.05
ANSWERS_WITHIN_S = 1.2
KEPT_RUNS = 130  # of which a server must keep the keys

Check = Callable[[Client], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def check(requirement: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS[requirement] = function
        return function

    return register


async def post(client: Client, content: Any = None, **how: Any) -> Answer:
    """Like `client.post`; a response that does not end fails the check."""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            return await client.post(content, **how)
    except TimeoutError:
        raise AssertionError("the response does not end") from None


async def begun_run(
    client: Client, *, key: str, started: float, run_id: str | None = None
) -> asyncio.Task[Answer]:
    """A long run, `started` seconds after the server has begun it; on a busy machine it may have ended."""
    registry = client.server.api.registry
    before = registry.running
    more = {} if run_id is None else {"runId": run_id}
    task = asyncio.create_task(post(client, body(LONG, **more), key=key))
    await until(lambda: task.done() or registry.running - before)
    await asyncio.sleep(started)
    return task


async def long_run(
    client: Client, *, key: str, started: float = 0.04, run_id: str | None = None
) -> asyncio.Task[Answer]:
    """A run in flight, `started` seconds after the server has begun it."""
    task = await begun_run(client, key=key, started=started, run_id=run_id)
    assert not task.done()
    return task


def whole(answer: Answer) -> None:
    assert answer.types == ["token"] * 12 + ["done"], answer.types


#: Two keys whose SHA-256 starts with the same 32 bits.
SAME_SHA_256 = ("1048927", "1073368")
assert len({hashlib.sha256(key.encode()).digest()[:4] for key in SAME_SHA_256}) == 1


def fields(answer: Answer, name: str) -> list[str]:
    return [value for frame in answer.frames for key, value in frame.fields if key == name]


# framing


@check("framing.utf8")
async def utf8(client: Client) -> None:
    raw = (await post(client, body(action("echo", text="naïve ☕")))).raw
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(raw)
    assert "naïve" in text
    assert "\ufffd" not in text


@check("framing.fields")
async def known_fields(client: Client) -> None:
    answer = await post(client)
    assert {name for frame in answer.frames for name, _ in frame.fields} <= {
        "data",
        "id",
        "event",
        "retry",
        "",
    }


@check("framing.blank-line")
async def blank_line(client: Client) -> None:
    assert (await post(client)).raw.endswith(b"\n\n")


def refuse_constant(constant: str) -> None:
    raise AssertionError(constant)


@check("framing.one-json-object")
async def one_json_object(client: Client) -> None:
    for frame in (await post(client)).frames:
        try:
            assert isinstance(json.loads(frame.data or "", parse_constant=refuse_constant), dict)
        except json.JSONDecodeError as problem:
            raise AssertionError(frame) from problem


@check("framing.id-no-nul")
async def id_without_nul(client: Client) -> None:
    assert not [value for value in fields(await post(client), "id") if "\0" in value]


@check("framing.retry-digits")
async def retry_digits(client: Client) -> None:
    assert all(re.fullmatch("[0-9]+", value) for value in fields(await post(client), "retry"))


@check("framing.event-name")
async def event_name(client: Client) -> None:
    answer = await post(client)
    names = [frame.event for frame in answer.frames]
    assert all(name in {"", "message", kind} for name, kind in zip(names, answer.types, strict=True))


@check("framing.content-inert")
async def content_inert(client: Client) -> None:
    for text in ('a\n\ndata: {"type":"done"}\n\nb', 'a\rid: 1-1\r\rdata: {"type":"done"}\r\rb', "a\r\nb"):
        answer = await post(client, body(action("echo", text=text)))
        assert all(
            line.startswith((b"id: ", b"data: {")) for frame in answer.frames for line in lines(frame.raw)
        )
        assert answer.text == text


@check("framing.bom")
async def bom(client: Client) -> None:
    assert b"\xef\xbb\xbf" not in (await post(client)).raw[3:]


# headers


@check("headers.transfer-coding")
async def transfer_coding(client: Client) -> None:
    assert (await post(client)).headers["Transfer-Encoding"] == "chunked"


@check("headers.decodable")
async def decodable(client: Client) -> None:
    answer = await post(client)
    assert answer.complete
    assert answer.events


@check("headers.content-coding")
async def content_coding(client: Client) -> None:
    assert "Content-Encoding" not in (await post(client, Accept_Encoding="identity")).headers


@check("headers.event-stream")
async def event_stream(client: Client) -> None:
    answer = await post(client)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")


@check("headers.charset")
async def charset(client: Client) -> None:
    content_type = (await post(client)).headers["Content-Type"].lower()
    assert "charset" not in content_type or "charset=utf-8" in content_type


@check("headers.complete")
async def complete(client: Client) -> None:
    assert (await post(client)).complete


@check("headers.nothing-after")
async def nothing_after(client: Client) -> None:
    assert (await raw_answer(client.server, body())).endswith(b"\r\n0\r\n\r\n")


@check("headers.no-cache")
async def no_cache(client: Client) -> None:
    assert (await post(client)).headers["Cache-Control"] == "no-store"


@check("headers.incremental")
async def incremental(client: Client) -> None:
    assert len((await post(client, body(LONG), cut_after=1)).frames) < 6


@check("headers.flushed")
async def flushed(client: Client) -> None:
    assert len((await post(client, body(LONG), cut_after=1)).frames) < 6


@check("headers.method")
async def method(client: Client) -> None:
    answer = await post(client, method="PUT")
    assert (answer.status, answer.headers.get("Allow")) == (405, "POST")


# events


@check("events.schema")
async def schema(client: Client) -> None:
    for event in (await post(client)).events:
        if event.get("type") in {"token", "done"}:
            assert isinstance(event.get("content" if event["type"] == "token" else "runId"), str)


@check("events.type")
async def event_type(client: Client) -> None:
    assert all(isinstance(event.get("type"), str) for event in (await post(client)).events)


@check("events.error-detail")
async def error_detail(client: Client) -> None:
    event = (await post(client, body(action("fail")))).events[-1]
    assert event.get("code") or event.get("message")
    assert "Traceback" not in str(event)


@check("events.strict-json")
async def strict_json(client: Client) -> None:
    def pairs(found: list[tuple[str, Any]]) -> None:
        assert not [name for name, times in Counter(name for name, _ in found).items() if times > 1]

    for frame in (await post(client)).frames:
        json.loads(frame.data or "", object_pairs_hook=pairs)


# ids


def parsed(answer: Answer) -> list[StreamId]:
    return [StreamId.parse(event_id) for event_id in answer.ids if event_id]


@check("ids.present")
async def ids_present(client: Client) -> None:
    answer = await post(client)
    assert len(parsed(answer)) == len(answer.frames) > 10


@check("ids.increasing")
async def ids_increasing(client: Client) -> None:
    assert all(before <= after for before, after in pairwise(parsed(await post(client))))


@check("ids.unique")
async def ids_unique(client: Client) -> None:
    ids = parsed(await post(client))
    assert len(set(ids)) == len(ids)


@check("ids.clock")
async def ids_clock(client: Client) -> None:
    assert all(abs(event_id.ms - time.time() * 1000) < 60_000 for event_id in parsed(await post(client)))


# terminal


@check("terminal.exactly-one")
async def exactly_one(client: Client) -> None:
    assert sum(kind in TERMINAL for kind in (await post(client)).types) == 1


@check("terminal.last")
async def terminal_last(client: Client) -> None:
    answer = await post(client)
    assert not any(kind in TERMINAL for kind in answer.types[:-1])


@check("terminal.closes")
async def terminal_closes(client: Client) -> None:
    await post(client)


@check("terminal.always")
async def terminal_always(client: Client) -> None:
    assert TERMINAL & set((await post(client)).types)


@check("terminal.success")
async def terminal_success(client: Client) -> None:
    for key in ("new", "newer", None):
        assert (await post(client, key=key)).types[-1] == "done"


@check("terminal.failure")
async def terminal_failure(client: Client) -> None:
    assert (await post(client, body(action("fail")))).types == ["token", "error"]


@check("terminal.cancelled")
async def terminal_cancelled(client: Client) -> None:
    assert (await post(client, body(action("cancel")))).types == ["token", "cancelled"]


@check("terminal.no-tokens")
async def no_tokens(client: Client) -> None:
    assert (await post(client, body(action("silent")))).types == ["done"]


# resume


@check("resume.replay")
async def replay(client: Client) -> None:
    first, again = await post(client, key="replay"), await post(client, key="replay")
    assert again.sequence == first.sequence


@check("resume.joins")
async def joins(client: Client) -> None:
    first = await long_run(client, key="joins")
    assert (await post(client, body(LONG), key="joins")).sequence == (await first).sequence


@check("resume.no-new-run")
async def no_new_run(client: Client) -> None:
    first, again = await post(client, key="new"), await post(client, key="new")
    assert again.events[-1]["runId"] == first.events[-1]["runId"]


@check("resume.every-cut")
async def every_cut(client: Client) -> None:
    async def cut(after: int) -> None:
        key = f"cut-{after}"
        before = await post(client, body(LONG), key=key, cut_after=after)
        rest = await post(client, body(LONG), key=key, Last_Event_ID=before.ids[-1] or "")
        joined = dict.fromkeys(before.sequence + rest.sequence)
        assert list(joined) == (await post(client, body(LONG), key=key)).sequence
        assert len(before.sequence + rest.sequence) == 13 or rest.ids[0] == before.ids[0]

    async def resume_twice(after: int) -> None:
        key = f"twice-{after}"
        before = await post(client, body(LONG), key=key, cut_after=after)
        last_id = before.ids[-1] or ""
        await post(client, body(LONG), key=key, Last_Event_ID=last_id, cut_after=1)
        rest = await post(client, body(LONG), key=key, Last_Event_ID=last_id)
        assert len(before.sequence + rest.sequence) == 13 or rest.ids[0] == before.ids[0]

    await asyncio.gather(*(cut(after) for after in (1, 3, 5, 7, 9, 11)))
    await asyncio.gather(*(resume_twice(after) for after in (1, 2, 3, 4, 5, 6)))
    whole = (await post(client, body(LONG), key="cut-1")).sequence
    for seen in range(1, 13):
        rest = await post(client, body(LONG), key="cut-1", Last_Event_ID=whole[seen - 1][0] or "")
        assert rest.sequence in (whole, whole[seen:])


@check("resume.after-terminal")
async def after_terminal(client: Client) -> None:
    first = await post(client, key="over")
    assert (await post(client, key="over", Last_Event_ID=first.ids[-1] or "")).frames == []
    first = await post(client, body(action("cancel")), key="ended")
    assert (
        await post(client, body(action("cancel")), key="ended", Last_Event_ID=first.ids[-1] or "")
    ).frames == []


@check("resume.id-order")
async def id_order(client: Client) -> None:
    first = await post(client, key="order")
    for old in ("2-0", "10-0"):
        assert (await post(client, key="order", Last_Event_ID=old)).sequence == first.sequence
    for place, event_id in enumerate(first.ids[:-1], 1):
        rest = await post(client, key="order", Last_Event_ID=event_id or "")
        assert rest.sequence in (first.sequence, first.sequence[place:])


@check("resume.retention")
async def retention(client: Client) -> None:
    first = await post(client, key="kept")
    for _ in range(KEPT_RUNS):
        await post(client, body(action("silent")))
    assert (await post(client, key="kept")).sequence == first.sequence


@check("resume.survives-disconnect")
async def survives_disconnect(client: Client) -> None:
    await post(client, body(LONG), key="drop", cut_after=2)
    async with stalled_connection(client.server, body(LONG), key="early"):
        pass  # disconnects before it has read anything
    await asyncio.sleep(0.06)
    for key in ("drop", "early"):
        whole(await post(client, body(LONG), key=key))


@check("resume.last-event-id")
async def last_event_id(client: Client) -> None:
    first = await post(client, key="last")
    for seen in (1, 5):
        rest = await post(client, key="last", Last_Event_ID=first.ids[seen - 1] or "")
        assert rest.sequence == first.sequence[seen:]


@check("resume.bad-last-event-id")
async def bad_last_event_id(client: Client) -> None:
    for key, last in (("a", "x"), ("b", "1-0"), ("b", "9999999999999-0"), ("b", "1-0")):
        answer = await post(client, key=f"bad-{key}", Last_Event_ID=last)
        assert answer.status == 400 or answer.types[-1:] == ["done"]


@check("resume.failure-replayed")
async def failure_replayed(client: Client) -> None:
    first = await post(client, body(action("fail")), key="failure")
    assert (await post(client, body(action("fail")), key="failure")).sequence == first.sequence


@check("resume.terminal-race")
async def terminal_race(client: Client) -> None:
    first = await begun_run(client, key="race-end", started=0.15)
    while True:
        assert (await post(client, body(LONG), key="race-end")).types[-1] == "done"
        if first.done():
            break
    whole(await first)


@check("resume.first-reader-kept")
async def first_reader_kept(client: Client) -> None:
    first = await long_run(client, key="first")
    await post(client, body(LONG), key="first")
    whole(await first)


# keys


@check("key.none-independent")
async def none_independent(client: Client) -> None:
    first, second = await post(client), await post(client)
    assert first.events[-1]["runId"] != second.events[-1]["runId"]


#: Keys that differ from each other in one respect only.
SIMILAR_KEYS = (
    ("Case-1", "case-1", "CASE-1"),
    ("0123456789-a", "0123456789-b"),
    ("0123456789012345678901234567890123-a", "0123456789012345678901234567890123-b"),
    (f"{'k' * 70}a", f"{'k' * 70}b"),
    ("a b", "a  b", "ab"),
    ('"c"', '"c "', '" c"'),
    ("A/d", "%41/d", "A%2Fd"),
    ("9007199254740993", "09007199254740993", "9007199254740993.0"),
    ("e.f", "e-f", "e_f"),
    ("g", "g,1", "g:1", "g;1"),
    ("\u00e9t\u00e9", "e\u0301te\u0301", "ete"),
    ("\u00df", "ss"),
    ("h-tNXiGIdL", "h-Y9ehY8mR"),
    ("0b7f3c1e-52a4-4d7e-9c1b-7a4f0e2d9b66", "0b7f3c1e52a44d7e9c1b7a4f0e2d9b66"),
    ("dotted-key", "dotted-key."),
    SAME_SHA_256,
)


@check("key.distinct")
async def distinct_keys(client: Client) -> None:
    run_ids = [
        answer.events[-1]["runId"]
        for keys in SIMILAR_KEYS
        for answer in [await post(client, key=key) for key in keys]
        if answer.status != 400
    ]
    for number, key in enumerate(("Case-2", "case-2")):
        answer = await post(client, body(sessionId=f"s-{number}"), key=key)
        assert answer.status == 200
        run_ids.append(answer.events[-1]["runId"])
    assert len(run_ids) > 30
    assert len(set(run_ids)) == len(run_ids)


@check("key.quotes")
async def quotes(client: Client) -> None:
    first, second = await post(client, key='"quoted"'), await post(client, key="quoted")
    assert first.events[-1]["runId"] != second.events[-1]["runId"]


@check("key.opaque")
async def opaque(client: Client) -> None:
    for key in (str(uuid.uuid4()), '"quoted"', "plain"):
        first = await post(client, key=key)
        assert first.status == 200
        assert (await post(client, key=key)).status == 200


@check("key.bad")
async def bad_key(client: Client) -> None:
    assert (await post(client, key="")).status == 400


@check("key.inert")
async def inert(client: Client) -> None:
    answer = await post(client, key="<script>x</script>")
    assert "<script>" not in f"{answer.headers}{answer.raw!r}"


# conflict


@check("conflict.rejected")
async def conflict_rejected(client: Client) -> None:
    await post(client, key="rejected")
    assert (await post(client, body(sessionId="other"), key="rejected")).status == 409


@check("conflict.error-event")
async def conflict_event(client: Client) -> None:
    await post(client, key="event")
    answer = await post(client, body(sessionId="other"), key="event")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.types == ["error"]


@check("conflict.any-field")
async def any_field(client: Client) -> None:
    await post(client, body(previousOutputs=[{"a": 1}], source="api"), key="any")
    for change in ({"previousOutputs": [{"a": 2}]}, {"source": "other"}, {"sessionId": "t"}):
        content = {**body(previousOutputs=[{"a": 1}], source="api"), **change}
        assert (await post(client, content, key="any")).status != 200


@check("conflict.in-flight")
async def conflict_in_flight(client: Client) -> None:
    first = await long_run(client, key="flying")
    answer = await post(client, body(LONG, sessionId="other"), key="flying")
    assert answer.types == ["error"]
    await first


@check("conflict.after-completion")
async def conflict_afterwards(client: Client) -> None:
    await post(client, key="landed")
    assert (await post(client, body(sessionId="other"), key="landed")).types == ["error"]


@check("conflict.starts-nothing")
async def conflict_starts_nothing(client: Client) -> None:
    await post(client, key="nothing")
    for _ in range(2):
        answer = await post(client, body(sessionId="other", runId="rejected"), key="nothing")
        assert answer.types == ["error"]


@check("conflict.original-untouched")
async def original_untouched(client: Client) -> None:
    first = await long_run(client, key="original")
    await post(client, body(LONG, sessionId="other"), key="original")
    whole(await first)
    assert (await post(client, body(LONG), key="original")).sequence == (await first).sequence


@check("conflict.leaks-nothing")
async def conflict_leaks_nothing(client: Client) -> None:
    await post(client, body(sessionId="confidential"), key="leak")
    assert b"confidential" not in (await post(client, key="leak")).raw


# run ids


@check("run-id.echoed")
async def run_id_echoed(client: Client) -> None:
    for key in ("echoed", None):
        assert (await post(client, body(runId="mine"), key=key)).events[-1]["runId"] == "mine"


@check("run-id.constant")
async def run_id_constant(client: Client) -> None:
    first, again = await post(client, key="constant"), await post(client, key="constant")
    assert first.events[-1]["runId"] == again.events[-1]["runId"]


@check("run-id.key-wins")
async def key_wins(client: Client) -> None:
    first = await post(client, body(runId="shared"), key="wins-1")
    second = await post(client, body(runId="shared", source="api"), key="wins-2")
    assert second.status == 200
    assert second.raw != first.raw
    assert (await post(client, body(runId="unheard of"), key="wins-1")).types == ["error"]


@check("run-id.resumes")
async def run_id_resumes(client: Client) -> None:
    first = await post(client, body(runId="resumes"))
    assert (await post(client, body(runId="resumes"))).sequence == first.sequence


# auth


@check("auth.missing")
async def auth_missing(client: Client) -> None:
    assert (await post(client, token=None)).status == 401


@check("auth.bad")
async def auth_bad(client: Client) -> None:
    assert (await post(client, token="garbage")).status == 401


@check("auth.challenge")
async def challenge(client: Client) -> None:
    for token in (None, "garbage"):
        answer = await post(client, token=token)
        assert answer.status != 401 or answer.headers.get("WWW-Authenticate", "").startswith("Bearer")


@check("auth.before-key")
async def auth_before_key(client: Client) -> None:
    await post(client, key="known")
    for token in (None, "garbage"):
        known, unknown = [await post(client, token=token, key=key) for key in ("known", "unknown")]
        assert known.status != 401 or known.raw == unknown.raw


@check("auth.org-mismatch")
async def org_mismatch(client: Client) -> None:
    assert (await post(client, body(organizationId="org-2"), key="foreign")).status == 403


@check("auth.org-before-conflict")
async def org_before_conflict(client: Client) -> None:
    await post(client, key="before-conflict")
    assert (await post(client, body(organizationId="org-2"), key="before-conflict")).status != 409


@check("auth.key-scope")
async def key_scope(client: Client) -> None:
    mine = await post(client, key="scope")
    theirs = await post(client, body(organizationId="org-2"), key="scope", token="demo-token-2")
    assert theirs.status == 200
    assert theirs.events[-1]["runId"] != mine.events[-1]["runId"]


@check("auth.query-token")
async def query_token(client: Client) -> None:
    for name in ("access_token", "token"):
        assert (await post(client, token=None, path=f"{PATH}?{name}={TOKEN}")).status == 401


# input


@check("input.not-json")
async def not_json(client: Client) -> None:
    for content in (b"{", b"[]", b" "):
        assert 400 <= (await post(client, content)).status < 500


@check("input.required")
async def required(client: Client) -> None:
    for name in ("organizationId", "sessionId", "workflowAction"):
        assert (await post(client, body(**{name: ...}))).status == 422


@check("input.required-named")
async def required_named(client: Client) -> None:
    assert b"workflowAction" in (await post(client, body(workflowAction=...))).raw


@check("input.types")
async def types(client: Client) -> None:
    for wrong in ({"sessionId": 5}, {"workflowAction": "echo"}, {"runId": True}, {"fileThreadId": 1}):
        assert (await post(client, body(**wrong))).status == 422


@check("input.source")
async def source(client: Client) -> None:
    assert (await post(client, body(source="robot"))).status == 422


@check("input.timezone")
async def timezone(client: Client) -> None:
    assert (await post(client, body(userTimezone="Mars/Olympus"))).status == 422


@check("input.hostile")
async def hostile(client: Client) -> None:
    for content in (b"[" * 50_000, b'{"a":' * 50_000, rb'{"a":"\ud800"}', b'{"a":1e400}', rb'{"a":"\u0000"}'):
        assert (await post(client, content)).status < 500


@check("input.media-type")
async def media_type(client: Client) -> None:
    assert (await post(client, Content_Type="text/plain")).status == 415


@check("input.too-large")
async def too_large(client: Client) -> None:
    limit = 1024 * 1024
    assert (await post(client, body(action("echo", text="x"), padding="x" * limit))).status == 413


@check("input.error-shape")
async def error_shape(client: Client) -> None:
    refused = [
        await post(client, b"{"),
        await post(client, token="garbage"),
        await post(client, method="PUT"),
    ]
    shapes = {answer.headers["Content-Type"] for answer in refused if answer.status >= 400}
    assert shapes == {"application/problem+json"}


# race


@check("race.same-body")
async def race_same_body(client: Client) -> None:
    answers = await asyncio.gather(*(post(client, key="same") for _ in range(8)))
    assert len({answer.events[-1].get("runId") for answer in answers if answer.types[-1] == "done"}) == 1


@check("race.different-bodies")
async def race_different_bodies(client: Client) -> None:
    race = (post(client, body(LONG, sessionId=f"s{number}"), key="different") for number in range(8))
    assert sum(answer.types != ["error"] for answer in await asyncio.gather(*race)) == 1


@check("race.no-crosstalk")
async def no_crosstalk(client: Client) -> None:
    texts = [" ".join([f"text-{number}"] * 40) for number in range(8)]
    answers = await asyncio.gather(*(post(client, body(action("echo", text=text))) for text in texts))
    assert [answer.text for answer in answers] == texts


@check("race.close-one")
async def close_one(client: Client) -> None:
    first = await long_run(client, key="close")
    second = asyncio.create_task(post(client, body(LONG), key="close"))
    await asyncio.sleep(0.01)
    await post(client, body(LONG), key="close", cut_after=5)
    whole(await first)
    whole(await second)


@check("race.slow-reader")
async def slow_reader(client: Client) -> None:
    async with stalled_connection(client.server, body(LONG), key="slow"):
        await asyncio.sleep(0.1)
        whole(await post(client, body(LONG), key="slow"))


# liveness


@check("liveness.first-event")
async def first_event(client: Client) -> None:
    await post(client, cut_after=1)


@check("liveness.heartbeat")
async def heartbeat(client: Client) -> None:
    answer = await post(client, body(action("quiet", pauseMs=200)))
    assert answer.raw.count(b": heartbeat") >= 2 or b'"heartbeat"' in answer.raw


@check("liveness.heartbeat-inert")
async def heartbeat_inert(client: Client) -> None:
    answer = await post(client, body(action("quiet", pauseMs=200)))
    assert answer.types == ["token", "token", "done"]
    assert answer.raw.count(b"id: ") <= 3


# security


@check("security.no-secrets")
async def no_secrets(client: Client) -> None:
    answers = [await post(client, b"{"), await post(client), await post(client, body(source="robot"))]
    assert not [answer for answer in answers if TOKEN in f"{answer.headers}{answer.raw!r}"]


@check("security.cors")
async def cors(client: Client) -> None:
    for answer in (await post(client, Origin="https://evil.example"), await post(client, b"{")):
        assert answer.headers.get("Access-Control-Allow-Origin") != "*"


@check("security.nosniff")
async def nosniff(client: Client) -> None:
    for answer in (await post(client), await post(client, b"{")):
        assert answer.headers.get("X-Content-Type-Options") == "nosniff"


# workflow


def step_outputs(*texts: str) -> list[dict[str, str]]:
    return [{"output": text} for text in texts]


async def recalled(client: Client, *texts: str) -> str:
    given = {"previousOutputs": step_outputs(*texts)} if texts else {}
    return (await post(client, body(action("recall"), **given))).text


@check("workflow.no-crosstalk")
async def sessions_apart(client: Client) -> None:
    texts = [f"only {number}" for number in range(3)]
    assert await asyncio.gather(*(recalled(client, text) for text in texts)) == texts


@check("workflow.new-session")
async def new_session(client: Client) -> None:
    await recalled(client, "an earlier one")
    assert await recalled(client) == ""


@check("workflow.outputs-passed")
async def outputs_passed(client: Client) -> None:
    assert await recalled(client, "passed")


@check("workflow.all-outputs")
async def all_outputs(client: Client) -> None:
    assert await recalled(client, "first", "second") == "first\nsecond"


@check("workflow.outputs-whole")
async def outputs_whole(client: Client) -> None:
    text = "naïve " * 2000
    assert await recalled(client, text) == text
