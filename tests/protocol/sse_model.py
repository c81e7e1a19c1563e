"""A direct implementation of WHATWG HTML 9.2.6 for a whole stream: the reference for the decoder's random tests.

It is slow, not incremental, and written only from the text of the standard. It works on decoded text, the decoder on
bytes.
"""

import re
from dataclasses import dataclass, field


@dataclass
class Block:
    """The effect of the lines up to one blank line."""

    data: str | None = None
    event: str = ""
    own_id: str | None = None
    last_event_id: str = ""
    retry_ms: int | None = None
    comments: list[str] = field(default_factory=list)
    empty: bool = True


def interpret(stream: bytes) -> list[Block]:
    """The blocks of `stream`, without empty ones and the incomplete one."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unfinished = re.split("\r\n|\n|\r", text)
    blocks: list[Block] = []
    block = Block()
    last_event_id = ""
    for line in lines:
        if line:
            block.empty = False
            _process(line, block)
            continue
        if block.own_id is not None:
            last_event_id = block.own_id
        block.last_event_id = last_event_id
        if block.data is not None:
            block.data = block.data[:-1]  # the final line feed
        if not block.empty:
            blocks.append(block)
        block = Block()
    return blocks


def _process(line: str, block: Block) -> None:
    name, value = line, ""
    if ":" in line:
        name, value = line.split(":", 1)
        value = value[1:] if value[:1] == " " else value
    if name == "":
        block.comments.append(value)
    elif name == "data":
        block.data = (block.data or "") + value + "\n"
    elif name == "event":
        block.event = value
    elif name == "id" and "\0" not in value:
        block.own_id = value
    elif name == "retry" and value and all(char in "0123456789" for char in value):
        block.retry_ms = int(value)
