"""The end of a blocking client."""

import asyncio
import gc
from typing import Any

import pytest

from mesh.sdk import blocking


async def test_a_closed_client_leaves_no_task_behind_that_is_complained_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner:
        async def close(self) -> None:
            self.left = asyncio.create_task(asyncio.sleep(3600))

    async def make(*_: Any) -> Inner:
        return Inner()

    monkeypatch.setattr(blocking, "_make", make)
    complaints: list[str] = []
    client = blocking.Client()
    client._loop.set_exception_handler(lambda _, what: complaints.append(what["message"]))
    client.close()
    del client
    gc.collect()
    assert not complaints
