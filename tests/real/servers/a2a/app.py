"""An a2a-sdk agent over HTTP+JSON, whose answer is scripted."""

from __future__ import annotations

import sys

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes.rest_routes import create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, Part, Task, TaskState, TaskStatus
from script import ScriptedCancelError, ScriptedError, pieces
from starlette.applications import Starlette


class Scripted(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        task_id, context_id = context.task_id or "", context.context_id or ""
        if context.current_task is None:
            await event_queue.enqueue_event(
                Task(
                    id=task_id,
                    context_id=context_id,
                    status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
                    history=[context.message] if context.message else [],
                )
            )
        updater = TaskUpdater(event_queue, task_id, context_id)
        await updater.start_work()
        first = True
        try:
            async for piece in pieces(context.get_user_input()):
                await updater.add_artifact(
                    [Part(text=piece)], artifact_id="answer", append=None if first else True
                )
                first = False
        except ScriptedError as problem:
            await updater.failed(updater.new_agent_message([Part(text=str(problem))]))
            return
        except ScriptedCancelError:
            await updater.cancel()
            return
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


if __name__ == "__main__":
    port = int(sys.argv[1])
    card = AgentCard(
        name="scripted",
        description="Answers what the script says.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text"],
        default_output_modes=["text"],
        supported_interfaces=[
            AgentInterface(
                url=f"http://127.0.0.1:{port}", protocol_binding="HTTP+JSON", protocol_version="1.0"
            )
        ],
    )
    handler = DefaultRequestHandler(
        agent_executor=Scripted(), task_store=InMemoryTaskStore(), agent_card=card
    )
    app = Starlette(routes=create_rest_routes(handler))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
