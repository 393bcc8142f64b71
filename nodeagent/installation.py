"""Which installation of the mesh this host is: a word made once for all that lies below its root.

Rule: it is lost with the root and with nothing else: a host that was reinstalled is another host to meshd, whatever it
is called (docs/hosts.md).
"""

import os
import uuid
from pathlib import Path

from nodeagent.wholefile import write_whole


def installation(state: Path) -> str:
    """The word in the agent's state directory, made now if there is none; blocks; raises OSError."""
    path = state / "installation"
    try:
        if held := path.read_text().strip():
            return held
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = str(uuid.UUID(bytes=os.urandom(16), version=4))
    write_whole(path, made.encode(), durable=True)
    return made
