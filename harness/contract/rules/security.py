"""security: no answer gives away what it must not."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import Level, rule, was_accepted


@rule(
    "security.no-secrets",
    Level.MUST,
    "No answer echoes the token",
    why="An echoed token ends up in logs, error trackers and screenshots.",
    source="ours",
)
def no_secrets(answers: Sequence[Exchange], secrets: Sequence[str]) -> RuleResult:
    """`secrets` are the tokens that were sent, valid ones and garbage."""
    told = [answer for answer in answers if answer.head is not None]
    if not told:
        return inconclusive("there was no answer to look through")
    for answer in told:
        if any(answer.holds(secret.encode()) for secret in secrets):
            return failed(f"the answer to {answer.label} echoes the bearer token", Location(answer))
    if not any(map(was_accepted, told)):
        return inconclusive("no request was accepted, so most answers there are were not seen")
    return passed(f"no token in any of {len(told)} answers")


@rule(
    "security.cors",
    Level.MUST,
    "No wildcard CORS with credentials",
    why="Any web page could act with the user's credentials.",
    source="Fetch",
)
def cors(answers: Sequence[Exchange]) -> RuleResult:
    """`answers` to requests that carried an Origin."""
    told = [answer for answer in answers if answer.head is not None]
    if not any(map(was_accepted, told)):
        return inconclusive("no request with an Origin was accepted")
    for answer in told:
        origin = (answer.head.value("access-control-allow-origin") if answer.head else None) or ""
        credentials = (answer.head.value("access-control-allow-credentials") if answer.head else None) or ""
        asked = answer.request.header("origin")
        if credentials.lower() == "true" and origin in {"*", asked}:
            said = "any origin (*)" if origin == "*" else f"whatever origin asks ({origin})"
            return failed(f"CORS lets {said} use credentials", Location(answer))
    return passed("no wildcard CORS with credentials")


@rule(
    "security.nosniff",
    Level.SHOULD,
    "X-Content-Type-Options: nosniff, errors too",
    why="A browser that guesses a type can be made to run text as a script.",
    source="ours",
)
def nosniff(answers: Sequence[Exchange]) -> RuleResult:
    told = [answer for answer in answers if answer.head is not None]
    if not any(map(was_accepted, told)):
        return inconclusive("no request was accepted")
    for answer in told:
        sent = (answer.head.value("x-content-type-options") if answer.head else None) or ""
        if sent.lower() != "nosniff":
            return failed(
                f"the answer to {answer.label} lacks X-Content-Type-Options: nosniff", Location(answer)
            )
    return passed(f"nosniff on {len(told)} answers, errors too")
