"""What has been measured of one probe of one container, over all its instances (P20).

Rule: pure; numbers only grow, but for the worst lag.
"""

from dataclasses import dataclass, field

from mesh.exposition.text import Histogram
from nodeagent.probes.state import Outcome


@dataclass(slots=True)
class Count:
    """`results` by result; `took`: seconds until an answer; lag: seconds that this host was late to send."""

    results: dict[str, int] = field(default_factory=dict)
    took: Histogram = field(default_factory=Histogram)
    lag: float = 0.0  # in all
    worst_lag: float = 0.0

    @property
    def runs(self) -> int:
        """How many there were."""
        return sum(self.results.values())

    def add(self, outcome: Outcome, lag: float) -> None:
        """One run."""
        self.results[outcome.result] = self.results.get(outcome.result, 0) + 1
        self.took.observe(outcome.seconds)
        self.lag += lag
        self.worst_lag = max(self.worst_lag, lag)
