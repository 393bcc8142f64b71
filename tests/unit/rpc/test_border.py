"""The end of a stream whose writer fails while it is being ended: nobody hears of a failure that nobody waits for."""

import asyncio
import gc
from typing import Any

from mesh.errors import Unavailable
from mesh.exposition.tally import Tally
from mesh.rpc.audit import NoAudit
from mesh.rpc.border import _Passage
from mesh.rpc.gate import Gate
from mesh.view import View


class Caller:
    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


async def test_a_writer_that_fails_as_its_stream_is_ended_is_not_complained_of() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what["message"]))
    writing = asyncio.Event()

    async def write() -> None:
        try:
            writing.set()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise RuntimeError("the client is gone") from None

    async def ended() -> bool:
        gate = Gate(View(), NoAudit(), lambda: 0)
        passage = _Passage(gate, "/mesh.v1.Pods/Logs", Caller(), Tally())  # type: ignore[arg-type] # of a context
        stream = asyncio.ensure_future(passage.until_ended(write()))
        await writing.wait()
        passage.end(Unavailable("meshd is stopping"))
        await asyncio.wait({stream})
        return isinstance(stream.exception(), Unavailable)

    assert await ended()
    gc.collect()
    assert not complaints
