"""A host that asks an HTTP server all the while, by http_load.py."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.hosts import FakeHost
from tests.harness.pythonpod import REPOSITORY

WORKERS = 8  # requests at once


def loading(host: FakeHost, address: str, mode: str, rate: int) -> "subprocess.Popen[str]":
    """The program on that host; its output and its end are told by itself."""
    program = str(REPOSITORY / "tests" / "harness" / "http_load.py")
    call = host.command(sys.executable, program, address, "80", str(WORKERS), mode, str(rate))
    pipe = subprocess.PIPE
    return subprocess.Popen(call, stdin=pipe, stdout=pipe, text=True, env=host.environment(), cwd="/")


@contextmanager
def load(host: FakeHost, address: str, mode: str, rate: int) -> Iterator[dict[str, Any]]:
    """Asks from its first answer on; what it came to is in the dictionary afterwards."""
    told: dict[str, Any] = {}
    with loading(host, address, mode, rate) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield told
        process.stdin.close()
        told |= json.loads(process.stdout.read())
