"""Frames between meshd and its Ray child."""

import asyncio

import pytest

from mesh.fleet.frames import LIMIT, read_frame
from mesh.v1 import bridge_pb2, node_pb2

FRAME = bridge_pb2.BridgeFrame(answer=bridge_pb2.BridgeAnswer(id=7, reply=node_pb2.Reply(payload=b"x" * 100_000)))


def framed(frame: bridge_pb2.BridgeFrame) -> bytes:
    data = frame.SerializeToString()
    return len(data).to_bytes(4, "big") + data


async def read_all(data: bytes) -> list[bridge_pb2.BridgeFrame]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while frame := await read_frame(reader):
        found.append(frame)
    return found


async def test_frames_keep_their_order_and_bounds() -> None:
    other = bridge_pb2.BridgeFrame(hosts=bridge_pb2.BridgeHosts(connected=True, nodes=["a", "b"]))
    assert await read_all(framed(FRAME) + framed(other)) == [FRAME, other]


@pytest.mark.parametrize(
    "end",
    [b"", b"\0\0", framed(FRAME)[:-1], (LIMIT + 1).to_bytes(4, "big") + b"x", b"\0\0\0\2\xff\xff"],
    ids=["nothing", "half a length", "half a frame", "too long", "no message"],
)
async def test_what_is_broken_is_the_end(end: bytes) -> None:
    assert await read_all(framed(FRAME) + end) == [FRAME]
