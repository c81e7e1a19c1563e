"""Texts that would run a script in a page that does not escape them, and a server that sends nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.load.run_server import Behaviour, RunServer

_CALL = "window.ran=(window.ran||0)+1"
SCRIPTS = (
    f"<script>{_CALL}</script>",
    f"</script><script>{_CALL}</script>",
    f"<img src=x onerror={_CALL}>",
    f"\"><img src=x onerror='{_CALL}'>",
    f"' onmouseover={_CALL} autofocus onfocus={_CALL} x='",
    f'" onload={_CALL} x="',
    f"<svg onload={_CALL}>",
    f"</text></svg><svg onload={_CALL}>",
    f"<svg><animate onbegin={_CALL} attributeName=x dur=1s>",
    f"</title><script>{_CALL}</script>",
    f"</style><script>{_CALL}</script>",
    f"</textarea><script>{_CALL}</script>",
    f"--><script>{_CALL}</script>",
    f"]]><script>{_CALL}</script>",
    f"<iframe srcdoc='<script>parent.{_CALL}</script>'>",
    f"<a href=javascript:{_CALL}>x</a>",
    f"javascript:{_CALL}",
    f"<base href=//evil.example/><math><mi//xlink:href='javascript:{_CALL}'>",
    f"<link rel=stylesheet href=//evil.example/x.css><meta http-equiv=refresh content='0;url=javascript:{_CALL}'>",
    f"${{{_CALL}}}{{{{constructor.constructor('{_CALL}')()}}}}",
    f"`;{_CALL};`",
    f'";{_CALL};//',
    f"';{_CALL};//",
    f"\\u003cscript\\u003e{_CALL}\\u003c/script\\u003e",
    f"&lt;script&gt;{_CALL}&lt;/script&gt;",
    f"<scr\x00ipt>{_CALL}</scr\x00ipt>",
    f"\u2028;{_CALL};\u2029",
    f"%3Cscript%3E{_CALL}%3C/script%3E",
    f"[x](javascript:{_CALL})",
    f"=cmd|' /C calc'!A0<script>{_CALL}</script>",
    f"__proto__<img src=x onerror={_CALL}>",
)
"""Each sets `window.ran`, if it runs."""


class HostileServer(RunServer):
    """Its event types, run ids, event ids and messages, and its header fields, are such texts, one after another."""

    def _events(self, number: int, fault: str) -> list[bytes]:
        del fault
        text = SCRIPTS[number % len(SCRIPTS)]
        line = text.replace("\x00", "").replace("\u2028", "")
        events: list[tuple[str, dict[str, Any]]] = [
            (line, {"type": text, "content": text}),
            (line, {"type": "token", "content": text, text: text}),
            ("1790000000000-2", {"type": "token", "content": text}),
            (
                "1790000000000-3",
                {"type": "error", "code": text, "message": text, "runId": text}
                if number % 3
                else {"type": "done", "runId": text, text: text},
            ),
        ]
        return [
            f"event: {line}\nid: {event_id}\ndata: {json.dumps(data)}\n\n".encode()
            for event_id, data in events
        ]


@contextmanager
def hostile_server(**behaviour: Any) -> Iterator[HostileServer]:
    with HostileServer(Behaviour(**behaviour)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
