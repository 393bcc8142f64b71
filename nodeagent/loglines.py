"""How the agent's log is written, wherever it is hosted: one JSON object a line.

Rule: times are UTC; a traceback never shows the values of variables, which may be secret.
"""

import structlog
from structlog.typing import Processor

PROCESSORS: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
    structlog.processors.JSONRenderer(),
]
