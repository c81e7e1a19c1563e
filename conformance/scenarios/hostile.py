"""A search for a request body that makes the server fail, by Hypothesis: what it finds, it makes small."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import wait
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from harness.contract.exchange import Exchange
from harness.contract.rules.input import survives
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext
from harness.transport.receiver import Cut

EXAMPLES = 80
_LOOK_S = 0.2
SEARCH_S = 8.0  # a slow target is asked less, not longer
_FIELDS = (
    "organizationId",
    "sessionId",
    "workflowAction",
    "fileThreadId",
    "previousOutputs",
    "userTimezone",
    "runId",
    "source",
    "unknownField",
)

#: A number as JSON text, of sizes that no parser expects.
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(1, 6000).map(lambda digits: "9" * digits),
    st.integers(-600, 600).map(lambda exponent: f"1e{exponent}"),
    st.sampled_from(("-0", "0.0", "1E+2", "NaN", "Infinity", "-Infinity", "01", "0x1F", "+1")),
)
#: A text, with every code point there is and some that stand alone: surrogates, NUL, non-characters.
_TEXTS = st.text(st.characters(codec=None), max_size=200).map(json.dumps)
_ODD_TEXTS = st.text(st.sampled_from("\ud800\udfff\x00\x1f\u2028\ufeff\uffffa"), min_size=1, max_size=4).map(
    json.dumps
)
_SCALARS = st.one_of(_NUMBERS, _TEXTS, _ODD_TEXTS, st.sampled_from(("true", "false", "null", "nul", "")))
_NESTED = st.builds(
    lambda depth, opening, inner: opening * depth + inner + {"[": "]", '{"a":': "}"}[opening] * depth,
    st.integers(1, 3000),
    st.sampled_from(("[", '{"a":')),
    _SCALARS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(st.tuples(_TEXTS, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
        ),
    ),
    max_leaves=8,
)


class _BodySearch:
    """Asks the target, example by example, and remembers what it answered."""

    def __init__(self, context: ScenarioContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop
        self._template = context.request("success")
        self._until = time.monotonic() + SEARCH_S
        self._answers: dict[str, Exchange] = {}
        self.last: tuple[str, Exchange] | None = None
        self.failed = False
        self._over = threading.Event()

    def stop(self) -> None:
        """Nobody waits for an outcome any more: the thread that searches is to end, whatever it waits for."""
        self._over.set()

    @property
    def tried(self) -> int:
        """How many bodies were sent."""
        return len(self._answers)

    def ask(self, field: str, value: str) -> None:
        """Send a body with `value`, as JSON text, in `field`. Raises AssertionError when that broke the server."""
        text = self._body(field, value)
        if text not in self._answers:
            if time.monotonic() > self._until or self._over.is_set():
                return
            answer = self._answer(text)
            if answer is None:
                return
            self._answers[text] = answer
        answer = self._answers[text]
        if not survives(answer):
            self.failed = True
            self.last = (
                f'"{field}": {value if len(value) < 200 else f"{value[:100]}… ({len(value)} characters)"}',
                answer,
            )
            raise AssertionError(field)
        if not self.failed:
            self.last = f"{self.tried} generated bodies", answer

    def _answer(self, text: str) -> Exchange | None:
        """The answer to a body; None when it is not waited for any more, as the loop that sends may have ended."""
        sending = asyncio.run_coroutine_threadsafe(self._send(text), self._loop)
        while not self._over.is_set():
            done, _ = wait([sending], _LOOK_S)
            if done:
                return sending.result()
        return None

    def _body(self, field: str, value: str) -> str:
        members = {name: json.dumps(one) for name, one in self._template.json().items()}
        members[field] = value
        return "{" + ", ".join(f"{json.dumps(name)}: {one}" for name, one in members.items()) + "}"

    async def _send(self, text: str) -> Exchange:
        request = HttpRequest(
            self._template.method,
            self._template.target,
            self._template.headers,
            text.encode("utf-8", "surrogatepass"),
        )
        # The first event is enough: whether the run ends is not asked here.
        return await self._context.send(
            request.with_header("Idempotency-Key", new_key()), "a generated body", cut=Cut(after_events=1)
        )


async def searched_bodies(context: ScenarioContext) -> dict[str, Exchange]:
    """The smallest generated body that made the server fail, else the last of those that did not."""
    context.forbid_when_read_only("hostile bodies")
    search = _BodySearch(context, asyncio.get_running_loop())

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,  # the same search every time: what was found once is found again
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(field=st.sampled_from(_FIELDS), value=st.one_of(_VALUES, _NESTED))
    def no_body_breaks_it(field: str, value: str) -> None:
        search.ask(field, value)

    def hunt() -> None:
        run: Any = no_body_breaks_it
        try:
            run()
        except (AssertionError, Flaky):
            return  # `search.last` is what was found

    try:
        await asyncio.to_thread(hunt)
    finally:
        search.stop()  # where this is called off, an interpreter that ends would wait for the thread for ever
    return dict([search.last]) if search.last is not None else {}
