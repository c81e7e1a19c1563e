"""The few bounded requests by which a target is got to know: what it does with them, and what that means.

Every run that is asked for is asked for once. What retries and conflicts bring is tried on the key of a run that is
there already, so a server that keeps the contract executes nothing more for it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from harness.config.settings import Settings
from harness.config.target import Target, with_different_body
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.headers import event_stream
from harness.contract.rules.resume import CutRun, Start, first_difference, may_have_ended, stitch
from harness.contract.rules.rule import quoted
from harness.protocol.request import HttpRequest
from harness.suite.scenario import retry_after_s
from harness.transport.asyncio_client import AsyncClient
from harness.transport.receiver import Cut

_TOO_MANY_REQUESTS = 429
NO_ENDPOINT = frozenset({404, 405, 410})
"""Statuses by which a server says that nothing is to be posted to this path."""
_CUT_AFTER_EVENTS = 2
_LONG_ENOUGH_MS = 1000.0  # what the long action promises to stream for
_SAID_CHARS = 200

T = TypeVar("T")


def probing(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine that `job` makes, on an event loop of its own."""
    return asyncio.run(job())


class Probe:
    """Sends requests to the target that settings name, and keeps nothing."""

    def __init__(self, settings: Settings, budgets: Budgets | None = None) -> None:
        self.target = Target(settings)
        self.budgets = budgets or settings.expectations.budgets
        self._client = AsyncClient(self.target.endpoint, self.budgets)

    async def send(self, request: HttpRequest, label: str, cut: Cut | None = None) -> Exchange:
        """Its answer; that of a second try where the first was a 429, after the time that this asks for."""
        answer = await self._client.exchange(request, label, cut=cut)
        if answer.status == _TOO_MANY_REQUESTS:
            await asyncio.sleep(retry_after_s(answer))
            answer = await self._client.exchange(request, f"{label} (again, after a 429)", cut=cut)
        return answer

    async def anonymous_request(self) -> Exchange:
        """A request without a token and without an action, by which no server can be moved to run anything."""
        headers = (("Content-Type", "application/json"), ("Accept", "text/event-stream"))
        body = {
            "organizationId": self.target.principal.organization_id,
            "sessionId": str(uuid.uuid4()),
            "workflowAction": {},
        }
        return await self.send(HttpRequest.post_json(self.target.settings.path, headers, body), "no token")

    async def run(self, action: str) -> Exchange:
        """A new run of a configured action."""
        return await self.send(self.target.run(action), action)


def said(answer: Exchange) -> str:
    """The answer's status, and what its body says in the server's own words, for a sentence."""
    if answer.head is None:
        return answer.describe()
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        told = next(
            (document[name] for name in ("detail", "message", "error", "title") if document.get(name)), text
        )
        text = told if isinstance(told, str) else json.dumps(told)
    words = f"{answer.status} {answer.head.reason}".strip()
    return f"{words}: {quoted(text, _SAID_CHARS)}" if text and not answer.events else words


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a valid request got no run: which setting is likely to be wrong, and a sentence without its end."""

    setting: Literal["connection", "path", "token", "organization", "action", "server"]
    sentence: str


def refusal(answer: Exchange) -> Refusal | None:
    """What an answer to a run's request says against the settings; None when it is a stream, right or wrong."""
    words = said(answer)
    if answer.head is None:
        return Refusal("connection", f"it cannot be spoken with: {answer.ending_detail or answer.ending}")
    match answer.status:
        case 401:
            return Refusal("token", f"it refused the token with {words}")
        case 403:
            return Refusal("organization", f"it refused the token for this organization with {words}")
        case status if status in NO_ENDPOINT:
            return Refusal("path", f"it has no such endpoint: POST got {words}")
        case 400 | 413 | 415 | 422:
            return Refusal("action", f"it refused the request's body with {words}")
        case status if status == 200:
            return None
    return Refusal("server", f"it answered with {words}")


def stream_problem(run: Exchange) -> str | None:
    """Why a 200 is no run's stream, as one clause; None when it is one."""
    form = event_stream(run)
    if form.verdict is Verdict.FAIL:
        return form.detail
    if run.ending is not Ending.COMPLETE:
        return f"the stream did not end as it should: {run.describe()}"
    if not run.summary.run_events:
        return f"it holds no event of the documented form: {run.describe()}"
    if run.outcome is None:
        return f"it has no terminal event (done, error or cancelled): {run.describe()}"
    return None


def streamed_ms(run: Exchange) -> float:
    """For how long its events came, in milliseconds."""
    return (run.events[-1].arrival_ns - run.events[0].arrival_ns) / 1e6 if run.events else 0.0


def is_long(run: Exchange) -> bool:
    """Whether it streamed for long enough to be cut and joined."""
    return len(run.events) > _CUT_AFTER_EVENTS and streamed_ms(run) >= _LONG_ENOUGH_MS


@dataclass(frozen=True, slots=True)
class Observed:
    """A choice of the server's as it was seen, once: a setting under [target], its value, and the reason.

    value: None where what was seen decides nothing. declares: whether the server can be held to the value; a
    lack is left for the suite to say.
    """

    setting: Literal["retry", "conflict", "last_event_id", "resume_start"]
    value: str | bool | None
    reason: str
    declares: bool = True


async def observe(probe: Probe, first: Exchange, long_action: str | None) -> list[Observed]:
    """What the server does with a retry, a conflict, Last-Event-ID and, given an action that streams for long enough,
    a cut: each tried once. first: a run that came to its end.
    """
    retry = await probe.send(first.request, "retry")
    difference = first_difference(first.sequence, retry.sequence)
    found = [await _conflict(probe, first)]
    if difference is not None:
        what = retry.describe() if not retry.started_run else difference
        return [
            Observed("retry", False, f"a retry with the same key did not bring the run back: {what}", False),
            *found,
        ]
    found.insert(
        0, Observed("retry", True, f"a retry with the same key brought the same {len(retry.events)} events")
    )
    found.append(await _last_event_id(probe, first))
    if long_action is not None:
        found.append(await _resume_start(probe, long_action))
    return found


async def _conflict(probe: Probe, first: Exchange) -> Observed:
    answer = await probe.send(with_different_body(first.request), "conflict")
    form = rejection_form(answer)
    if form is None:
        reason = f"the same key with another body got {answer.describe()}, not a 409"
        return Observed("conflict", None, reason, False)
    value = "http-409" if answer.status == 409 else "event"
    return Observed("conflict", value, f"the same key with another body got {form}")


async def _last_event_id(probe: Probe, first: Exchange) -> Observed:
    named = next((one.frame.id for one in first.events[:-1] if one.frame.id), None)
    if named is None:
        return Observed("last_event_id", None, "no event has an id that a client could name", False)
    resumed = await probe.send(first.request.with_header("Last-Event-ID", named), "Last-Event-ID")
    at = [one.frame.id for one in first.events].index(named) + 1
    if resumed.sequence == first.sequence[at:]:
        return Observed(
            "last_event_id",
            True,
            f"after Last-Event-ID {named} came the {len(resumed.events)} events that follow",
        )
    if resumed.sequence == first.sequence:
        return Observed(
            "last_event_id", False, "Last-Event-ID was ignored: the run came from its first event", False
        )
    return Observed("last_event_id", None, f"Last-Event-ID {named} got {resumed.describe()}", False)


async def _resume_start(probe: Probe, action: str) -> Observed:
    request = probe.target.run(action)
    before = await probe.send(request, "cut", Cut(_CUT_AFTER_EVENTS))
    if not before.started_run or before.terminals:
        return Observed("resume_start", None, f"a run could not be cut: {before.describe()}", False)
    resumed = await probe.send(request, "resumed")
    canonical = await probe.send(request, "after its end")
    cut = CutRun(before, resumed, canonical)
    start, judgement = stitch(cut, Expectations(probe.budgets))
    if judgement.verdict is not Verdict.PASS or may_have_ended(cut):
        held = judgement.verdict is Verdict.PASS
        why = "the run was over before it could be resumed" if held else judgement.detail
        return Observed("resume_start", None, why, False)
    value = "tail" if start is Start.TAIL else "replay"
    return Observed(
        "resume_start", value, f"a run cut after {len(before.events)} events was resumed by {start}"
    )
