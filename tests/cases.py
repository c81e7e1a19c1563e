"""`all_cases`: one test of a whole table, where a test of each row would cost more than what it runs.

pytest takes some milliseconds for each test, in each of the processes that collect it; most rows take microseconds.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial, wraps
from typing import Any

import pytest

#: What a failed case raises. Anything else ends the test at once, with the case's name.
FAILED = (AssertionError, pytest.fail.Exception)
_MOST_SHOWN = 10
_LONGEST_NAME = 200


def all_cases(
    names: str | Sequence[str],
    values: Iterable[Any] | Callable[[], Iterable[Any]],
    *,
    ids: Iterable[str] | Callable[[Any], object] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like pytest.mark.parametrize, but one test runs all cases and names each that failed.

    The cases share the test's fixtures, so none of these may keep what a case did. Several tables multiply. values: the
    rows, or a function that returns them when the test runs. Raises ValueError if there are no cases, or if there are
    more or fewer ids than cases.
    """
    arguments = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    given = ids if ids is None or callable(ids) else list(ids)

    @cache
    def all_rows() -> list[tuple[Any, ...]]:
        found = values() if callable(values) else values
        rows = [tuple(value) if len(arguments) > 1 else (value,) for value in found]
        if not rows or (isinstance(given, list) and not len(given) == len(set(given)) == len(rows)):
            raise ValueError(f"{len(rows)} cases of {arguments} with the names {given}")
        return rows

    if not callable(values):
        all_rows()

    def name_of(number: int) -> str:
        if isinstance(given, list):
            return given[number]
        return ", ".join(str((given or repr)(part)) for part in all_rows()[number])[:_LONGEST_NAME]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def every(*own: Any, **fixtures: Any) -> None:
            failures: list[tuple[str, BaseException]] = []
            for number, row in enumerate(all_rows()):
                case = partial(test, *own, **fixtures, **dict(zip(arguments, row, strict=True)))
                failure = _failure(case, partial(name_of, number))
                if failure is not None:
                    failures.append((name_of(number), failure))
            _report(failures, len(all_rows()))

        signature = inspect.signature(test)
        others = [one for name, one in signature.parameters.items() if name not in arguments]
        every.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return every

    return decorate


def _failure(case: Callable[[], None], name: Callable[[], str]) -> BaseException | None:
    """What a case failed with."""
    try:
        case()
    except pytest.skip.Exception:
        pytest.fail(f"a case is skipped, and with it all that follow: {name()}")
    except BaseException as problem:
        problem.add_note(f"case: {name()}")
        if not isinstance(problem, FAILED):
            raise
        return problem
    return None


def _report(failures: list[tuple[str, BaseException]], cases: int) -> None:
    """Raise the only failure, or one that names all and shows the first."""
    if len(failures) == 1:
        raise failures[0][1]
    if failures:
        shown = ["".join(traceback.format_exception(problem)) for _, problem in failures[:_MOST_SHOWN]]
        heading = f"{len(failures)} of {cases} cases failed: {'; '.join(name for name, _ in failures)}"
        pytest.fail("\n\n".join([heading, *shown]), pytrace=False)
