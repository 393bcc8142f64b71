"""Podman's REST service over its socket: the one place that imports podman-py, of which only the session is used.

Rules: calls block and are run on the pool of `Rest`, at most eight at a time; what fails is `Refused` (the service
said no) or `Away` (no answer: whether the call took effect is unknown, list again).
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import requests
from podman import PodmanClient
from podman.errors import APIError

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8


class Refused(Exception):  # noqa: N818 - the service's answer
    """The service answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Away(Exception):  # noqa: N818 - a condition of the service
    """The service does not answer."""


class Rest:
    """One service."""

    def __init__(self, socket: Path, *, pulls: int = 4) -> None:
        self._api = PodmanClient(base_url=f"unix://{socket}", max_pool_size=THREADS + pulls + 1).api
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="podman")
        self._pulls = ThreadPoolExecutor(pulls + 1, thread_name_prefix="podman-pull")

    def close(self) -> None:
        """Ends connections; calls under way fail."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pulls.shutdown(wait=False, cancel_futures=True)
        self._api.close()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work on the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))

    async def run_pull(self, work: Callable[[], T]) -> T:
        """Runs work that may take minutes, a pull or a load, on a pool of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._pulls, work)

    def upload(self, path: str, file: Path) -> Any:
        """Posts a file, piece by piece, blocking; the parsed answer."""
        try:
            with file.open("rb") as data:
                headers = {"content-type": "application/x-tar"}
                answer = self._api.post(path, data=data, headers=headers, timeout=(10, 600))
                answer.raise_for_status()
                return answer.json()
        except APIError as error:
            raise _failure(error) from error
        except requests.RequestException as error:
            raise Away(str(error)) from error

    async def ask(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """One call; the parsed answer, None when it is empty."""
        return await self.run(self.call, method, path, body, **query)

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """`ask`, blocking."""
        options: dict[str, Any] = {"params": query, "timeout": (10, 180)}
        if body is not None:
            options |= {"data": json.dumps(body), "headers": {"content-type": "application/json"}}
        try:
            answer = getattr(self._api, method)(path, **options)
            answer.raise_for_status()
            return answer.json() if answer.content else None
        except APIError as error:
            raise _failure(error) from error

    def lines(
        self, path: str, headers: Mapping[str, str], *, compatible: bool = False, **query: str
    ) -> Iterator[dict[str, Any]]:
        """The objects of a streamed answer to a POST, blocking; ten minutes of silence end it. `compatible`: of
        Podman's other interface, that of Docker."""
        options: dict[str, Any] = {"params": query, "headers": headers, "stream": True, "timeout": (10, 600)}
        try:
            answer = self._api.post(path, compatible=compatible, **options)
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line:
                    yield json.loads(line)
        except APIError as error:
            raise _failure(error) from error
        except requests.RequestException as error:
            raise Away(str(error)) from error


def _failure(error: APIError) -> Refused | Away:
    if error.response is None:
        return Away(str(error.__cause__ or error))
    return Refused(error.response.status_code, str(error.explanation or error))
