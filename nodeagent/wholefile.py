"""Files of the agent's own that appear whole or not at all, readable by root alone.

Rule: blocking. The new file is written beside the old one and takes its place; whoever reads sees one of them.
"""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replaces a file by a new one of mode 0600; `durable`: it is on the disk afterwards. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
