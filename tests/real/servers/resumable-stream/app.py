"""fastapi-resumable-stream with Redis: POST /runs with an Idempotency-Key, and Last-Event-ID to continue."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse
from fastapi_resumable_stream import ResumableStream, streaming_response
from pydantic import BaseModel
from redis.asyncio import Redis
from script import pieces


class Run(BaseModel):
    message: str


def make_app(redis_port: int) -> FastAPI:
    app = FastAPI()
    streams = ResumableStream(Redis(host="127.0.0.1", port=redis_port, max_connections=2000))

    @app.post("/runs")
    async def start(
        run: Run,
        idempotency_key: str | None = Header(default=None),
        last_event_id: str | None = Header(default=None),
    ) -> StreamingResponse:
        key = idempotency_key or str(uuid.uuid4())

        async def frames() -> AsyncIterator[str]:
            number = 0
            async for piece in pieces(run.message):
                yield _frame(number, {"type": "token", "content": piece})
                number += 1
            yield _frame(number, {"type": "done"})

        stream = await streams.start(key, frames)
        if last_event_id is not None and last_event_id.isdecimal():
            resumed = await streams.resume(key, after=int(last_event_id) + 1)
            assert resumed is not None
            stream = resumed
        return streaming_response(stream)

    return app


def _frame(number: int, event: dict[str, str]) -> str:
    return f"id: {number}\ndata: {json.dumps(event)}\n\n"


if __name__ == "__main__":
    uvicorn.run(make_app(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
