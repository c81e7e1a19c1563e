"""Whether the target can be tested, and whether something on the way to it would blur what is measured.

Nothing is judged here that the suite judges: a row that uses one of its rules gives that rule's own answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from harness.config.settings import Settings
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.finding import Verdict
from harness.contract.rules.headers import incremental
from harness.protocol.http1 import Delimiter
from harness.setup.connection import Connection, connect
from harness.setup.finding import SetupFinding, fail, ok, warn
from harness.setup.probe import Probe, is_long, probing, refusal, said, stream_problem, streamed_ms
from harness.transport.endpoint import Endpoint

_EXPIRES_SOON_DAYS = 14
_SKEW_S = 5.0  # the Date field counts whole seconds, and its answer was under way
_REMAINING = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
_LIMITS = (
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-rate-limit-limit",
    *_REMAINING,
)
_ADVICE = {
    "token": "check HARNESS_TARGET__TOKEN, target.token or --token-file",
    "organization": "check target.organization_id (--organization), and that the token belongs to it",
    "path": "check target.path (--path)",
    "action": "check [target.actions.*] and target.body; harness init finds out what works",
    "server": "look into the server's log; the test would only repeat it",
    "connection": "check what listens there, and that it speaks HTTP/1.1",
}


def target_rows(settings: Settings) -> Iterator[SetupFinding]:
    """Every row about the target, up to the first step that fails. Raises SettingsError for a target without a name.

    Tokens that a server says are masked.
    """
    redact = Redactor(settings.secrets())
    for row in _rows(settings):
        yield replace(row, found=redact.text(row.found))


def _rows(settings: Settings) -> Iterator[SetupFinding]:
    probe = Probe(settings)
    endpoint = probe.target.endpoint
    connection = connect(endpoint)
    rows = list(connection_rows(endpoint, connection, verify=settings.target.verify_tls))
    yield from rows
    if connection.problem is not None:
        return
    action = "long" if settings.target.actions.long is not None else "success"
    stranger, run = probing(lambda: _ask(probe, action))
    yield token_row(stranger, run, has_token=bool(probe.target.principal.token))
    yield from limit_rows([stranger, run])
    refused = refusal(run)
    if refused is not None:
        if refused.setting != "token":  # that row has said so
            yield fail("run", refused.sentence, _ADVICE[refused.setting])
        return
    yield from run_rows(run, action)


async def _ask(probe: Probe, action: str) -> tuple[Exchange, Exchange]:
    return await probe.anonymous_request(), await probe.run(action)


def connection_rows(endpoint: Endpoint, found: Connection, *, verify: bool) -> Iterator[SetupFinding]:
    """The name, the connection and the certificate."""
    if not found.addresses:
        yield fail(
            "name",
            f"{endpoint.host} cannot be looked up: {found.problem}",
            "check target.base_url, and this machine's DNS",
        )
        return
    yield ok("name", f"{endpoint.host} is {', '.join(found.addresses)} ({found.lookup_ms:.0f} ms)")
    if found.connect_ms is None:
        yield fail(
            "connection",
            f"port {endpoint.port}: {found.problem}",
            "is the server running, is the port right, is a firewall between?",
        )
        return
    yield ok("connection", f"port {endpoint.port} answers in {found.connect_ms:.1f} ms")
    if endpoint.tls is None:
        loopback = all(address in ("127.0.0.1", "::1") for address in found.addresses)
        plain = "no TLS: the URL says http"
        yield (
            ok("tls", plain) if loopback else warn("tls", plain, "the token travels in the clear; use https")
        )
    elif found.problem is not None:
        yield fail(
            "tls",
            found.problem,
            "name its authority with target.ca_file, or, for a server of your own, target.verify_tls = false",
        )
    else:
        yield _certificate_row(found, verify=verify)


def _certificate_row(found: Connection, *, verify: bool) -> SetupFinding:
    said_ms = f"{found.tls_version}, {found.handshake_ms or 0:.0f} ms"
    if not verify:
        return warn(
            "tls",
            f"{said_ms}; the certificate is not checked",
            "target.verify_tls is off: anybody could be answering",
        )
    if found.expires_at is None:
        return ok("tls", f"{said_ms}; the certificate is trusted")
    days = (found.expires_at - datetime.now(UTC)).days
    text = f"{said_ms}; the certificate is trusted, for {days} days more"
    if days < _EXPIRES_SOON_DAYS:
        return warn("tls", text, "renew it before tests begin to fail")
    return ok("tls", text)


def token_row(stranger: Exchange, run: Exchange, *, has_token: bool) -> SetupFinding:
    """What an answer without a token, and one with it, say about the token."""
    words = said(run)
    if run.status == 401:
        if not has_token:
            return fail(
                "token",
                f"none is configured, and the target wants one: {words}",
                "export HARNESS_TARGET__TOKEN=…, or use --token-file",
            )
        return fail("token", f"refused with {words}", _ADVICE["token"])
    if stranger.status == 200:
        return warn(
            "token",
            "the target answers 200 without one too",
            "the suite will fail auth.*: is this the endpoint that users have?",
        )
    if not has_token:
        return warn(
            "token",
            f"none is configured, and none was asked for: {words}",
            "export HARNESS_TARGET__TOKEN=… if the target has tokens",
        )
    return ok("token", f"works; without it the target says {stranger.status or stranger.describe()}")


def limit_rows(answers: Sequence[Exchange]) -> Iterator[SetupFinding]:
    """Rate limits, as 429 or as header fields announce them."""
    limited = [one for one in answers if one.status == 429 or "429" in one.label]
    told = {
        name: value
        for one in answers
        if one.head is not None
        for name in _LIMITS
        if (value := one.head.value(name)) is not None
    }
    announced = ", ".join(f"{name}: {value}" for name, value in told.items())
    advice = "a load above the limit measures the limiter: raise it for the test, or keep --rate below it"
    if limited:
        yield warn(
            "rate limit",
            f"429 Too Many Requests came after {len(answers)} requests; {announced or 'no limit is named'}",
            advice,
        )
    elif told:
        yield warn("rate limit", announced, advice)
    else:
        yield ok("rate limit", f"none in {len(answers)} requests, and none announced")


def run_rows(run: Exchange, action: str) -> Iterator[SetupFinding]:
    """What the stream of one run shows: its form, who holds it back, clocks, connections."""
    problem = stream_problem(run)
    count = f"{len(run.events)} events in {streamed_ms(run) / 1000:.2f} s, then {run.outcome}"
    if problem is not None:
        yield fail("stream", problem, "harness conformance says what is wrong with it, rule by rule")
    elif run.outcome != "done":
        yield fail("stream", count, f"[target.actions.{action}] has to name an action that ends with done")
    else:
        yield ok("stream", count)
    if action == "long" and problem is None and not is_long(run):
        yield warn(
            "long action",
            f"[target.actions.long] streams for {streamed_ms(run):.0f} ms",
            "name one that streams for a second or more: cuts and joins are tested with it",
        )
    yield buffering_row(run)
    yield compression_row(run)
    yield date_row(run)
    yield reuse_row(run)


def buffering_row(run: Exchange) -> SetupFinding:
    """Whether events come when they are made: the suite's rule, and what is known of proxies that hold them back."""
    finding = incremental(run)
    hint = (
        "X-Accel-Buffering: no, Cache-Control: no-transform, and no response buffering in the proxy before it"
    )
    via = (run.head.value("via") if run.head else None) or ""
    passed = f"; it came by way of {via}" if via else ""
    if finding.verdict is Verdict.PASS:
        return ok("buffering", f"none: {finding.detail}{passed}")
    if finding.verdict in (Verdict.FAIL, Verdict.WARN):
        return fail(
            "buffering",
            finding.detail + passed,
            f"the server, or a proxy, gathers the stream before it sends it: {hint}",
        )
    bunched = (
        "all events in one read; "
        if len(run.events) > 1 and len({one.arrival_ns for one in run.events}) == 1
        else ""
    )
    return warn(
        "buffering",
        f"not decided: {bunched}{finding.detail}{passed}",
        "name an action that streams for a second or more as [target.actions.long]",
    )


def compression_row(run: Exchange) -> SetupFinding:
    """A stream that is compressed is one that is gathered; the harness asks for none."""
    coding = (run.head.value("content-encoding") if run.head else None) or "identity"
    if coding.strip().lower() in ("identity", ""):
        return ok("compression", "none")
    return fail(
        "compression",
        f"Content-Encoding: {coding}, which was not asked for",
        "switch it off for text/event-stream, in the server and in every proxy",
    )


def date_row(run: Exchange) -> SetupFinding:
    """The target's wall clock against ours, by its Date field (RFC 9110, 6.6.1)."""
    sent = run.head.value("date") if run.head else None
    head_ns, timing = run.head_ns, run.timing
    if sent is None or head_ns is None or timing.sent_wall_ns is None or timing.sent_ns is None:
        return ok("clock skew", "the target sends no Date")
    try:
        theirs = parsedate_to_datetime(sent)
    except ValueError:
        return warn(
            "clock skew", f"the target's Date cannot be read: {sent!r}", "RFC 9110, 5.6.7 has its form"
        )
    theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
    ours_s = (timing.sent_wall_ns + head_ns - timing.sent_ns) / 1e9
    skew_s = theirs.timestamp() + 0.5 - ours_s  # half a second: what whole seconds leave out on average
    by = (
        "within a second of ours"
        if abs(skew_s) <= 1
        else f"{'ahead' if skew_s > 0 else 'behind'} by {abs(skew_s):.0f} s"
    )
    found = f"the target's clock is {by}"
    if abs(skew_s) > _SKEW_S:
        return warn(
            "clock skew", found, "ids made of the time, and logs, will not match ours: set both clocks by NTP"
        )
    return ok("clock skew", found)


def reuse_row(run: Exchange) -> SetupFinding:
    """Whether the answer leaves its connection open for another request (RFC 9112, 9.3)."""
    head = run.head
    if head is None:
        return warn("keep-alive", "there was no answer", "")
    closes = "close" in (head.value("connection") or "").lower() or head.version == "1.0"
    if closes or head.delimiter is Delimiter.CLOSE:
        why = (
            "the answer ends with its connection"
            if head.delimiter is Delimiter.CLOSE
            else f"HTTP/{head.version}, Connection: close"
        )
        return ok(
            "keep-alive",
            f"no: {why}; each stream of a load has its own anyway, unless target.connections says otherwise",
        )
    return ok("keep-alive", f"the connection can be used again (HTTP/{head.version}, {head.delimiter})")
