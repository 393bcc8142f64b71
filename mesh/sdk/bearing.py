"""A channel whose every call brings a token, as its file says it at that moment.

Not by gRPC's call credentials: what they leave behind is freed by a thread of gRPC's that waits for the
interpreter while it holds what `Server.stop` needs, and a program that also serves stood still for ever.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc import ChannelConnectivity, aio

from mesh.errors import Unavailable


class Bearing(aio.Channel):
    """The channel, with the token; it is only for channels with TLS."""

    def __init__(self, channel: aio.Channel, file: Path) -> None:
        self._channel, self._file = channel, file

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        return self._with_token(self._channel.unary_unary(*args, **options))

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        return self._with_token(self._channel.unary_stream(*args, **options))

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        return self._with_token(self._channel.stream_unary(*args, **options))

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        return self._with_token(self._channel.stream_stream(*args, **options))

    def _with_token(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, metadata: Any = (), **options: Any) -> Any:
            return method(*args, metadata=(*(metadata or ()), ("authorization", f"Bearer {self._token()}")), **options)

        return call

    def _token(self) -> str:
        """Renewed in its file, so read anew; raises Unavailable."""
        try:
            return self._file.read_text().strip()
        except OSError as error:
            raise Unavailable(f"cannot read the token in {self._file}: {error.strerror}") from error

    async def __aenter__(self) -> "Bearing":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()
