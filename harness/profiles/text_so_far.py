"""The text of a run's tokens so far, by part, to be compared with events that repeat the whole text."""

from __future__ import annotations


class TextSoFar:
    """The tokens of each part, in order. To add one takes no longer the more there are."""

    def __init__(self) -> None:
        self._tokens: dict[str | None, list[str]] = {}
        self._lengths: dict[str | None, int] = {}

    def add(self, part: str | None, text: str) -> None:
        """Add a token."""
        self._tokens.setdefault(part, []).append(text)
        self._lengths[part] = self._lengths.get(part, 0) + len(text)

    def of(self, part: str | None) -> str:
        """The tokens of a part, joined."""
        tokens = self._tokens.get(part, [])
        if len(tokens) > 1:
            tokens[:] = ["".join(tokens)]
        return tokens[0] if tokens else ""

    def ends(self, part: str | None, whole: str, *, exactly: bool = False) -> bool:
        """Whether a whole text ends with the tokens of its part. exactly: whether it is all of them.

        It takes no longer than reading `whole` did, however long the tokens are.
        """
        length = self._lengths.get(part, 0)
        if length > len(whole) or (exactly and length < len(whole)):
            return False
        return whole.endswith(self.of(part))
