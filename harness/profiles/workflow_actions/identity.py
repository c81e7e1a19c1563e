"""When an event that is received again is the same event: its id, its name and the JSON value of its data."""

from __future__ import annotations

import msgspec

from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.protocol.json_values import canonical_text, tagged_value

_RUN_ID = "runId"


class EventIdentity(msgspec.Struct, eq=False, gc=False):
    """An event as it must be wherever it is received again. Equal by value, hashable.

    id: None if the event has none. data: its data, as it was written. name: its `event` field; empty if it is absent
    or ``message``, which mean the same. The runId of a terminal event makes no difference: only run-id.constant checks
    that. Data are compared as values only if they are written differently, since nearly all are written alike.
    """

    id: str | None
    data: str | None
    name: str = ""
    _value: str | None = None

    @property
    def value(self) -> str:
        """The data in canonical form; as written if they are not JSON."""
        if self._value is None:
            self._value = _canonical(self.data or "")
        return self._value

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, EventIdentity):
            return NotImplemented
        if self.id != other.id or self.name != other.name:
            return False
        if self.data == other.data:
            return True
        return self.data is not None and other.data is not None and self.value == other.value

    def __ne__(self, other: object) -> bool:  # that of Struct compares identities
        return not self == other

    def __hash__(self) -> int:
        return hash(self.value if self.id is None else self.id)


def _canonical(data: str) -> str:
    try:
        value = tagged_value(data)
        if isinstance(value, dict) and isinstance(kind := value.get("type"), str) and kind in TERMINAL_TYPES:
            value = {name: member for name, member in value.items() if name != _RUN_ID}
        return canonical_text(value)
    except (ValueError, RecursionError):
        return data
