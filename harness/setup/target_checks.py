"""``harness doctor``'s checks of the target: is it testable, and does anything in front of it distort measurements?

Checks that the conformance suite has too use its rule and report its finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from harness.config.settings import Settings
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.finding import Verdict
from harness.contract.rules.headers import incremental
from harness.formatting import counted
from harness.protocol.http1 import Delimiter
from harness.protocol.http_date import http_date
from harness.setup.connection import ConnectionAttempt, connect
from harness.setup.finding import SetupFinding, fail, ok, warn
from harness.setup.probe import Probe, is_long, refusal, status_and_message, stream_problem, streamed_ms
from harness.transport.endpoint import Endpoint

_EXPIRES_SOON_DAYS = 14
_DATE_CHARS = 100  # shown of a Date
_DATE_TRUNCATED_S, _DATE_CACHED_S, _DATE_ROUNDED_S = 1.0, 1.0, 0.5
_MAX_SKEW_S = 5.0  # Date has a resolution of one second, and the response took some time
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
    "action": "check [target.actions.*] and target.body; harness init tries them out",
    "server": "see the server's log; a test would only fail the same way",
    "connection": "check which program listens there, and that it speaks HTTP/1.1",
}


def check_target(settings: Settings) -> Iterator[SetupFinding]:
    """Every check of the target, up to the first step that fails. Raises SettingsError without a target.

    Tokens in the server's messages are masked.
    """
    redact = Redactor(settings.secrets())
    for finding in _check_target(settings):
        yield replace(finding, detail=redact.sentence(finding.detail))


def _check_target(settings: Settings) -> Iterator[SetupFinding]:
    if missing := _missing_action(settings):
        settings = _with_placeholders(settings)
    probe = Probe(settings)
    endpoint = probe.target.endpoint
    connection = connect(endpoint)
    yield from check_connection(endpoint, connection, verify=settings.target.verify_tls)
    if connection.problem is not None:
        return
    if missing is not None:
        yield missing
        return
    action = "long" if settings.target.actions.long is not None else "success"
    anonymous, run = asyncio.run(_send_requests(probe, action))
    yield check_token(anonymous, run, has_token=bool(probe.target.principal.token))
    yield from check_rate_limit([anonymous, run])
    refused = refusal(run)
    if refused is not None:
        if refused.setting != "token":  # check_token has reported it
            yield fail("run", refused.sentence, _ADVICE[refused.setting])
        return
    yield from check_run(run, action)


def _missing_action(settings: Settings) -> SetupFinding | None:
    """The finding if no run can be started because the settings lack an action."""
    if settings.target.actions.success is not None:
        return None
    return fail(
        "run",
        "not tried: the settings have no [target.actions.success], a workflowAction that ends with done",
        "harness init --target URL writes a settings file with it",
    )


def _with_placeholders(settings: Settings) -> Settings:
    """The settings with what a connection needs no value of. No request is sent with them."""
    actions = settings.target.actions.model_copy(update={"success": {}})
    organization = settings.target.organization_id or "unknown"
    target = settings.target.model_copy(update={"actions": actions, "organization_id": organization})
    return settings.model_copy(update={"target": target})


async def _send_requests(probe: Probe, action: str) -> tuple[Exchange, Exchange]:
    return await probe.anonymous_request(), await probe.run(action)


def check_connection(
    endpoint: Endpoint, connection: ConnectionAttempt, *, verify: bool
) -> Iterator[SetupFinding]:
    """DNS lookup, TCP connection, TLS."""
    if not connection.addresses:
        yield fail(
            "name",
            f"cannot resolve {endpoint.host}: {connection.problem}",
            "check target.base_url, and this machine's DNS",
        )
        return
    addresses = ", ".join(connection.addresses)
    yield ok("name", f"{endpoint.host} is {addresses} ({connection.lookup_ms:.0f} ms)")
    if connection.connect_ms is None:
        yield fail(
            "connection",
            f"port {endpoint.port}: {connection.problem}",
            "check that the server runs, the port is right and no firewall blocks it",
        )
        return
    yield ok("connection", f"port {endpoint.port} answers in {connection.connect_ms:.1f} ms")
    if endpoint.tls is None:
        loopback = all(address in ("127.0.0.1", "::1") for address in connection.addresses)
        plain = "no TLS (http URL)"
        yield (
            ok("tls", plain) if loopback else warn("tls", plain, "the token is sent in clear text; use https")
        )
    elif connection.problem is not None:
        yield fail(
            "tls",
            connection.problem,
            "set target.ca_file to its CA, or, for your own test server, target.verify_tls = false"
            if "certificate" in connection.problem
            else "check that this port speaks TLS: if it speaks plain HTTP, use http:// in the target",
        )
    else:
        yield _check_certificate(connection, verify=verify)


def _check_certificate(connection: ConnectionAttempt, *, verify: bool) -> SetupFinding:
    session = f"{connection.tls_version}, {connection.handshake_ms or 0:.0f} ms"
    if not verify:
        return warn(
            "tls",
            f"{session}; the certificate is not verified",
            "target.verify_tls is off, so any server could be answering",
        )
    if connection.expires_at is None:
        return ok("tls", f"{session}; the certificate is trusted")
    days = (connection.expires_at - datetime.now(UTC)).days
    detail = f"{session}; the certificate is trusted and expires in {counted(days, 'day')}"
    if days < _EXPIRES_SOON_DAYS:
        return warn("tls", detail, "renew it before it makes tests fail")
    return ok("tls", detail)


def check_token(anonymous: Exchange, run: Exchange, *, has_token: bool) -> SetupFinding:
    """Compare the responses without and with the token."""
    answered = status_and_message(run)
    if run.status == 401:
        if not has_token:
            return fail(
                "token",
                f"not configured, but the target requires one: {answered}",
                "export HARNESS_TARGET__TOKEN=…, or use --token-file",
            )
        return fail("token", f"refused with {answered}", _ADVICE["token"])
    if anonymous.status == 200:
        return warn(
            "token",
            "the target answers 200 without a token too",
            "the suite will fail auth.*: check that this is the endpoint your users call",
        )
    if not has_token:
        return warn(
            "token",
            f"not configured, and the target did not require one: {answered}",
            "export HARNESS_TARGET__TOKEN=… if the target uses tokens",
        )
    return ok("token", f"works; without it the target answers {anonymous.status or anonymous.describe()}")


def check_rate_limit(answers: Sequence[Exchange]) -> Iterator[SetupFinding]:
    """Rate limits: responses with 429, or header fields that announce one."""
    limited = any(answer.status == 429 or "429" in answer.label for answer in answers)
    fields = {
        name: value
        for answer in answers
        if answer.head is not None
        for name in _LIMITS
        if (value := answer.head.value(name)) is not None
    }
    announced = ", ".join(f"{name}: {value}" for name, value in fields.items())
    advice = "a load above the limit measures the limiter: raise it for the test, or keep --rate below it"
    if limited:
        yield warn(
            "rate limit",
            f"429 Too Many Requests within {len(answers)} requests; {announced or 'no limit announced'}",
            advice,
        )
    elif fields:
        yield warn("rate limit", announced, advice)
    else:
        yield ok("rate limit", f"none in {len(answers)} requests, none announced")


def check_run(run: Exchange, action: str) -> Iterator[SetupFinding]:
    """The stream of one run: its form, its length, buffering, compression, clock skew, keep-alive."""
    problem = stream_problem(run)
    count = counted(len(run.events), "event")
    detail = f"{count} in {streamed_ms(run) / 1000:.2f} s, then {run.outcome}"
    if problem is not None:
        yield fail("stream", problem, "run harness conformance: it reports every broken rule")
    elif run.outcome != "done":
        yield fail("stream", detail, f"set [target.actions.{action}] to an action that ends with done")
    else:
        yield ok("stream", detail)
    if action == "long" and problem is None and not is_long(run):
        yield warn(
            "long action",
            f"[target.actions.long] streams for {streamed_ms(run):.0f} ms",
            "set it to an action that streams for a second or more; the suite cuts and joins it",
        )
    yield check_buffering(run)
    yield check_compression(run)
    yield check_clock_skew(run)
    yield check_keep_alive(run)


def check_buffering(run: Exchange) -> SetupFinding:
    """Whether events arrive incrementally, by the suite's rule, with advice on buffering proxies."""
    finding = incremental(run)
    via = (run.head.value("via") if run.head else None) or ""
    proxy = f"; via {via}" if via else ""
    if finding.verdict is Verdict.PASS:
        return ok("buffering", f"none: {finding.detail}{proxy}")
    if finding.verdict in (Verdict.FAIL, Verdict.WARN):
        return fail(
            "buffering",
            finding.detail + proxy,
            "the server or a proxy buffers the stream: send X-Accel-Buffering: no and Cache-Control: no-transform, "
            "and turn off response buffering in the proxy",
        )
    same_read = len(run.events) > 1 and len({event.arrival_ns for event in run.events}) == 1
    bunched = "all events in one read; " if same_read else ""
    return warn(
        "buffering",
        f"undecided: {bunched}{finding.detail}{proxy}",
        "set [target.actions.long] to an action that streams for a second or more",
    )


def check_compression(run: Exchange) -> SetupFinding:
    """Compression, which buffers the stream. The harness asks for none: `Accept-Encoding: identity`."""
    coding = (run.head.value("content-encoding") if run.head else None) or "identity"
    if coding.strip().lower() in ("identity", ""):
        return ok("compression", "none")
    return fail(
        "compression",
        f"Content-Encoding: {coding}, which was not requested",
        "turn it off for text/event-stream, in the server and in every proxy",
    )


def check_clock_skew(run: Exchange) -> SetupFinding:
    """The target's wall clock against this machine's, from its Date field (RFC 9110, 6.6.1)."""
    date = run.head.value("date") if run.head else None
    head_ns, timing = run.head_ns, run.timing
    if date is None or head_ns is None or timing.sent_wall_ns is None or timing.sent_ns is None:
        return ok("clock skew", "the target sends no Date")
    target_time = http_date(date)
    if target_time is None:
        return warn(
            "clock skew",
            f"invalid Date from the target: {date[:_DATE_CHARS]!r}",
            "see RFC 9110, 5.6.7 for its form",
        )
    sent_s, received_s = timing.sent_wall_ns / 1e9, (timing.sent_wall_ns + head_ns - timing.sent_ns) / 1e9
    # When the head was written, the target's clock showed a time in the second of Date or, if it caches Date for a
    # second, in the next one; half a second before, if it rounds. This machine's showed one from sent_s to received_s.
    ahead_s = target_time.timestamp() - _DATE_ROUNDED_S - received_s
    behind_s = sent_s - (target_time.timestamp() + _DATE_TRUNCATED_S + _DATE_CACHED_S)
    if ahead_s <= 0 and behind_s <= 0:
        return ok("clock skew", "none: the target's Date fits this machine's clock")
    skew_s = target_time.timestamp() + _DATE_TRUNCATED_S / 2 - received_s
    detail = f"the target's clock is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"
    if abs(skew_s) > _MAX_SKEW_S:
        return warn("clock skew", detail, "event ids and logs will not match this machine's: use NTP on both")
    return ok("clock skew", detail)


def check_keep_alive(run: Exchange) -> SetupFinding:
    """Whether the connection can be reused for the next request (RFC 9112, 9.3)."""
    head = run.head
    if head is None:
        return warn("keep-alive", "no response", "")
    closes = "close" in (head.value("connection") or "").lower() or head.version == "1.0"
    if closes or head.delimiter is Delimiter.CLOSE:
        reason = (
            "the response ends with the connection"
            if head.delimiter is Delimiter.CLOSE
            else f"HTTP/{head.version}, Connection: close"
        )
        return ok("keep-alive", f'no: {reason}; it only matters with target.connections = "reuse"')
    return ok("keep-alive", f"yes (HTTP/{head.version}, {head.delimiter})")
