"""Takes as many MiB of memory as it is told and keeps them: `python eater.py MIB`; standard library alone."""

import signal
import sys

held = bytearray()
for _ in range(int(sys.argv[1])):
    held += b"\1" * (1 << 20)
signal.pause()
