"""Keys as systemd hands them over (`LoadCredential`): in memory that only this service sees.

Rule: what was handed over counts, unless the file that it is of was written since: then that is the newer one. Without
systemd, and where nothing of that name was handed over, it is the file.
"""

import os
from pathlib import Path

DIRECTORY = "CREDENTIALS_DIRECTORY"


def handed(file: Path) -> Path:
    """From where to read a key whose file has this path; credentials have the names of their files."""
    directory = os.environ.get(DIRECTORY, "")
    if not directory:
        return file
    credential = Path(directory) / file.name
    try:
        since = credential.stat().st_mtime_ns
    except OSError:
        return file
    try:
        return file if file.stat().st_mtime_ns > since else credential
    except OSError:  # it is kept elsewhere, and only handed over
        return credential
