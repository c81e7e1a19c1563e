"""Shows profiles, and what a profile makes of recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.contract.rules.rule import quoted
from harness.errors import SettingsError
from harness.exit_codes import FAILED, PASSED
from harness.formatting import counted, visible
from harness.input_file import read_bytes
from harness.profiles import library
from harness.profiles.capability import Capability
from harness.profiles.profile import Profile
from harness.profiles.run_event import RunEvent
from harness.profiles.stream_reader import ProfileStream, read_stream
from harness.protocol.capture import CapturedAnswer, CaptureError, read_capture
from harness.terminal.safe_console import SafeConsole

MAX_CAPTURE_BYTES = 64 * 1024 * 1024
"""A recorded answer may not be larger."""
_SHOWN_CHARS = 60
_EVENTS_SHOWN = 1000
_PROBLEMS_SHOWN = 50
_SAME_SHOWN = 3  # of successive tokens; the rest are one line


def print_profiles() -> None:
    """All profiles that can be used by name."""
    table = Table("profile", "API", "set these", box=None)
    for name in library.names():
        profile = library.load(name)
        table.add_row(name, profile.title, ", ".join(profile.needs) or "-")
    SafeConsole().print(table)


def print_profile(name: str) -> None:
    """What an API promises by its profile, and the profile's text."""
    profile = library.load(name)
    text, _ = library.source(name)
    console = SafeConsole(highlight=False, soft_wrap=True)
    console.print(Text(f"{profile.name}: {profile.title}"))
    for variable, what in profile.needs.items():
        console.print(Text(f"  set {variable}: {what}"))
    has = [str(one) for one in Capability if one in profile.capabilities]
    lacks = [str(one) for one in Capability if one not in profile.capabilities]
    console.print(Text(f"  promises: {', '.join(has) or 'nothing that is not in every stream'}"))
    if lacks:
        console.print(Text(f"  promises no: {', '.join(lacks)}"))
    console.print()
    print(visible(text.rstrip(), keep="\n\t"))


def check_profile(name: str, captures: Sequence[Path]) -> int:
    """Print event by event what a profile makes of recorded answers. Returns the exit code.

    It fails if an event is unknown or a stream does not fit the profile. Raises SettingsError for a wrong profile, or
    a file that is not a recorded answer.
    """
    profile = library.load(name)
    console = SafeConsole(highlight=False, soft_wrap=True)
    unfit = streams = 0
    for path in captures:
        for answer in recorded_answers(path):
            label = visible(f"{path}: {answer.label}" if answer.label else str(path))
            if not answer.is_stream:
                console.print(
                    Text(f"{label}: not a stream: status {answer.status}, {answer.media_type or 'no type'}")
                )
                continue
            streams += 1
            unfit += not _print_stream(console, profile, answer, label)
    if not streams:
        raise SettingsError("none of the files has an event stream: record one with curl -i -N --raw")
    fits = f"{counted(streams - unfit, 'stream')} of {streams} fit the profile {profile.name}"
    console.print(Text(f"{fits}."))
    if unfit:
        console.print(Text("A wrong profile looks like a wrong server: decide which of them to change."))
    return FAILED if unfit else PASSED


def recorded_answers(path: Path) -> list[CapturedAnswer]:
    """The answers in a file. Raises SettingsError if there are none."""
    try:
        return read_capture(read_bytes(path, "the recorded answer", MAX_CAPTURE_BYTES))
    except CaptureError as problem:
        raise SettingsError(f"{path} {problem}") from None


def _print_stream(console: Console, profile: Profile, answer: CapturedAnswer, label: str) -> bool:
    """Print one stream. Returns whether it fits the profile."""
    stream = read_stream(profile, answer.frames, is_complete=answer.is_complete)
    console.print(Text(label, style="bold"))
    table = Table("event", "type", "id", "is", "text", box=None, pad_edge=True)
    alike = 0
    shown_events = stream.events[:_EVENTS_SHOWN]
    for number, (event, following) in enumerate(
        zip(shown_events, [*shown_events[1:], None][: len(shown_events)], strict=True), 1
    ):
        alike = alike + 1 if _is_plain_token(event) else 0
        if alike > _SAME_SHOWN and following is not None and _is_plain_token(following):
            continue
        if alike > _SAME_SHOWN + 1:
            table.add_row("…", "", "", Text(f"{counted(alike - _SAME_SHOWN - 1, 'more token')}"), "")
        shown = (event.type, event.id or "", _meaning(event), _shown_text(event))
        table.add_row(str(number), *(Text(quoted(part, _SHOWN_CHARS)[1:-1]) for part in shown))
    console.print(table)
    if left_out := len(stream.events) - len(shown_events):
        console.print(Text(f"  … {counted(left_out, 'more event')}"))
    console.print(Text(f"  {_summary(stream, answer)}"))
    for problem in stream.problems[:_PROBLEMS_SHOWN]:
        console.print(Text(f"  does not fit: {problem}", style="red"))
    if len(stream.problems) > _PROBLEMS_SHOWN:
        more = counted(len(stream.problems) - _PROBLEMS_SHOWN, "more problem")
        console.print(Text(f"  … {more}", style="red"))
    console.print()
    return not stream.problems


def _is_plain_token(event: RunEvent) -> bool:
    return event.is_token and event.outcome is None and event.problem is None


def _meaning(event: RunEvent) -> str:
    """What an event is, in the profile's words."""
    meanings = [
        event.content or "",
        event.outcome or "",
        "usage" if event.output_tokens is not None else "",
        "end" if event.is_end else "",
        "trailer" if event.is_trailer else "",
        "note" if event.is_note else "",
        "keepalive" if event.is_keepalive else "",
    ]
    known = " + ".join(meaning for meaning in meanings if meaning)
    return known or ("other" if event.is_known else "UNKNOWN")


def _shown_text(event: RunEvent) -> str:
    return event.text or event.message or event.whole_text or ""


def _summary(stream: ProfileStream, answer: CapturedAnswer) -> str:
    tokens = sum(event.is_token for event in stream.events)
    outcomes = [str(event.outcome) for event in stream.outcomes]
    parts = [
        counted(len(stream.events), "event"),
        f"{counted(tokens, 'token')} with {counted(len(stream.text), 'character')}",
        f"outcome {', '.join(outcomes)}" if outcomes else "no outcome",
        f"run {quoted(stream.run_id)}" if stream.run_id is not None else "no run id",
    ]
    if stream.output_tokens is not None:
        parts.append(f"{counted(stream.output_tokens, 'token')} by the API's own count")
    if not answer.is_complete:
        parts.append("the answer is incomplete, so its end is not checked")
    return "; ".join(parts)
