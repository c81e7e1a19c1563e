"""The parts of a profile that say what its events mean, and where their ids stand."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from harness.booleans import NumbersAreNotBooleans
from harness.profiles.expressions import Expression


class Part(NumbersAreNotBooleans):
    """A table of the profile's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


MOST_NAMES = 200
"""The most entries of a list or table in a profile: each event may be compared with all of them."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], Field(max_length=MOST_NAMES)]


@lru_cache(maxsize=1024)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, names)) or r"(?!)")


def is_one_of(kind: str, names: tuple[str, ...]) -> bool:
    """Whether a type is one of these names, in which `*` stands for any characters."""
    return _pattern(names).match(kind) is not None


def as_tuple(value: Any) -> Any:
    """One name or number as a tuple of one; other values as they are."""
    return (value,) if isinstance(value, str | int) else value


class EventRule(Part):
    """Which events have one meaning: those of a type, those for which an expression holds, or both."""

    #: The event's type, or several; `*` stands for any characters.
    types: Names = Field(default=(), alias="is")
    #: Must hold too. Expressions see `data`, `event` and `id`.
    where: Expression | None = None
    #: Where visible text stands: a piece of a token, the whole text of a snapshot or an outcome.
    text: Expression | None = None
    #: Where the message of an error stands.
    message: Expression | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """``"error"`` and ``["error", "failed"]`` stand for ``{ is = … }``."""
        if isinstance(value, list) and any(isinstance(member, dict) for member in value):
            raise ValueError(
                "a meaning has one rule: list the types in is, and join conditions with || in where"
            )
        if isinstance(value, str | list):
            return {"is": as_tuple(value)}
        if isinstance(value, dict) and "is" in value:
            return {**value, "is": as_tuple(value["is"])}
        return value

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not self.types and self.where is None:
            raise ValueError("a rule needs is, where, or both")
        return self


class UsageRule(Part):
    """Where an event tells how many tokens the run took."""

    where: Expression
    output_tokens: Expression
    #: How many of the output tokens are reasoning, if the API tells it.
    reasoning_tokens: Expression | None = None


OUTCOMES = ("done", "error", "cancelled")
"""How a run can end."""
TOKEN, SNAPSHOT = "token", "snapshot"
SIGNS = ("reasoning", "tool", "progress")
"""Signs of work other than text."""
CONTENTS = (TOKEN, SNAPSHOT, *SIGNS)
"""What an event can bring: a piece of the visible text, the whole text so far, or other signs of work."""

ANY_TYPE = "*"
"""In `other`: types that the API does not document are allowed too."""

END_OUTCOME, END_CLOSE = "outcome", "close"


class Events(Part):
    """What the events mean. Within outcomes and within contents, the first rule of the file that matches counts."""

    #: Where an event's type stands.
    type: Expression = Expression("event")
    run_id: Expression | None = None
    #: The member of the request's JSON body with the run's id, if the client chooses it.
    client_run_id: Name | None = None
    #: Which part of the text a token or a whole text belongs to, if a run has several.
    part: Expression | None = None
    token: EventRule
    snapshot: EventRule | None = None
    reasoning: EventRule | None = None
    tool: EventRule | None = None
    progress: EventRule | None = None
    done: EventRule | None = None
    error: EventRule | None = None
    cancelled: EventRule | None = None
    usage: UsageRule | None = None
    #: Events about the connection, not the run. They are compared with nothing.
    note: EventRule | None = None
    #: Events that only keep the connection open. Comments always do.
    keepalive: EventRule | None = None
    #: Types of the first event.
    first: Names = ()
    #: Further types that the API documents. With others a stream has an event that the profile does not know.
    other: Names = ()
    #: Types that open and close something: opening type, closing type, and the expression that names what.
    pairs: tuple[tuple[Name, Name, Expression | Literal[""]], ...] = Field(default=(), max_length=20)
    #: Data of the events: JSON objects, or any JSON value.
    data: Literal["object", "any"] = "object"
    #: What ends the stream: "outcome" (the event that tells it), "close" (the connection alone), the data of a last
    #: event such as "[DONE]", or a rule.
    end: EventRule | Name = END_OUTCOME
    #: Data of an event that may follow the outcome.
    trailer: Name | None = None
    #: After an error event the stream may stop without its end.
    error_may_end: bool = False

    _order: tuple[str, ...] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, value: Any, handler: Any) -> Any:
        events = handler(value)
        if isinstance(value, dict):
            events._order = tuple(value)  # noqa: SLF001 - the class sets it itself: pydantic loses the file's order
        return events

    @model_validator(mode="after")
    def _tells_outcome(self) -> Self:
        if self.end == END_OUTCOME and self.done is None:
            raise ValueError('end = "outcome" needs a rule for done')
        return self

    @property
    def tells_whole_text(self) -> bool:
        """Whether an event has the run's whole text, in addition to the tokens."""
        rules = (self.snapshot, self.done, self.error, self.cancelled)
        return any(rule is not None and rule.text is not None for rule in rules)

    @property
    def expressions(self) -> list[Expression]:
        """Those that are applied to events."""
        rules = [rule for _, rule in self.rules((*CONTENTS, *OUTCOMES, "note", "keepalive"))]
        rules += [self.end] if isinstance(self.end, EventRule) else []
        found: list[Expression | None] = [
            self.type,
            self.run_id,
            *(part for rule in rules for part in (rule.where, rule.text, rule.message)),
        ]
        found += [at for _, _, at in self.pairs if isinstance(at, Expression)]
        found += (
            []
            if self.usage is None
            else [self.usage.where, self.usage.output_tokens, self.usage.reasoning_tokens]
        )
        return [expression for expression in found if expression is not None]

    def rules(self, names: tuple[str, ...]) -> list[tuple[str, EventRule]]:
        """The rules of these names that the profile has, in the order of the file."""
        present = [(name, rule) for name in names if (rule := getattr(self, name)) is not None]
        order = {name: place for place, name in enumerate(self._order)}
        return sorted(present, key=lambda pair: order.get(pair[0], len(order)))


class Ids(Part):
    """Where an event's id stands, and what its order is."""

    at: Expression
    #: ms-seq: two numbers, of which the first is the time in milliseconds. counter: one number, each greater by one.
    #: opaque: no order.
    order: Literal["ms-seq", "counter", "opaque"] = "opaque"

    @property
    def in_field(self) -> bool:
        """Whether they are those of the `id` field of the stream, which a client keeps from one event to the next."""
        return self.at == Expression("id")
