"""Different keys that become one key if a server cuts, folds, decodes or hashes them."""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
import uuid
from collections.abc import Callable

from harness.contract.exchange import Exchange
from harness.contract.rules.key import new_marker
from harness.contract.rules.rule import Need
from harness.profiles.capability import Capability
from harness.suite.scenario import ScenarioContext, gather_some

from .runs import echo_request

_LENGTHS = (300, 255, 128, 64)  # the longest that the server accepts is tested
_HEX = "0123456789abcdef"
_SAME_CRC_32 = ("tNXiGIdL", "Y9ehY8mR")  # with equal text before and after
_HASHED_BYTES = 4
_MOST_HASHES = 2_000_000  # a collision of 32 bits takes about 80,000
_FAMILIES_AT_ONCE = 3


async def similar_keys(context: ScenarioContext) -> dict[str, list[Exchange]]:
    """Runs with keys that differ in one respect only, by that respect; the last with a different body."""
    families = _families() | await asyncio.to_thread(_hash_families)
    found = await gather_some(
        [_runs(context, kind, keys) for kind, keys in families.items()], _FAMILIES_AT_ONCE
    )
    return {**await _long_keys(context), **dict(zip(families, found, strict=True))}


async def keys_in_quotes(context: ScenarioContext) -> list[Exchange]:
    """A run with a quoted structured-field string as its key, and the same text without the quotes as a key."""
    key = f"quoted-{uuid.uuid4().hex}"
    return await _runs(context, "quotes", [f'"{key}"', key])


async def _runs(context: ScenarioContext, kind: str, keys: list[str]) -> list[Exchange]:
    """A run for each key: the first alone, then the others; all with the same body except the last of several.

    Where no run id tells runs apart, each has a different body, whose text its run echoes.
    """
    if not context.target.promises(Capability.RUN_ID) and context.target.offers(Need.ECHO_ACTION):
        marked = [await echo_request(context, new_marker()) for _ in keys]
        requests = {
            key: context.target.with_key(request, key) for key, request in zip(keys, marked, strict=True)
        }
    else:
        template = await context.request("success")
        requests = {key: context.target.with_key(template, key) for key in keys}
        if len(keys) > 2:
            requests[keys[-1]] = context.target.conflicting(requests[keys[-1]])
    first = await context.send(requests.pop(keys[0]), f"the first of several keys ({kind})")
    numbered = {str(number): request for number, request in enumerate(requests.values(), 2)}
    others = await context.send_all(numbered, f"a key that differs only in {kind}")
    return [first, *others.values()]


async def _long_keys(context: ScenarioContext) -> dict[str, list[Exchange]]:
    for length in _LENGTHS:
        start = f"{uuid.uuid4().hex}-".ljust(length - 1, "k")
        kind = f"the last of {length} characters"
        runs = await _runs(context, kind, [start + end for end in "abc"])
        if runs[0].status == 200:
            break
    return {kind: runs}


def _families() -> dict[str, list[str]]:
    """New keys by the respect in which they differ. All are valid field values (RFC 9110, 5.5)."""

    def family(make: Callable[[str], list[str]]) -> list[str]:
        return make(f"k{uuid.uuid4().hex[:12]}")

    number = str(10**19 + uuid.uuid4().int % 10**19)
    return {
        "the last character": _uuids(-1),
        "the first character": _uuids(0),
        "letter case": family(lambda k: [f"{k}-Ab", f"{k}-AB".upper(), f"{k}-ab"]),
        "white space": family(lambda k: [f"{k} a b", f"{k} a  b", f"{k} ab", f"{k} a\tb"]),
        "white space inside quotes": family(lambda k: [f'"{k}"', f'"{k} "', f'" {k}"']),
        "percent encoding": family(lambda k: [f"{k}-A b+c", f"{k}-%41 b+c", f"{k}-A b c", f"{k}-A%20b+c"]),
        "how a number is written": [
            number,
            f"0{number}",
            f"{number[:-1]}{9 - int(number[-1])}",
            f"{number}.0",
        ],
        "punctuation": family(lambda k: [f"{k}-a.b", f"{k}-a-b", f"{k}-ab", f"{k}-a.b.", f"{k}-a_b"]),
        "how a UUID is written": _uuid_forms(),
        "what is next to a separator": family(
            lambda k: [
                k,
                f"{k},1",
                f"{k};a=1",
                f"{k}:1",
                f"1:{k}",
                f"{k}/1",
                f"{k}//1",
                f"1/{k}",
                f"{k}#1",
                f"{k}?1",
            ]
        ),
        "Unicode normalization": family(
            lambda k: [
                f"{k}-\u00e9\ufb01",
                unicodedata.normalize("NFD", f"{k}-\u00e9\ufb01"),
                unicodedata.normalize("NFKC", f"{k}-\u00e9\ufb01"),
            ]
        ),
        "accents": family(lambda k: [f"{k}-caf\u00e9-\u00df", f"{k}-cafe-\u00df", f"{k}-caf\u00e9-ss"]),
        "invisible characters": family(lambda k: [k, f"{k}\u00a0", f"\u00a0{k}", f"{k}\u200b"]),
        "which letters beyond ASCII": family(lambda k: [f"{k}-\u00e9", f"{k}-\u00fc", f"{k}-\u65e5"]),
        "a CRC-32 hides": family(lambda k: [f"{k}-{end}" for end in _SAME_CRC_32]),
    }


def _uuids(place: int) -> list[str]:
    """UUIDs that differ in one character only."""
    text = str(uuid.uuid4())
    place %= len(text)
    digits = [digit for digit in _HEX if digit != text[place]]
    return [text, *(f"{text[:place]}{digit}{text[place + 1 :]}" for digit in (digits[0], digits[-1]))]


def _uuid_forms() -> list[str]:
    """A UUID as most clients write it, and other texts that libraries read as the same UUID."""
    text = f"a{str(uuid.uuid4())[1:]}"  # with a letter, so that its upper case differs
    return [text, text.replace("-", ""), f"{{{text}}}", f"urn:uuid:{text}", text.upper()]


def _hash_families() -> dict[str, list[str]]:
    """Keys whose hashes start with the same 32 bits."""
    return {f"what 32 bits of {name} hide": _same_hash(name) for name in ("MD5", "SHA-1", "SHA-256")}


def _same_hash(name: str) -> list[str]:
    digest = getattr(hashlib, name.replace("-", "").lower())
    start = f"k{uuid.uuid4().hex[:12]}-"
    seen: dict[bytes, str] = {}
    for number in range(_MOST_HASHES):
        key = f"{start}{number}"
        other = seen.setdefault(digest(key.encode()).digest()[:_HASHED_BYTES], key)
        if other is not key:
            return [other, key]
    raise AssertionError("no collision of 32 bits")
