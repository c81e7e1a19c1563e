"""How long the suite may take, whatever the target does."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.formatting import duration
from harness.suite.not_decided import Undecided

MOST_PUT_OFF_S = 600.0
"""For a target that answers 429 and 503, the suite takes longer by the time for which it waits, at most this."""


_MOST_JUDGING_S = 30.0
_JUDGING_SHARE = 8


class TimeLimit:
    """Counts from its creation. put_off_s: for how long the target has put requests off so far.

    Its last part, an eighth and at most half a minute, is for judging what was received until then.
    """

    def __init__(
        self,
        limit_s: float,
        put_off_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_s = limit_s
        self._put_off_s = put_off_s
        self._clock = clock
        self._began_s = clock()

    def left_s(self) -> float:
        """Seconds left to send and to receive, at least 0."""
        return self._until_s(self.limit_s - min(_MOST_JUDGING_S, self.limit_s / _JUDGING_SHARE))

    def left_to_judge_s(self) -> float:
        """Seconds until the limit, at least 0."""
        return self._until_s(self.limit_s)

    def _until_s(self, limit_s: float) -> float:
        allowed_s = limit_s + min(self._put_off_s(), MOST_PUT_OFF_S)
        return max(0.0, self._began_s + allowed_s - self._clock())

    def announcement(self) -> str:
        """How long the suite may take, in a clause."""
        return (
            f"at most {duration(self.limit_s * 1000)} (limits.suite), and up to {duration(MOST_PUT_OFF_S * 1000)} more "
            "if the target answers 429 or 503"
        )

    def reason(self) -> str:
        """Why something was not tested, in a sentence."""
        limit = duration(self.limit_s * 1000)
        return f"the suite has reached its limit of {limit} (limits.suite) before this was tested"

    def undecided(self) -> Undecided:
        """The reason as an exception, which ends the test."""
        return Undecided(self.reason(), ends_test=True)
