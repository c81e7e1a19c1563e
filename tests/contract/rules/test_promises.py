"""What a rule needs of the API: workflow actions promise all of it, and what an API lacks is not applicable."""

from __future__ import annotations

from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, RULES
from harness.contract.rules.stream import STREAM_RULES, rules_for
from harness.profiles import library
from harness.profiles.capability import DECLARED, Capability
from tests.cases import all_cases
from tests.contract.exchanges import done, run, token

_INPUT = {
    "not-json",
    "required",
    "required-named",
    "types",
    "hostile",
    "media-type",
    "too-large",
    "error-shape",
}


#: Workflow actions never repeat the text, report no usage, open nothing, and name the run in one event.
_CANCEL = {name for name in CATALOGUE if name.startswith("cancel.")} | {"replica.cancel"}
_OF_OTHERS = _CANCEL | {"events.whole-text", "events.usage", "events.pairs", "events.first", "run-id.single"}


def applicable(profile: str) -> set[str]:
    loaded = library.load(profile)
    return {name for name, row in CATALOGUE.items() if row.not_promised(loaded) is None}


def test_workflow_actions_promise_whatever_a_rule_needs() -> None:
    assert applicable("workflow-actions") == set(CATALOGUE) - _OF_OTHERS
    assert rules_for(run(token(0), token(1, ""), done(2), b": late\n\n", b"id: 1-1\n\n")) == tuple(
        rule for rule in STREAM_RULES if rule.requirement.id not in _OF_OTHERS
    )


@all_cases(
    ("profile", "area", "names"),
    [
        ("openai-chat", "terminal", {"no-tokens", "success", "failure", "always", "exactly-one", "last", "closes"}),
        ("langgraph", "terminal", {"failure"}),
        ("agno", "terminal", {row.partition(".")[2] for row in CATALOGUE if row.startswith("terminal.")}),
        ("openai-chat", "ids", set()),
        ("agno", "ids", {"present", "unique", "increasing"}),
        ("langgraph", "ids", {"present", "unique", "increasing", "clock"}),
        ("mcp", "ids", {"present", "unique"}),
        ("openai-chat", "conflict", set()),
        ("agno", "conflict", set()),
        ("openai-chat", "resume", set()),
        ("a2a", "resume", {"survives-disconnect"}),
        ("openai-chat", "auth", {"missing", "bad", "challenge", "query-token"}),
        ("langgraph", "auth", set()),
        ("openai-chat", "input", _INPUT),
        ("openai-chat", "key", {"none-independent"}),
        ("ag-ui", "key", set()),
        ("ag-ui", "run-id", {"echoed", "single"}),
        ("openai-chat", "run-id", {"single"}),
        ("agno", "run-id", {"constant", "single"}),
        ("openai-chat", "race", {"no-crosstalk", "slow-reader"}),
    ],
)  # fmt: skip
def test_what_applies_follows_from_the_parts_of_the_profile(profile: str, area: str, names: set[str]) -> None:
    found = {name.partition(".")[2] for name in applicable(profile) if name.partition(".")[0] == area}
    assert found == names


def test_rules_of_form_apply_to_every_api() -> None:
    form = {
        name for name, row in CATALOGUE.items() if row.area in {"headers", "framing", "security", "liveness"}
    }
    form -= {"framing.event-name"}
    for profile in library.names():
        assert form <= applicable(profile)


def test_a_rule_that_does_not_apply_says_what_is_not_promised() -> None:
    finding = RULES["ids.present"](run(token(0), profile=library.load("ag-ui")))
    assert finding.verdict is Verdict.NOT_APPLICABLE
    assert finding.detail == "this API promises no event ids (profile ag-ui)"


def test_a_promise_that_no_part_shows_is_named_in_the_profile() -> None:
    assert library.load("workflow-actions").promises == DECLARED
    assert Capability.ORGANIZATION not in library.load("openai-chat").capabilities
