"""The page's login: one password, sessions in memory, and a bound on attempts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from harness.errors import SettingsError

SESSION_S = 12 * 3600.0
"""A session ends after this time, and with the process."""

SHORTEST_PASSWORD = 12
WINDOW_S = 60.0
FAILURES_PER_ADDRESS = 5
"""Wrong passwords from one address in a window; after that even the right one has to wait."""

FAILURES_IN_ALL = 100
"""The same for all addresses together, as one attacker may have many."""

_MOST_SESSIONS = 100
_MOST_ADDRESSES = 1000
_RANDOM_BYTES = 32


class TooManyAttemptsError(Exception):
    """retry_after_s: when the next attempt is possible."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many wrong passwords")
        self.retry_after_s = retry_after_s


def new_password() -> str:
    """A random password of 128 bits."""
    return secrets.token_urlsafe(16)


def checked_password(password: str) -> str:
    """The password. Raises SettingsError if it is short."""
    if len(password) < SHORTEST_PASSWORD:
        raise SettingsError(
            f"the page's password has {len(password)} characters; use at least {SHORTEST_PASSWORD}, or none for a "
            "random one"
        )
    return password


class Login:
    """Checks passwords and keeps sessions. clock: monotonic, in s."""

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._password = _digest(password)
        self._clock = clock
        self._sessions: OrderedDict[bytes, float] = OrderedDict()  # digest of the session's id, end
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()  # address, times
        self._all_failures: deque[float] = deque(maxlen=FAILURES_IN_ALL)

    def open_session(self, password: str, address: str) -> str | None:
        """The id of a new session; None if the password is wrong. Raises TooManyAttemptsError."""
        now = self._clock()
        failures = self._failures.setdefault(address, deque(maxlen=FAILURES_PER_ADDRESS))
        self._failures.move_to_end(address)
        while len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
        for attempts, most in ((failures, FAILURES_PER_ADDRESS), (self._all_failures, FAILURES_IN_ALL)):
            if len(attempts) == most and now - attempts[0] < WINDOW_S:
                raise TooManyAttemptsError(attempts[0] + WINDOW_S - now)
        if not hmac.compare_digest(_digest(password), self._password):
            failures.append(now)
            self._all_failures.append(now)
            return None
        del self._failures[address]
        session = secrets.token_urlsafe(_RANDOM_BYTES)
        self._sessions[_digest(session)] = now + SESSION_S
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def is_open(self, session: str) -> bool:
        """Whether the session exists and has not ended."""
        ends = self._sessions.get(_digest(session))
        return ends is not None and self._clock() < ends


class RequestTokens:
    """CSRF tokens, which every request for a change must carry. Each belongs to one session; "" stands for no login."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(_RANDOM_BYTES)

    def token(self, session: str) -> str:
        """The token of a session."""
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()

    def is_valid(self, token: str, session: str) -> bool:
        """Whether it is this session's token."""
        return hmac.compare_digest(token.encode(), self.token(session).encode())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
