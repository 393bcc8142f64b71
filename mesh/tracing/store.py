"""A store whose commits are followed; see `walks`."""

from collections.abc import Sequence
from typing import Any, cast

from mesh.store.port import Store, Write
from mesh.tracing.walks import Walks


def followed(store: Store, walks: Walks) -> Store:
    """The same store; `walks` hears of each commit that went well."""
    return cast("Store", _Followed(store, walks))  # it has every method, by way of __getattr__


class _Followed:
    def __init__(self, inner: Store, walks: Walks) -> None:
        self._inner = inner
        self._walks = walks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, writes: Sequence[Write]) -> int:
        """See Store."""
        began = self._walks.now()
        revision = await self._inner.commit(writes)
        self._walks.committed(writes, began)
        return revision
