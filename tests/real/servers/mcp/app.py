"""An MCP server (Streamable HTTP) with one tool, which tells its progress piece by piece."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from script import ScriptedCancelError, pieces


class MemoryStore(EventStore):
    """Keeps the events of each stream. An id names its stream and the event's number."""

    def __init__(self) -> None:
        self._events: dict[str, list[Any]] = defaultdict(list)

    async def store_event(self, stream_id: str, message: Any) -> str:
        self._events[stream_id].append(message)
        return f"{stream_id}/{len(self._events[stream_id])}"

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        stream_id, _, number = last_event_id.rpartition("/")
        if stream_id not in self._events or not number.isdecimal():
            return None
        for place, message in enumerate(self._events[stream_id][int(number) :], int(number) + 1):
            if message is not None:
                await send_callback(EventMessage(message, f"{stream_id}/{place}"))
        return stream_id


server = MCPServer("scripted")


@server.tool()
async def tell(prompt: str, context: Context) -> str:
    """Answer a prompt."""
    text, count = "", 0
    try:
        async for piece in pieces(prompt):
            text, count = text + piece, count + 1
            await context.report_progress(count, message=piece)
    except ScriptedCancelError as cancelled:
        raise MCPError(-32800, str(cancelled)) from None
    return text


if __name__ == "__main__":
    app = server.streamable_http_app(event_store=MemoryStore(), max_sessions=None)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
