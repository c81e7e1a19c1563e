"""Searches with Hypothesis for a request body that breaks the server, and shrinks what it finds."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from harness.contract.exchange import Exchange
from harness.contract.rules.input import survives
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext, Undecided
from harness.transport.receiver import Cut

if not Path(".hypothesis").exists():  # Hypothesis would create it in the user's folder
    _CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(_CACHE / "agent-run-harness" / "hypothesis"))

EXAMPLES = 80
_POLL_S = 0.2
SEARCH_S = 8.0  # a slow target gets fewer requests, not a longer search
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

#: Numbers as JSON text, of sizes that parsers do not expect.
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(1, 6000).map(lambda digits: "9" * digits),
    st.integers(-600, 600).map(lambda exponent: f"1e{exponent}"),
    st.sampled_from(("-0", "0.0", "1E+2", "NaN", "Infinity", "-Infinity", "01", "0x1F", "+1")),
)
#: Strings of any code points, and of special ones: lone surrogates, NUL, noncharacters.
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


_ONE_SEARCH = threading.Lock()
"""Hypothesis generates inconsistent values if several threads draw from one recursive strategy."""


class _BodySearch:
    """Sends the generated bodies to the target, and keeps the responses."""

    def __init__(
        self, context: ScenarioContext, loop: asyncio.AbstractEventLoop, template: HttpRequest
    ) -> None:
        self._context = context
        self._loop = loop
        self._template = template
        self._until = time.monotonic() + SEARCH_S
        self._responses: dict[str, Exchange] = {}
        self.last: tuple[str, Exchange] | None = None
        self.failed = False
        self.undecided: Undecided | None = None
        self._over = threading.Event()

    def stop(self) -> None:
        """End the search, whatever its thread waits for: nobody needs its outcome any more."""
        self._over.set()

    @property
    def tried(self) -> int:
        """The number of bodies sent."""
        return len(self._responses)

    def send(self, field: str, value: str) -> None:
        """Send a body with `value`, as JSON text, in `field`. Raises AssertionError if that breaks the server."""
        text = self._body(field, value)
        if text not in self._responses:
            if time.monotonic() > self._until or self._over.is_set():
                return
            response = self._response_to(text)
            if response is None:
                return
            self._responses[text] = response
        response = self._responses[text]
        if not survives(response):
            self.failed = True
            self.last = (
                f'"{field}": {value if len(value) < 200 else f"{value[:100]}… ({len(value)} characters)"}',
                response,
            )
            raise AssertionError(field)
        if not self.failed:
            self.last = f"{self.tried} generated bodies", response

    def _response_to(self, text: str) -> Exchange | None:
        """The response to a body; None once the search is stopped, as the event loop may have ended."""
        sending = asyncio.run_coroutine_threadsafe(self._send(text), self._loop)
        while not self._over.is_set():
            done, _ = wait([sending], _POLL_S)
            if done:
                try:
                    return sending.result()
                except Undecided as reason:
                    self.undecided = reason
                    self.stop()
        return None

    def _body(self, field: str, value: str) -> str:
        members = {name: json.dumps(member) for name, member in self._template.json().items()}
        members[field] = value
        return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"

    async def _send(self, text: str) -> Exchange:
        request = HttpRequest(
            self._template.method,
            self._template.target,
            self._template.headers,
            text.encode("utf-8", "surrogatepass"),
        )
        # The first event is enough: whether the run ends is not checked here.
        return await self._context.send(
            self._context.target.with_key(request, new_key()), "a generated body", cut=Cut(after_events=1)
        )


def _search(use: Callable[[str, str], None]) -> None:
    """Call `use` with generated fields and values, the same each time. Once it has raised, find a smaller value."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,  # the same search every time, so a finding is reproducible
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(field=st.sampled_from(_FIELDS), value=st.one_of(_VALUES, _NESTED))
    def no_body_breaks_it(field: str, value: str) -> None:
        use(field, value)

    run: Any = no_body_breaks_it
    run()


def generated_values() -> list[tuple[str, str]]:
    """The fields and values that the search tries on a server that none of them breaks.

    Once per process: Hypothesis takes longer to generate them than a server to answer them.
    """
    with _ONE_SEARCH:
        return _generated_values()


@cache
def _generated_values() -> list[tuple[str, str]]:
    values: list[tuple[str, str]] = []
    _search(lambda field, value: values.append((field, value)))
    return values


async def searched_bodies(context: ScenarioContext) -> dict[str, Exchange]:
    """Generated bodies: the smallest one that broke the server, else the last one."""
    context.forbid_when_read_only("hostile bodies")
    generated = await asyncio.to_thread(generated_values)
    search = _BodySearch(context, asyncio.get_running_loop(), await context.request("success"))

    def run_search() -> None:
        try:
            for field, value in generated:
                search.send(field, value)
        except AssertionError:
            # Its result is in `search.last`.
            with _ONE_SEARCH, suppress(AssertionError, Flaky):
                _search(search.send)

    try:
        await asyncio.to_thread(run_search)
    finally:
        search.stop()  # else, after a cancellation, the interpreter would wait for the thread at exit
    if search.undecided is not None and not search.failed:
        raise search.undecided
    return dict([search.last]) if search.last is not None else {}
