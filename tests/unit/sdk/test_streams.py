"""What goes into a running command."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mesh.sdk.streams import ExecStream
from mesh.v1.control_pb2 import ExecInput, ExecOutput, ExecStart


class Call:
    """As gRPC: one write at a time, or an error."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.free = True

    async def write(self, message: ExecInput) -> None:
        if not self.free:
            raise RuntimeError("too many operations")
        self.free = False
        await asyncio.sleep(0)
        self.free = True
        self.written.append(str(message.WhichOneof("what")))

    async def __aiter__(self) -> AsyncIterator[ExecOutput]:
        yield ExecOutput()  # it is open

    def cancel(self) -> bool:
        return True


async def test_a_window_that_is_resized_while_someone_types_loses_neither() -> None:
    call: Any = Call()
    async with ExecStream(call, ExecInput(start=ExecStart()), "there") as stream:
        await asyncio.gather(stream.write(b"x" * 100_000), stream.resize(50, 132), stream.close_stdin())
    assert sorted(call.written) == ["close_stdin", "resize", "start", *["stdin"] * 4]
