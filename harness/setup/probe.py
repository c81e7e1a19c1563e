"""Sends a few requests to a target, to check the settings and detect its optional behaviour.

Retries and conflicts reuse the key of an existing run, so a conforming server executes nothing more for them.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.cuts import CutRun, Start, may_have_ended, stitch
from harness.contract.rules.headers import event_stream
from harness.contract.rules.liveness import longest_pause_s, pauses
from harness.contract.rules.rule import quoted
from harness.contract.rules.sequences import first_difference
from harness.errors import HarnessError
from harness.formatting import counted
from harness.protocol.request import HttpRequest
from harness.suite.scenario import retry_after_s
from harness.transport.asyncio_client import AsyncClient
from harness.transport.receiver import Cut

_TOO_MANY_REQUESTS = 429
NO_ENDPOINT_STATUSES = frozenset({404, 405, 410})
"""Statuses of a path that does not accept POST."""
_CUT_AFTER_EVENTS = 2
_MIN_LONG_MS = 1000.0  # streaming time required of the long action
_QUOTED_CHARS = 200


class ProbeTimeError(HarnessError):
    """The time for all requests of a probe is over."""


class RequestTime:
    """How long all requests of a command together may take. within_s: seconds; what a user takes to answer is not
    counted.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = self._left_s = within_s

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """Stop the block when no time is left. Raises ProbeTimeError then."""
        began_s = time.monotonic()
        over = asyncio.timeout(self._left_s)
        try:
            async with over:
                yield
        except TimeoutError:
            if not over.expired():
                raise
            raise ProbeTimeError(f"all requests together took longer than {self._within_s:g} s") from None
        finally:
            self._left_s -= time.monotonic() - began_s


class Probe:
    """Sends single requests to the configured target.

    limit: of the time of all of them; None for no other than the budgets.
    """

    def __init__(
        self, settings: Settings, budgets: Budgets | None = None, limit: RequestTime | None = None
    ) -> None:
        self.target = Target(settings)
        self.budgets = budgets or settings.expectations.budgets
        self._limit = limit

    async def send(
        self, request: HttpRequest, label: str, cut: Cut | None = None, budgets: Budgets | None = None
    ) -> Exchange:
        """The response; after a 429, that of one retry, sent when Retry-After has passed.

        Raises ProbeTimeError.
        """
        target = self.target
        client = AsyncClient(target.endpoint, budgets or self.budgets, target.memory, target.profile)
        async with self._limit.bound() if self._limit is not None else nullcontext():
            answer = await client.exchange(request, label, cut=cut)
            if answer.status == _TOO_MANY_REQUESTS:
                await asyncio.sleep(retry_after_s(answer))
                answer = await client.exchange(request, f"{label} (again, after a 429)", cut=cut)
        return answer

    async def anonymous_request(self) -> Exchange:
        """A request without token and action, so no server starts a run for it."""
        headers = (
            ("Content-Type", "application/json"),
            ("Accept", "text/event-stream"),
            ("Accept-Encoding", "identity"),
        )
        body = {
            "organizationId": self.target.principal.organization_id,
            "sessionId": str(uuid.uuid4()),
            "workflowAction": {},
        }
        request = HttpRequest.post_json(self.target.settings.path, headers, body)
        # Its status is looked at, and a message in a short body: a stream is not read to its end.
        patience_s = self.budgets.first_event_s
        budgets = replace(self.budgets, first_event_s=patience_s / 2, run_s=patience_s)
        return await self.send(request, "no token", budgets=budgets)

    async def run(self, action: str) -> Exchange:
        """A new run of a configured action."""
        return await self.send(self.target.run(action), action)


def status_and_message(answer: Exchange) -> str:
    """The response's status line, and the error message in its body if any, to be put into a sentence."""
    if answer.head is None:
        return answer.describe()
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        message = next(
            (document[name] for name in ("detail", "message", "error", "title") if document.get(name)), text
        )
        text = message if isinstance(message, str) else json.dumps(message)
    status = f"{answer.status} {answer.head.reason}".strip()
    return f"{status}: {quoted(text, _QUOTED_CHARS)}" if text and not answer.events else status


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a valid request started no run: the setting that is probably wrong, and a sentence (without full stop)."""

    setting: Literal["connection", "path", "token", "organization", "action", "server"]
    sentence: str


def refusal(answer: Exchange) -> Refusal | None:
    """Why the target refused to start a run; None for a 200, even if its stream is wrong."""
    answered = status_and_message(answer)
    if answer.head is None:
        return Refusal("connection", f"no HTTP response: {answer.ending_detail or answer.ending}")
    match answer.status:
        case 401:
            return Refusal("token", f"token refused with {answered}")
        case 403:
            return Refusal("organization", f"token refused for this organization with {answered}")
        case status if status in NO_ENDPOINT_STATUSES:
            return Refusal("path", f"no such endpoint: POST got {answered}")
        case 400 | 413 | 415 | 422:
            return Refusal("action", f"request body refused with {answered}")
        case status if status == 200:
            return None
    return Refusal("server", f"the server answered {answered}")


def stream_problem(run: Exchange) -> str | None:
    """Why a 200 is not a valid run stream, as one clause; None if it is one."""
    form = event_stream(run)
    if form.verdict is Verdict.FAIL:
        return form.detail
    if run.ending is not Ending.COMPLETE:
        return f"the stream did not end properly: {run.describe()}"
    if not run.summary.run_events:
        return f"the stream has no event of the documented form: {run.describe()}"
    if run.outcome is None:
        return f"the stream has no terminal event (done, error or cancelled): {run.describe()}"
    return None


def streamed_ms(run: Exchange) -> float:
    """Time from the first to the last event, in milliseconds."""
    return (run.events[-1].arrival_ns - run.events[0].arrival_ns) / 1e6 if run.events else 0.0


def is_long(run: Exchange) -> bool:
    """Whether it streamed long enough to be cut and joined."""
    return len(run.events) > _CUT_AFTER_EVENTS and streamed_ms(run) >= _MIN_LONG_MS


_OUTCOMES = {"failure": "error", "cancelled": "cancelled"}


def unsuitable(action: str, run: Exchange, heartbeat_s: float) -> str | None:
    """Why `run` is not what the suite needs of the action of that name, and what to do; None if it is.

    The reason is empty if the outcome of the run says it. heartbeat_s: the heartbeat budget.
    """
    if run.outcome != _OUTCOMES.get(action, "done"):
        return ""
    if action == "long" and not is_long(run):
        return f"streamed for {streamed_ms(run):.0f} ms"
    if action == "silent" and run.tokens:
        return f"{counted(len(run.tokens), 'token')}, but it must have none"
    if action == "quiet" and not pauses(run, heartbeat_s):
        return (
            f"its longest pause was {longest_pause_s(run):.1f} s, too short for budgets.heartbeat ({heartbeat_s:g} s): "
            "use an action that pauses longer, or set a shorter budget"
        )
    return None


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation of optional server behaviour: the setting under [target], its value, and the reason.

    value: None if undecided. declares: whether the value is written to the settings, so that the suite checks the
    server against it; missing features are left to the suite to report.
    """

    setting: Literal["retry", "conflict", "last_event_id", "resume_start"]
    value: str | bool | None
    reason: str
    declares: bool = True


async def observe(probe: Probe, first: Exchange, long_action: str | None) -> list[Observation]:
    """Try a retry, a conflict, Last-Event-ID and, with a `long_action`, a cut and resume, once each.

    first: a finished run.
    """
    retry = await probe.send(first.request, "retry")
    difference = first_difference(first.sequence, retry.sequence)
    conflict = await _conflict(probe, first)
    if difference is not None:
        what = retry.describe() if not retry.started_run else difference
        reason = f"a retry with the same key did not return the same run: {what}"
        return [Observation("retry", False, reason, False), conflict]
    reason = f"a retry with the same key returned the same {counted(len(retry.events), 'event')}"
    observations = [Observation("retry", True, reason), conflict, await _last_event_id(probe, first)]
    if long_action is not None:
        observations.append(await _resume_start(probe, long_action))
    return observations


async def _conflict(probe: Probe, first: Exchange) -> Observation:
    answer = await probe.send(probe.target.conflicting(first.request), "conflict")
    form = rejection_form(answer, first)
    if form is None:
        reason = f"the same key with a different body got {answer.describe()}, not a 409"
        return Observation("conflict", None, reason, False)
    value = "http-409" if answer.status == 409 else "event"
    return Observation("conflict", value, f"the same key with a different body got {form}")


async def _last_event_id(probe: Probe, first: Exchange) -> Observation:
    last_id = next((event.frame.id for event in first.events[:-1] if event.frame.id), None)
    if last_id is None:
        return Observation("last_event_id", None, "no event has an id to send", False)
    resumed = await probe.send(first.request.with_header("Last-Event-ID", last_id), "Last-Event-ID")
    at = [event.frame.id for event in first.events].index(last_id) + 1
    if resumed.sequence == first.sequence[at:]:
        return Observation(
            "last_event_id",
            True,
            f"Last-Event-ID {last_id} returned the {counted(len(resumed.events), 'event')} after it",
        )
    if resumed.sequence == first.sequence:
        return Observation(
            "last_event_id", False, "Last-Event-ID was ignored: the run started from its first event", False
        )
    return Observation("last_event_id", None, f"Last-Event-ID {last_id} got {resumed.describe()}", False)


async def _resume_start(probe: Probe, action: str) -> Observation:
    request = probe.target.run(action)
    before = await probe.send(request, "cut", Cut(_CUT_AFTER_EVENTS))
    if not before.started_run or before.over:
        return Observation("resume_start", None, f"could not cut a run: {before.describe()}", False)
    resumed = await probe.send(request, "resumed")
    canonical = await probe.send(request, "after its end")
    cut = CutRun(before, resumed, canonical)
    start, judgement = stitch(cut, Expectations(probe.budgets))
    if judgement.verdict is not Verdict.PASS or may_have_ended(cut):
        passed = judgement.verdict is Verdict.PASS
        reason = "the run ended before it could be resumed" if passed else judgement.detail
        return Observation("resume_start", None, reason, False)
    value = "tail" if start is Start.TAIL else "replay"
    return Observation(
        "resume_start",
        value,
        f"a run cut after {counted(len(before.events), 'event')} was resumed by {start}",
    )
