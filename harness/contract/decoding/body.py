"""The body of a response that is not a stream, without its codings."""

from __future__ import annotations

from typing import NamedTuple

from harness.contract.decoding.limits import MAX_RESPONSE_BYTES
from harness.protocol.content_coding import BodyDecoder
from harness.protocol.http1 import ResponseHead


class DecodedBody(NamedTuple):
    """fault: why `data` may not be what the server meant: a coding that is wrong or unknown, or a limit; else None."""

    data: bytes
    fault: str | None


def decoded_body(head: ResponseHead | None, body: bytes) -> DecodedBody:
    """The body without its content coding and transfer codings. body: without its chunks."""
    if head is None or not head.body_codings:
        return DecodedBody(body, None)
    decoder, decoded = BodyDecoder(head.body_codings, MAX_RESPONSE_BYTES), bytearray()
    for piece in decoder.feed(body):
        decoded += piece
    return DecodedBody(bytes(decoded), decoder.limit or decoder.fault)
