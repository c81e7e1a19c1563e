"""security: no response leaks secrets or weakens the browser's protection."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import Level, rule, was_accepted
from harness.formatting import counted

_SHORTEST_TOKEN = 7  # characters: a shorter one is found by chance, "token" for example in each event


@rule(
    "security.no-secrets",
    Level.MUST,
    "No response echoes the token",
    why="An echoed token ends up in logs, error trackers and screenshots.",
    fix="Leave the request's headers and the token out of events, error messages and response headers.",
    source="ours",
)
def no_secrets(responses: Sequence[Exchange], secrets: Sequence[str]) -> RuleResult:
    """`secrets` are the tokens that were sent, valid and garbage."""
    received = [response for response in responses if response.head is not None]
    if not received:
        return inconclusive("no response to search")
    searched = [secret for secret in secrets if len(secret) >= _SHORTEST_TOKEN]
    if not searched:
        return inconclusive("the tokens are too short to search for")
    for response in received:
        if any(response.holds(secret.encode()) for secret in searched):
            return failed(f"the response to {response.label} echoes the bearer token", Location(response))
    if not any(map(was_accepted, received)):
        return inconclusive("no request was accepted, so most kinds of response were not seen")
    without = "" if len(searched) == len(secrets) else "; the target's own token is too short to search for"
    return passed(f"no token in {counted(len(received), 'response')}{without}")


@rule(
    "security.cors",
    Level.MUST,
    "No wildcard CORS with credentials",
    why="Any web page could act with the user's credentials.",
    fix=(
        "List the allowed origins; do not combine `Access-Control-Allow-Credentials` with `*` or with an "
        "origin that is echoed unchecked."
    ),
    source="Fetch",
)
def cors(responses: Sequence[Exchange], control: Exchange | None = None) -> RuleResult:
    """`responses` are responses to requests with an Origin header. control: to a request without one."""
    received = [(response, response.head) for response in responses if response.head is not None]
    are_refused = bool(received) and all(head.status == 403 for _, head in received)
    keeps_out = are_refused and control is not None and was_accepted(control)
    if not keeps_out and not any(was_accepted(response) for response, _ in received):
        return inconclusive("no request with an Origin was accepted")
    for response, head in received:
        origin = head.value("access-control-allow-origin") or ""
        credentials = head.value("access-control-allow-credentials") or ""
        requested = response.request.header("origin")
        if credentials.lower() == "true" and origin in {"*", requested}:
            allowed = "any origin (*)" if origin == "*" else f"every origin (it echoes {origin})"
            return failed(f"CORS lets {allowed} use credentials", Location(response))
    return passed(
        "requests with a foreign Origin get 403" if keeps_out else "no wildcard CORS with credentials"
    )


@rule(
    "security.nosniff",
    Level.SHOULD,
    "X-Content-Type-Options: nosniff, on errors too",
    why="A browser that sniffs content types can be tricked into running text as a script.",
    fix=(
        "Send `X-Content-Type-Options: nosniff` with every response, for example from a middleware that "
        "covers errors too."
    ),
    source="ours",
)
def nosniff(responses: Sequence[Exchange]) -> RuleResult:
    received = [(response, response.head) for response in responses if response.head is not None]
    if not any(was_accepted(response) for response, _ in received):
        return inconclusive("no request was accepted")
    for response, head in received:
        if (head.value("x-content-type-options") or "").lower() != "nosniff":
            return failed(
                f"the response to {response.label} lacks X-Content-Type-Options: nosniff", Location(response)
            )
    return passed(f"nosniff on {counted(len(received), 'response')}, errors included")
