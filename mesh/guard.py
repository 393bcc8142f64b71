"""Keeps the memory of this process off disks: no core dumps, nobody looks in, and no swapping where swap is on.

Rule: what can't be done is said, and stops nothing.
"""

import ctypes
import os
import resource
from pathlib import Path

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def guard() -> list[str]:
    """Does all of it, and says in words what of it this host does not allow."""
    troubles = []
    libc = ctypes.CDLL(None, use_errno=True)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # the hard limit stays: containers may want their dumps
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        troubles.append(f"core dumps can't be turned off: {os.strerror(ctypes.get_errno())}")
    if swap_is_on() and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        why = os.strerror(ctypes.get_errno())
        troubles.append(f"swap is on and memory can't be locked ({why}): secrets may reach a disk; turn swap off")
    return troubles


def swap_is_on(swaps: Path = Path("/proc/swaps")) -> bool:
    """Whether this host swaps to anything."""
    try:
        return len(swaps.read_text().splitlines()) > 1
    except OSError:
        return False
