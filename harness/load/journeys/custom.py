"""A journey written in a user's own locustfile: streams with named steps, timed, checked and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.contract.rules.comparisons import check_retry
from harness.load.journeys.stream_handle import StreamCheck
from harness.load.journeys.stream_runner import StreamGroup, StreamRunner
from harness.load.stats.stream_metrics import StreamStep
from harness.protocol.request import HttpRequest
from harness.transport.receiver import Cut, Pace


class CustomJourney:
    """Sends one user's streams. Results keep each under the journey's name and the step's."""

    def __init__(self, runner: StreamRunner, name: str) -> None:
        self.runner = runner
        self.name = name
        self._keys: set[str] = set()

    @property
    def target(self) -> Target:
        """Builds requests: `run` of a configured action, `post` of any body."""
        return self.runner.target

    def stream(
        self,
        step: str,
        request: HttpRequest,
        *,
        expects: Sequence[str] | None = None,
        check: StreamCheck | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> Exchange:
        """Send `request` and read its stream to the end.

        expects: the ledger outcomes that are not failures; by default ``done``, with a cut also ``abandoned``.
        check: applied in addition to the rules for every stream. cut: cut the connection after some events.
        pace: read slowly. Raises CollectorClosedError when the test has ended; ``AgentRunUser.journey`` handles it.
        """
        return self.runner.run(
            self.name, self.step(step, request, expects, cut, pace), request, check=check, cut=cut, pace=pace
        )

    def retry(self, step: str, original: Exchange) -> Exchange:
        """Send the request of a finished run again. The same events must come back."""
        check = partial(check_retry, original, expect=self.target.expectations)
        return self.stream(step, original.request, check=check if original.outcome else None)

    def group(self) -> StreamGroup:
        """Several concurrent streams, as a context manager; build their steps with `step`."""
        return self.runner.group(self.name)

    def step(
        self,
        name: str,
        request: HttpRequest,
        expects: Sequence[str] | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamStep:
        """A stream's part in this journey. Run metrics come from the first stream with its idempotency key."""
        key = request.header("idempotency-key")
        begins_run = key is None or key not in self._keys
        if key is not None:
            self._keys.add(key)
        default = ("done",) if cut is None else ("abandoned", "done")
        reads_at_once = pace is None
        return StreamStep(
            name,
            tuple(expects or default),
            begins_run=begins_run and reads_at_once,
            reads_at_once=reads_at_once,
        )
