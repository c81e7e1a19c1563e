"""The embedded server with its own count: ``python -m tests.soak.server PORT COUNTS``.

It appends a line for each request to COUNTS before it looks at the request: the time, epoch s, and the idempotency
key. A restarted server continues the same file.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO

from aiohttp import web

from harness.commands.reference_process import LISTENING
from harness.reference import server
from harness.reference.api import ReferenceApi
from harness.reference.settings import ServerSettings

DELAY_S = 0.8
"""Before the first event of a run: a closed loop then sends few runs and needs little CPU time."""

RUNS_KEPT_S = 20.0
"""The memory of the server reaches its level in this time."""


def counting_api(counts: IO[str]) -> type[ReferenceApi]:
    """The correct API, which writes each request to `counts`."""

    class CountingApi(ReferenceApi):
        async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
            if http.method == "POST":
                counts.write(f"{time.time():.6f} {http.headers.get('Idempotency-Key', '-')}\n")
                counts.flush()
            return await super().handle(http)

    return CountingApi


def requests(path: Path) -> list[tuple[float, str]]:
    """Time, epoch s, and key of every request that the server has counted."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(float(at), key) for at, _, key in (line.partition(" ") for line in lines)]


def main(port: int, path: Path) -> None:
    with path.open("a", encoding="utf-8") as counts:
        server.faulty_api = lambda _names, _profile: counting_api(counts)  # type: ignore[assignment]
        settings = ServerSettings(port=port, first_token_delay_s=DELAY_S, run_ttl_s=RUNS_KEPT_S)
        server.serve(settings, on_ready=lambda at: print(f"{LISTENING}http://127.0.0.1:{at}", flush=True))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
