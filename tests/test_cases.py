from __future__ import annotations

import traceback

import pytest

from tests.cases import all_cases


def shown(problem: BaseException) -> str:
    return "".join(traceback.format_exception(problem))


def test_every_case_is_run_and_every_failed_one_is_named() -> None:
    ran = []

    @all_cases("number", [1, 2, 3, 4], ids="number {}".format)
    def even(number: int) -> None:
        ran.append(number)
        assert number % 2 == 0

    with pytest.raises(pytest.fail.Exception) as failed:
        even()
    assert ran == [1, 2, 3, 4]
    text = str(failed.value)
    assert text.startswith("2 of 4 cases failed: number 1; number 3\n")
    for words in ("case: number 1", "assert (1 % 2) == 0", "case: number 3", "assert (3 % 2) == 0"):
        assert text.count(words) == 1


def test_one_failure_is_raised_as_it_is() -> None:
    @all_cases(("text", "length"), [("a", 1), ("bc", 3)])
    def measured(text: str, length: int) -> None:
        assert len(text) == length

    with pytest.raises(AssertionError) as failed:
        measured()
    assert "case: 'bc', 3" in shown(failed.value)


@pytest.mark.parametrize("ends", [ValueError("broken"), KeyboardInterrupt()], ids=["error", "interruption"])
def test_an_error_ends_the_test_and_names_its_case(ends: BaseException) -> None:
    @all_cases("number", [1, 2])
    def broken(number: int) -> None:
        raise ends

    with pytest.raises(type(ends)) as failed:
        broken()
    assert failed.value.__notes__ == ["case: 1"]


def test_what_is_expected_and_does_not_come_is_a_failed_case() -> None:
    @all_cases("number", [0, 1, 2])
    def divided(number: int) -> None:
        with pytest.raises(ZeroDivisionError):
            1 / number

    with pytest.raises(pytest.fail.Exception, match="2 of 3 cases failed: 1; 2"):
        divided()


def test_a_case_cannot_skip_the_others() -> None:
    @all_cases("number", [0, 1])
    def skipping(number: int) -> None:
        pytest.skip("not here")

    with pytest.raises(pytest.fail.Exception, match="a case is skipped, and with it all that follow: 0"):
        skipping()


def test_two_tables_multiply() -> None:
    ran = []

    @all_cases("letter", "ab")
    @all_cases("number", [1, 2])
    def both(letter: str, number: int) -> None:
        ran.append(f"{letter}{number}")
        assert letter == "c"

    with pytest.raises(pytest.fail.Exception) as failed:
        both()
    assert ran == ["a1", "a2", "b1", "b2"]
    text = str(failed.value)
    assert text.startswith("2 of 2 cases failed: 'a'; 'b'\n")
    assert text.count("2 of 2 cases failed: 1; 2") == 2
    assert text.count("case: 'b'") == 1


class TestFixtures:
    @all_cases("number", [1, 2])
    def test_are_given_to_every_case(self, tmp_path, number):
        (tmp_path / str(number)).touch()
        assert len(list(tmp_path.iterdir())) == number


@pytest.mark.parametrize(
    ("values", "ids"),
    [([], None), ([1, 2], ["one", "one"]), ([1, 2], ["one"])],
    ids=["none", "twice", "less"],
)
def test_a_table_without_cases_or_with_wrong_names_is_refused(
    values: list[int], ids: list[str] | None
) -> None:
    with pytest.raises(ValueError, match="cases of \\['number'\\] with the names"):
        all_cases("number", values, ids=ids)


def test_rows_can_be_made_when_the_test_runs() -> None:
    made, seen = [], []

    def rows() -> list[int]:
        made.append(1)
        return [1, 2]

    @all_cases("value", rows)
    def test(value: int) -> None:
        seen.append(value)

    assert made == []
    test()
    assert (made, seen) == ([1], [1, 2])
    with pytest.raises(ValueError, match="0 cases"):
        all_cases("value", list)(test)()
