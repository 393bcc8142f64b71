"""The first process of an ephemeral mesh: brings it up, runs the command, ends the pods (`mesh.supervision.ephemeral`).

Rule: what it says goes to standard error: standard output is the command's.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from mesh.cli import failure
from mesh.cli.steps import Steps
from mesh.cli.up import bring_up
from mesh.errors import Unavailable
from mesh.supervision import ephemeral, up
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host
from mesh.supervision.setup import Told

NAME = "here"


def run(command: Sequence[str]) -> int:
    """The exit code: the command's, or 1 where there was no mesh."""
    try:
        ephemeral.settle()
        os.environ["MESHCONFIG"] = str(ephemeral.CONTEXT)
        told = Told(NAME, ephemeral.ADDRESS, (f"{ephemeral.ADDRESS}:7443",), "", "ephemeral", str(ephemeral.CONTEXT))
        host = Host(Layout(ephemeral.ROOT), told.node_name, told.node_ip, told.listen, control_groups="none")
        with Steps(color=False, quiet=True) as steps:
            bring_up(host, told, steps)
        code = ephemeral.keep(command)
        with contextlib.suppress(Unavailable):  # pods that did not end in time are ended with everything else
            up.drain(host, ephemeral.GRACE, lambda _words: None)
    except BaseException as error:  # noqa: BLE001 - the last place before the user
        return failure.report(error)
    return code


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # the first process of a namespace hears only what it listens to
    sys.exit(run(sys.argv[1:]))
