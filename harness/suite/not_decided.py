"""Why a scenario has no outcome, as exceptions that become verdicts."""

from __future__ import annotations


class NotApplicable(Exception):  # noqa: N818 - a verdict, not an error
    """The target does not offer what the scenario needs; the message says what to configure."""


class Undecided(Exception):  # noqa: N818 - a verdict, not an error
    """The situation could not be set up, for a reason that says nothing about the requirement.

    ends_test: nothing more can be tested, so the whole test is not sound.
    """

    def __init__(self, reason: str, *, ends_test: bool = False) -> None:
        super().__init__(reason)
        self.ends_test = ends_test
