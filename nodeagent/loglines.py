"""How the agent's log is written, wherever it is hosted: one JSON object a line.

Rule: errors are told in full, times are UTC.
"""

import structlog
from structlog.typing import Processor

PROCESSORS: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.dict_tracebacks,
    structlog.processors.JSONRenderer(),
]
