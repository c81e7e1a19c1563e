from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Verdict
from harness.contract.rules import workflow
from harness.contract.rules.comparisons import check_recalled
from tests.cases import all_cases
from tests.contract.exchanges import done, empty_stream, error, reply, run, token
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, Case, case, check

MINE, YOURS = (f"session-{digit * 32}" for digit in "ab")
LONG = "naïve " * 500


def said(text: str) -> Exchange:
    return run(token(0, text), done(1))


def texts(own: str) -> list[str]:
    return [workflow.step_text(own, 1), f"{workflow.step_text(own, 2)} {LONG}"]


def session(own: str, recalled: str | None = None) -> list[Exchange]:
    """Two echo steps and a recall step that returns both outputs, or `recalled`."""
    outputs = texts(own)
    return [*map(said, outputs), said("\n".join(outputs) if recalled is None else recalled)]


def two(mine: Sequence[Exchange]) -> dict[str, Sequence[Exchange]]:
    return {YOURS: session(YOURS), MINE: mine}


FIRST, SECOND = texts(MINE)
SOUND = two(session(MINE))
NOTHING = two(session(MINE, "no idea"))
BROKEN = two([said(FIRST), run(token(0, SECOND), ending=Ending.TRUNCATED), said(FIRST)])
FAILED = two([said(FIRST), run(token(0, SECOND), error(1)), said(FIRST)])
REJECTED = two([said(FIRST), reply(413), said(FIRST)])
NOT_AN_ECHO = two([said("OK"), said(SECOND), said(SECOND)])
EMPTY = two([said(FIRST), said(SECOND), empty_stream()])
LEAKED = two(session(MINE, "\n".join(texts(YOURS))))

CASES: list[Case] = [
    case(workflow.no_crosstalk, SOUND, is_=PASS, says="2 sessions, each with only its own"),
    case(workflow.no_crosstalk, LEAKED, is_=FAIL, says="shows an output of a different session"),
    case(
        workflow.no_crosstalk,
        two(session(MINE, f"{FIRST}\n{SECOND}\n{texts(YOURS)[0]}")),
        is_=FAIL,
        says="different session",
    ),
    case(
        workflow.no_crosstalk,
        two([said(FIRST), said(texts(YOURS)[1]), said(FIRST)]),
        is_=FAIL,
        says="different session",
    ),
    case(workflow.no_crosstalk, NOTHING, is_=INCONCLUSIVE, says="so it may show none at all"),
    case(workflow.no_crosstalk, {}, is_=INCONCLUSIVE, says="no session"),
    case(workflow.new_session, SOUND, said("nothing"), is_=PASS, says="starts without outputs"),
    case(workflow.new_session, SOUND, run(done(0)), is_=PASS, says="starts without outputs"),
    case(workflow.new_session, SOUND, said(FIRST), is_=FAIL, says="the output of an earlier one"),
    case(workflow.new_session, SOUND, empty_stream(), is_=INCONCLUSIVE, says="did not end"),
    case(
        workflow.new_session,
        {MINE: session(MINE, "no idea")},
        said("nothing"),
        is_=INCONCLUSIVE,
        says="no session shows its own",
    ),
    case(workflow.outputs_passed, SOUND, is_=PASS, says="2 sessions"),
    case(workflow.outputs_passed, two(session(MINE, SECOND)), is_=PASS, says="2 sessions"),
    case(workflow.outputs_passed, NOTHING, is_=FAIL, says="shows no output of the 2 steps before it"),
    case(workflow.all_outputs, SOUND, is_=PASS, says="all outputs, in their order"),
    case(workflow.all_outputs, two(session(MINE, SECOND)), is_=FAIL, says="lacks the output of step 1 of 2"),
    case(workflow.all_outputs, two(session(MINE, FIRST)), is_=FAIL, says="lacks the output of step 2 of 2"),
    case(
        workflow.all_outputs,
        two(session(MINE, f"{SECOND}\n{FIRST}")),
        is_=FAIL,
        says="in a different order the output of step 2",
    ),
    case(workflow.all_outputs, NOTHING, is_=INCONCLUSIVE, says="no output at all"),
    case(workflow.outputs_whole, SOUND, is_=PASS, says="characters, unchanged"),
    case(
        workflow.outputs_whole,
        two(session(MINE, f"{FIRST}\n{SECOND[:1000]}")),
        is_=FAIL,
        says="the output of step 2 only up to character 1,000 of 3,045",
    ),
    case(
        workflow.outputs_whole,
        two(session(MINE, f"{FIRST}\n{SECOND.replace('ï', '?')}")),
        is_=FAIL,
        says="only up to character 47",
    ),
    case(workflow.outputs_whole, two(session(MINE, SECOND)), is_=PASS, says="unchanged"),
    case(workflow.outputs_whole, NOTHING, is_=INCONCLUSIVE, says="no output at all"),
    *(
        case(rule, evidence, is_=INCONCLUSIVE, says=says)
        for rule in (
            workflow.no_crosstalk,
            workflow.outputs_passed,
            workflow.all_outputs,
            workflow.outputs_whole,
        )
        for evidence, says in (
            (BROKEN, "did not end"),
            (FAILED, "did not succeed"),
            (REJECTED, "did not end"),
            (EMPTY, "did not end"),
            (NOT_AN_ECHO, "did not return the text it was sent"),
        )
    ),
]


@all_cases("example", CASES, ids=str)
def test_rules(example: Case) -> None:
    check(example)


def violated(steps: list[Exchange]) -> set[str]:
    return {finding.requirement for finding in check_recalled(steps, MINE) if finding.verdict is Verdict.FAIL}


def test_a_session_under_load_is_checked_as_far_as_its_steps_have_its_marker() -> None:
    assert violated(session(MINE)) == set()
    assert violated([said("a plain answer"), *session(MINE)]) == set()
    assert violated([said("a plain answer"), said("a plain answer")]) == set()
    assert violated(session(MINE, "no idea")) == {"workflow.outputs-passed"}
    assert violated(session(MINE, SECOND)) == {"workflow.all-outputs"}
    assert violated(session(MINE, f"{FIRST}\n{SECOND[:99]}")) == {"workflow.outputs-whole"}
    assert violated([said("a plain answer"), said(texts(YOURS)[0])]) == {"workflow.no-crosstalk"}
    assert "workflow.no-crosstalk" in violated(session(MINE, "\n".join(texts(YOURS))))


def test_a_second_recall_has_the_output_of_the_first() -> None:
    recalled = f"{FIRST}\n{SECOND}"
    steps = [*session(MINE), said(f"{recalled}\n{recalled}")]
    assert violated(steps) == set()
    assert violated([*session(MINE), said(recalled)]) == {"workflow.all-outputs"}
