"""A journey as users write it in a locustfile of their own: streams by name, everything else as in the shipped ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.contract.rules.comparisons import check_retry
from harness.load.journeys.stream_runner import Check, StreamGroup, StreamRunner
from harness.load.stats.stream_metrics import StreamStep
from harness.protocol.request import HttpRequest
from harness.transport.receiver import Cut, Pace


class CustomJourney:
    """Sends one user's streams, each entered in the books and judged under the name of its journey and step."""

    def __init__(self, traveller: StreamRunner, name: str) -> None:
        self.runner = traveller
        self.name = name
        self._keys: set[str] = set()

    @property
    def target(self) -> Target:
        """Makes requests: `run` of a configured action, `post` of any body."""
        return self.runner.target

    def stream(
        self,
        step: str,
        request: HttpRequest,
        *,
        wants: Sequence[str] | None = None,
        judge: Check | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> Exchange:
        """Send `request` and read its stream to the end.

        wants: the endings that are no failure, in the ledger's words; ``done`` unless told, and ``abandoned``
        where it is cut. judge: what it is held to beside the rules for any one stream. cut: leave it after
        some events. pace: read slowly. Raises CollectorClosedError when the test is over, which
        ``AgentRunUser.journey`` takes for its end.
        """
        return self.runner.run(
            self.name, self.step(step, request, wants, cut, pace), request, judge=judge, cut=cut, pace=pace
        )

    def retry(self, step: str, original: Exchange) -> Exchange:
        """Send the request of a run that ended once more: the same events have to come back."""
        judge = partial(check_retry, original, expect=self.target.expectations)
        return self.stream(step, original.request, judge=judge if original.outcome else None)

    def together(self) -> StreamGroup:
        """Several streams at once, judged when all have ended: open them in a with-block, with steps of `step`."""
        return self.runner.group(self.name)

    def step(
        self,
        name: str,
        request: HttpRequest,
        wants: Sequence[str] | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamStep:
        """A stream's part in this journey. A run's metrics are taken from the first stream under its key."""
        key = request.header("idempotency-key")
        begins_run = key is None or key not in self._keys
        if key is not None:
            self._keys.add(key)
        usual = ("done",) if cut is None else ("abandoned", "done")
        at_once = pace is None
        return StreamStep(
            name, tuple(wants or usual), begins_run=begins_run and at_once, reads_at_once=at_once
        )
