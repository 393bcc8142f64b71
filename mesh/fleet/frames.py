"""Frames between meshd and its Ray child: a big-endian 32-bit length, then one BridgeFrame.

Rule: no frame is larger than LIMIT; a longer one, or a broken one, ends the connection.
"""

import asyncio

from google.protobuf.message import DecodeError

from mesh.v1 import bridge_pb2

LIMIT = 256 * 1024 * 1024


async def read_frame(reader: asyncio.StreamReader) -> bridge_pb2.BridgeFrame | None:
    """The next frame; None at the end of the stream, or of what can be understood of it."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > LIMIT:
            return None
        return bridge_pb2.BridgeFrame.FromString(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError, DecodeError):
        return None


def write_frame(writer: asyncio.StreamWriter, frame: bridge_pb2.BridgeFrame) -> None:
    """Queues a frame; frames of one task keep their order."""
    data = frame.SerializeToString()
    writer.write(len(data).to_bytes(4, "big") + data)
