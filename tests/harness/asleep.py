"""Does nothing until it is told to end: a client that tests run commands in."""

import signal

signal.sigwait({signal.SIGTERM})
