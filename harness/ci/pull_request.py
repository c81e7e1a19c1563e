"""Posts a comment to the pull request (GitHub) or merge request (GitLab) of a CI job, or updates the earlier one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from harness.booleans import is_whole_number
from harness.config.parsing import shown_address
from harness.contract.evidence.redaction import Redactor
from harness.errors import HarnessError, SettingsError
from harness.formatting import visible
from harness.input_file import SETTINGS_BYTES, read_text

_PAGE_SIZE = 100
_MOST_PAGES = 50
_TIMEOUT_S = 30.0
_LONGEST_S = 120.0  # of all answers together
_MOST_BYTES = 32 * 1024 * 1024  # a hundred comments of 65,536 characters
_PIECE_BYTES = 64 * 1024
_MESSAGE_CHARS = 300
_SEARCHED_CHARS = 4096  # of an answer, for the token
_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header field may have of it
_TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")


class PostError(HarnessError):
    """The comment could not be posted. The message names the address and the reason."""


@dataclass(frozen=True, slots=True)
class CommentThread:
    """The comments of one pull or merge request.

    address: of their list. token: in `headers`, never shown. update_method, update_address: how the comment with an id
    is changed. is_ours: whether a comment may be one that a CI job has posted: anybody can write our marker.
    """

    address: str
    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    update_method: str
    update_address: Callable[[int], str]
    is_ours: Callable[[Mapping[str, Any]], bool]

    def post(self, text: str, marker: str) -> str:
        """Update the newest of our comments that begins with the marker, or add one. Returns "updated" or "added".

        Raises PostError, also if it takes longer than two minutes, whatever the system sends.
        """
        ended: SimpleQueue[str | BaseException] = SimpleQueue()

        def work() -> None:
            try:
                ended.put(self._post(text, marker))
            except BaseException as problem:  # noqa: BLE001 - raised below
                ended.put(problem)

        # A time-out of a socket counts from the last byte, so an answer that trickles in never ends.
        Thread(target=work, daemon=True).start()
        try:
            result = ended.get(timeout=_LONGEST_S)
        except Empty:
            raise PostError(self._sentence(self.address, f"took longer than {_LONGEST_S:g} s")) from None
        if isinstance(result, BaseException):
            raise result
        return result

    def _post(self, text: str, marker: str) -> str:
        earlier = [one for one in self._comments() if self.is_ours(one) and _begins_with(one, marker)]
        if earlier:
            self._ask(self.update_method, self.update_address(int(earlier[-1]["id"])), {"body": text})
            return "updated"
        self._ask("POST", self.address, {"body": text})
        return "added"

    def _comments(self) -> Iterator[Mapping[str, Any]]:
        """All comments, the oldest first."""
        for page in range(1, _MOST_PAGES + 1):
            comments = self._ask("GET", f"{self.address}?per_page={_PAGE_SIZE}&page={page}&sort=asc")
            if not isinstance(comments, list):
                raise PostError(self._sentence(self.address, "did not answer with a list"))
            yield from (one for one in comments if isinstance(one, dict) and is_whole_number(one.get("id")))
            if len(comments) < _PAGE_SIZE:
                return

    def _ask(self, method: str, url: str, body: Mapping[str, str] | None = None) -> Any:
        try:
            with _pool(url) as pool:
                response = pool.request(
                    method,
                    url,
                    body=None if body is None else json.dumps(body),
                    headers={"Content-Type": "application/json", **self.headers},
                    timeout=_TIMEOUT_S,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                try:
                    status, content = response.status, _content(response)
                finally:
                    response.close()
        except (urllib3.exceptions.HTTPError, ValueError) as problem:  # ValueError: not an address
            raise PostError(self._sentence(url, f"cannot be used: {problem}")) from None
        if not 200 <= status < 300:
            reason = content.decode("utf-8", "replace")
            raise PostError(
                f"{self._sentence(url, f'answered {status} to {method}: {reason}')}; may the token write comments?"
            )
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise PostError(self._sentence(url, "did not answer with JSON")) from None

    def _sentence(self, url: str, what: str) -> str:
        """What went wrong, on one line. The API's text may repeat the token."""
        clause = Redactor([self.token]).sentence(what[:_SEARCHED_CHARS])[:_MESSAGE_CHARS]
        return f"cannot post the comment: {visible(shown_address(url))} {clause}"


def _content(response: urllib3.BaseHTTPResponse) -> bytes:
    """The body of an answer. Raises ValueError if it is too large."""
    content = bytearray()
    for piece in response.stream(_PIECE_BYTES, decode_content=True):
        content += piece
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it answered with more than {_MOST_BYTES // 1024**2} MiB")
    return bytes(content)


def _pool(url: str) -> urllib3.PoolManager:
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _begins_with(comment: Mapping[str, Any], marker: str) -> bool:
    return str(comment.get("body", "")).splitlines()[:1] == [marker]


def comment_thread(environment: Mapping[str, str]) -> CommentThread | None:
    """The thread that the environment of a CI job names; None if the job runs for no pull or merge request.

    Raises SettingsError if there is one but no token for it, or if the job is not of a known system.
    """
    if environment.get("GITHUB_ACTIONS") == "true":
        return _github(environment)
    if environment.get("GITLAB_CI") == "true":
        return _gitlab(environment)
    raise SettingsError("comments are posted in jobs of GitHub and GitLab only; this is neither")


def _github(environment: Mapping[str, str]) -> CommentThread | None:
    number = _pull_request_number(environment)
    if number is None:
        return None
    token = _token(environment, "GITHUB_TOKEN", "${{ github.token }} has it, with pull-requests: write")
    api, name = (_required(environment, variable) for variable in ("GITHUB_API_URL", "GITHUB_REPOSITORY"))
    repository = f"{api}/repos/{name}"
    return CommentThread(
        f"{repository}/issues/{number}/comments",
        token,
        {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
        "PATCH",
        lambda comment: f"{repository}/issues/comments/{comment}",
        lambda comment: _is_bot(comment.get("user")) or comment.get("author_association") in _TRUSTED,
    )


def _pull_request_number(environment: Mapping[str, str]) -> int | None:
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        return None
    try:
        event = json.loads(read_text(Path(path), "GitHub's event file", 32 * SETTINGS_BYTES))
        number = event["pull_request"]["number"]
    except (ValueError, KeyError, TypeError, RecursionError):  # an event without a pull request
        return None
    return number if is_whole_number(number) else None


def _gitlab(environment: Mapping[str, str]) -> CommentThread | None:
    number = environment.get("CI_MERGE_REQUEST_IID")
    if not number:
        return None
    token = _token(
        environment, "GITLAB_TOKEN", "a project access token with the scope api, as a masked variable"
    )
    project = quote(_required(environment, "CI_MERGE_REQUEST_PROJECT_ID"), safe="")
    api = _required(environment, "CI_API_V4_URL")
    notes = f"{api}/projects/{project}/merge_requests/{quote(number, safe='')}/notes"
    return CommentThread(
        notes,
        token,
        {"PRIVATE-TOKEN": token},
        "PUT",
        lambda comment: f"{notes}/{comment}",
        lambda comment: not comment.get("system"),
    )


def _is_bot(user: Any) -> bool:
    """Whether a comment is a bot's; the user of an account that was deleted may be null."""
    return isinstance(user, dict) and user.get("type") == "Bot"


def _required(environment: Mapping[str, str], variable: str) -> str:
    value = environment.get(variable)
    if not value:
        raise SettingsError(f"{variable} is not set, which a CI job of this system has")
    return value


def _token(environment: Mapping[str, str], variable: str, hint: str) -> str:
    token = environment.get(variable)
    if not token:
        raise SettingsError(
            f"{variable} is not set; the comment needs a token that may write comments: {hint}"
        )
    if not _TOKEN.fullmatch(token):
        raise SettingsError(
            f"{variable} is not a token: it has blanks, line breaks or other than ASCII characters"
        )
    return token
