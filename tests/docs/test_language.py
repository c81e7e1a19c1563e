"""Text that people read is plain technical English: a list of phrases that must not appear in it.

Checked are the Markdown pages, the report's and the web page's templates, and docstrings, comments and strings of the
package. To extend the list, add a row with an example that it must find.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cases import all_cases
from tests.docs.pages import ROOT


class Phrase(NamedTuple):
    """A banned phrase. `pattern` is matched against lower-case text in which white space is a single space."""

    pattern: str
    instead: str
    example: str


_COMPARISON = (
    r"(?!(?:longer|shorter|more|less|fewer|later|earlier|sooner|better|worse|higher|lower|greater|larger|smaller|"
    r"bigger|faster|slower|older|newer|one)\b)"
)

PHRASES = (
    # negation
    Phrase(rf"(?<!there )(?:is|are|was|were) no {_COMPARISON}", "is not a", "this is no results file"),
    Phrase(r"(?:that|which|this) (?:is|are|was|were) none\b", "name the noun", "an echo, which is none"),
    Phrase(r"inconclusive, which is", "inconclusive (exit 1)", "Gate: inconclusive, which is no pass"),
    Phrase(
        r"where there (?:is|are|was|were) (?:one|none|any|some)\b", "if any", "with a key where there is one"
    ),
    Phrase(r"(?:so that|for|by|to) nobody\b", "passive voice", "so that nobody has to wait"),
    Phrase(r"somebody\b", "a user / an operator", "somebody changed the number of users"),
    Phrase(r"whoever\b", "name the reader", "whoever reads it"),
    # data and programs as persons
    Phrase(r"said\b", "name what was reported", "what the page said"),
    Phrase(r"told\b(?! apart)", "reported, received, notified", "what had not been told yet"),
    Phrase(r"tells? (?:of|nothing|apart)\b", "reports, describes", "a worker tells of its streams"),
    Phrase(r"sp(?:oke|oken|eaks? of)\b", "is about", "rules that speak of a stream's form"),
    Phrase(r"says? (?:nothing|something) of\b", "does not describe", "it says nothing of the server"),
    Phrase(r"travel(?:s|led|ling|ler|lers)?\b", "run, send", "Travel only the journeys so named"),
    Phrase(r"(?:was|were|be|been) asked\b(?! to)", "is requested", "what was asked under that key"),
    Phrase(r"(?<!are )asked for\b", "requested, configured", "less load than the schedule asked for"),
    Phrase(r"stood\b(?! still)", "was", "the counters stood in four files"),
    Phrase(
        r"stands? (?:in(?! for)|on|at|under|there|here|once|alone|above|below|between)\b",
        "is",
        "the formula stands once",
    ),
    Phrase(r"stand(?:s|ing)? in the way\b", "block, delay", "what stands in the way of a test"),
    Phrase(r"on (?:its|their) way\b", "in flight", "streams that are still on their way"),
    Phrase(r"the books\b", "the results, the ledger", "entered in the books"),
    Phrase(r"cross(?:ed|es) out\b", "recorded as ended", "read, crossed out and judged"),
    Phrase(r"entered (?:in|before|into) ", "registered, recorded", "it is entered before it is sent"),
    # objectives are met, rules are checked
    Phrase(r"held (?:to|against)\b", "checked against", "the server is held to it"),
    Phrase(
        r"holds? (?:it|them|the server|the target|results|a test) to\b",
        "checks against",
        "holds results to it",
    ),
    Phrase(
        r"(?:objectives?|gates?|limits?) (?:still )?holds?\b", "is met / passes", "where the objectives hold"
    ),
    Phrase(r"(?:all|everything|gate|objectives?|limits?) held\b", "passed, met", "exit code 0: all held"),
    Phrase(r"(?:what|that) has to hold\b", "an objective", "what has to hold"),
    Phrase(r"still holds\b", "still meets the objectives", "the highest rate that still holds"),
    Phrase(r"(?:is|are) to spare\b", "margin", "the objectives with what is to spare"),
    # literary and translated words
    Phrase(
        r"(?:(?<=, )save (?:the|a|an|in|slow)|save (?:those|that|for|of|where|when|what))\b",
        "except",
        "streams that ended, save those we cut",
    ),
    Phrase(r"otherwise than\b", "differently from", "ended otherwise than its step wanted"),
    Phrase(
        r"what(?:ever)? (?:has |had )?(?:came|comes?|becomes?|became) of\b",
        "the outcome",
        "whatever came of those",
    ),
    Phrase(r"by (?:itself|themselves)\b", "automatically, on its own", "they come by themselves"),
    Phrase(r"besides\b", "also, in addition to", "besides the objectives"),
    Phrase(r"beside\b", "next to, while, in addition to", "a file beside it"),
    Phrase(r"anew\b", "again", "resolve the dependencies anew"),
    Phrase(r"in mid-", "during, in the middle of", "its user was stopped in mid-test"),
    Phrase(r"of (?:its|their|our|one's|his) own\b", "separate, own", "a process of its own"),
    Phrase(r"of (?:ours|theirs|hers)\b", "our, the harness's", "a fault of ours"),
    Phrase(r"(?:can|may|could|to) be had\b", "available", "20.9 GB can be had"),
    Phrase(r"wants (?:a|an|the|to|it|no)\b", "needs, expects", "the step wants a key"),
    Phrase(r"gone wrong\b", "failed", "what had gone wrong"),
    Phrase(r"heed(?:s|ed|ing)?\b", "obey, use", "the variables are heeded"),
    Phrase(r"shall\b", "must, is to", "settings whose token it shall accept"),
    Phrase(r"(?:thereby|thereof|therein|whence|hence|lest|ought)\b", "so, therefore", "whence the lag"),
    Phrase(r"mend(?:s|ed|ing)?\b", "fix", "mended with the next release"),
    Phrase(r"rightly\b", "correctly", "a mutant that was not killed rightly"),
    Phrase(r"to the letter\b", "exactly", "decoded to the letter of the standard"),
    Phrase(r"in haste\b", "without waiting", "it was judged in haste"),
    Phrase(r"strangers?\b", "an unauthenticated client, a newcomer", "a known key tells a stranger"),
    Phrase(r"a thing\b", "name the thing", "what a thing is for"),
    # verbs
    Phrase(r"(?:comes?|came|coming) to (?:its|their|an) ends?\b", "end", "a stream that came to its end"),
    Phrase(r"(?:goes|went|going) on\b", "is running, continues", "while a test goes on"),
    Phrase(r"(?:comes?|came) about\b", "occur", "the situation did not come about"),
    Phrase(r"br(?:ought|ings?) (?:\w+ ){0,3}about\b", "create", "a scenario that brings the situation about"),
    Phrase(r"(?:gives?|gave|given) back\b", "return", "gives back its text"),
    Phrase(r"hand(?:s|ed)? on\b", "pass", "what it hands on to pytest"),
    Phrase(r"gets? to know\b", "probe, learn", "get to know a server"),
    Phrase(r"sets? out (?:on|at|for)\b", "start", "how often users set out on each journey"),
    Phrase(r"looks? (?:\w+ )?(?:machine|server|target|it|them) over\b", "check", "look this machine over"),
    Phrase(
        r"(?:takes?|brought|brings?) (?:\w+ ){0,3}to (?:its|their) ends?\b",
        "end",
        "brings a stream to its end",
    ),
    Phrase(r"(?:shown|kept|counted|set|parted) apart\b", "separately", "the warm-up is shown apart"),
    Phrase(r"parted by\b", "separated by", "options parted by white space"),
    Phrase(r"(?:it|they) weighs?\b", "weight", "as often as they weigh"),
    Phrase(r"(?:it|they|one|which) (?:has |had |have )?died\b", "was lost", "it died, or could not stop"),
    # nouns and numbers
    Phrase(
        r"(?:worker|process|server|client|suite|master|browser|prox|program|thread|greenlet)(?:s|es|y|ies)? who\b",
        "that",
        "a worker who has left",
    ),
    Phrase(
        r"another (?:body|status|content-type|media type|type|value|shape|encoding)\b",
        "a different",
        "the same key with another body",
    ),
    Phrase(r"(?:(?<=, )|(?<=\())as (?:\d|https?:|\w+=\d)", "for example", "How long, as 90, 90s or 5m"),
    Phrase(r"the same as (?:numbers|texts)\b", "describe the value", "The same as numbers."),
    Phrase(
        r"(?<![\d.,])1 (?:events|runs|streams|tokens|frames|tests|checks|workers|users|requests|violations)\b",
        "agree in number",
        "cut by us (fin) after 1 events",
    ),
    Phrase(r"by us\b", "by the harness", "cut by us (fin)"),
    Phrase(r"from the bottom\b", "describe the curve", "Read it from the bottom"),
    Phrase(
        r"(?:beyond|at most|up to|after|of|in|for) so (?:many|much)\b", "name the number", "beyond so many"
    ),
    Phrase(r"so (?:many|much) of (?:it|its|the)\b", "name the amount", "leave so much of the beginning out"),
    Phrase(r"one a (?:line|process|worker|file)\b", "one per", "arrival times in seconds, one a line"),
    Phrase(r"all alike\b", "equal, constant", "gaps all alike, or random"),
    Phrase(r"no doing of\b", "not caused by", "by no doing of the server's"),
)

#: Sentences that are plain English although they come near a phrase above.
HONEST = (
    "It runs as long as the server is up, as fast as it can.",
    "No token: 401, and no run.",
    "There is no result for this rate; the connection is no longer open.",
    "`init` asks for the rest: you are asked for the token. The page says nothing about it.",
    "Save the report; run it and save the page as HTML. It saves that file.",
    "The lock is held for 3 ms, and the threshold holds for every stream.",
    "In `weight` each row gives the number of streams it stands for.",
    "A file that exists is replaced. Cache-Control is no-store.",
    "21 events, 1.1 events, 1 event per stream, 20 runs a second.",
    "The user who started it, and a second body of the same size.",
    "The gate failed, as the report shows. Send another request.",
    "It is no faster, and no one has to wait. A journey of your own, such as this one.",
    'The object, as "harness" in summary.json, with another user and another reason.',
    "Runs cannot be told apart if nobody disconnects.",
    "An action that was asked to fail; if it is None, the clock stood still. A worker died; 12% to spare.",
    "One action may stand in for another. Stands, stand-in, understand, aside, threshold, hold-out, recommend.",
)

_COMPILED = [(re.compile(rf"(?<![\w-])(?:{phrase.pattern})"), phrase) for phrase in PHRASES]
_ANY = re.compile(
    rf"(?<![\w-])(?:{'|'.join(phrase.pattern for phrase in PHRASES)})"
)  # one pass is faster than 80
_LIST_ITEM = re.compile(r"^(?:[-*>|]|\d+\.)\s")
_COMMENT_MARK = re.compile(r"^(?:#[:!]?|//|/?\*+/?)\s?")

AREAS = {
    "pages": ["*.md", "docs/**/*.md"],
    "project files": ["Makefile", "action.yml", "docs/ci/*.yml"],
    "report templates": ["reports/templates/*"],
    "web page": ["harness/load/web/templates/**/*.html", "harness/load/web/static/*"],
    **{
        folder: [f"{folder}/**/*.py"]
        for folder in (
            *sorted(f"harness/{part.parent.name}" for part in (ROOT / "harness").glob("*/__init__.py")),
            "conformance",
            "locustfiles",
            "reports",
            "scripts",
        )
    },
    "harness": ["harness/*.py"],
}
GENERATED = {"docs/performance.md": "<!-- measured: begin -->"}


@dataclass(frozen=True)
class Passage:
    """A piece of text that is read as one; line breaks in it do not matter. `line` is where it begins."""

    line: int
    text: str


def passages_of_text(source: str) -> Iterator[Passage]:
    """Paragraphs and list items of a page, a template or a stylesheet."""
    start, lines = 1, list[str]()
    for number, raw in enumerate(source.splitlines(), 1):
        line = raw.strip()
        if not line or _LIST_ITEM.match(line):
            yield Passage(start, "\n".join(lines))
            start, lines = number, []
        lines.append(_COMMENT_MARK.sub("", line))
    yield Passage(start, "\n".join(lines))


def passages_of_python(source: str) -> Iterator[Passage]:
    """Docstrings, other strings (f-strings with {} for their values), and blocks of comments."""
    yield from _strings(ast.parse(source))
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1:
            yield Passage(last - len(block) + 1, "\n".join(block))
            block = []
        block.append(_COMMENT_MARK.sub("", token.string))
        last = line
    yield Passage(last - len(block) + 1, "\n".join(block))


def _strings(node: ast.AST) -> Iterator[Passage]:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield Passage(node.lineno, node.value)
        return
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield Passage(node.lineno, "".join(parts))
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from _strings(child)


def passages(path: Path) -> Iterator[Passage]:
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    if name == "CHANGELOG.md":  # released versions stay as they were published
        source = "\n## ".join(source.split("\n## ")[:2])
    if name in GENERATED:
        source = source.partition(GENERATED[name])[0]
    yield from passages_of_python(source) if path.suffix == ".py" else passages_of_text(source)


def hits(found: Iterator[Passage]) -> Iterator[tuple[int, str, Phrase]]:
    """Line, the matched text and its row, for each banned phrase."""
    starts: list[int] = []
    lines: list[int] = []
    texts: list[str] = []
    length = 0
    for passage in found:
        for offset, line in enumerate(passage.text.split("\n")):
            text = " ".join(line.lower().split()) + " "
            starts.append(length)
            lines.append(passage.line + offset)
            texts.append(text)
            length += len(text)
        texts.append("\n")
        length += 1
    whole = "".join(texts)
    for match in _ANY.finditer(whole):
        line = lines[bisect_right(starts, match.start()) - 1]
        for pattern, phrase in _COMPILED:
            if pattern.match(whole, match.start()):
                yield line, match[0].strip(), phrase


def files(area: str) -> list[Path]:
    return sorted(path for pattern in AREAS[area] for path in ROOT.glob(pattern) if path.is_file())


@pytest.mark.parametrize("area", AREAS)
def test_no_banned_phrase(area: str) -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}; write: {phrase.instead}"
        for path in files(area)
        for line, text, phrase in sorted(hits(passages(path)))
    ]
    if problems:
        pytest.fail(f"{len(problems)} banned phrases:\n" + "\n".join(problems), pytrace=False)


def test_each_area_has_files() -> None:
    assert [area for area in AREAS if not files(area)] == []


@all_cases("phrase", PHRASES, ids=lambda phrase: phrase.example)
def test_each_phrase_is_found_in_its_example(phrase: Phrase) -> None:
    wrapped = phrase.example.replace(" ", "\n    ")
    for text in (phrase.example, wrapped):
        assert phrase in [row for _, _, row in hits(iter([Passage(1, text)]))]


@all_cases("sentence", HONEST)
def test_plain_english_passes(sentence: str) -> None:
    assert list(hits(iter([Passage(1, sentence)]))) == []


def test_docstrings_comments_and_strings_are_read_with_their_lines() -> None:
    source = '''"""First line.

It is told here.
"""
x = 1  # a comment that
#: was told
y = f"it {x} was" " told"
z = ("it is"
     " no file")
'''
    assert sorted((line, text) for line, text, _ in hits(passages_of_python(source))) == [
        (3, "told"),
        (6, "told"),
        (7, "told"),
        (8, "is no"),
    ]


def test_paragraphs_are_read_across_lines() -> None:
    page = "A page that is\nno page.\n\n- it is\n- no list\n"
    assert [(line, text) for line, text, _ in hits(passages_of_text(page))] == [(1, "is no")]
