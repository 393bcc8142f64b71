"""What a host last said, put together from its news: complete, so that it can be looked at again at any time.

Rule: news replace what they name; a full answer of the host replaces everything.
"""

from collections.abc import Iterable, Sequence

from mesh.model import protocol
from mesh.v1.core_pb2 import Node
from mesh.v1.node_pb2 import NodeReport, Observed, PodReport, Protocol, Refusal, SecretReceipt

COMPARED = 10.0  # seconds that a Node which nobody has changed counts as what its host, which says nothing new, wants


class Picture:
    """One host's last words. `boot` is empty until the first of them."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.boot = ""
        self.version = 0
        self.protocol = 0  # that the agent speaks
        self.skew = ""  # why there is no talking with it; empty: there is
        self._report: NodeReport | None = None
        self._pods: dict[str, PodReport] = {}
        self._refused: set[tuple[str, bytes]] = set()  # refusals that were told, by boot
        self._compared: tuple[Node | None, float] = (None, 0.0)  # with these words, and when

    def take(self, observed: Observed) -> Observed:
        """Adds the news; returns what to write of them: the news, with the host's own report always in."""
        if observed.HasField("report"):
            self._report = observed.report
        if observed.full:
            self._pods.clear()
            self._hear(observed.protocol)
        for report in observed.pods:
            self._pods[report.uid] = report
        self.boot, self.version = observed.boot, observed.version
        if self._report is None or observed.HasField("report"):
            return observed
        news = Observed()
        news.CopyFrom(observed)
        news.report.CopyFrom(self._report)
        return news

    def refusals(self, observed: Observed) -> list[Refusal]:
        """Those that it has not told before, in this life of its agent."""
        fresh = {(observed.boot, r.SerializeToString(deterministic=True)): r for r in observed.refusals}
        new = [refusal for key, refusal in fresh.items() if key not in self._refused]
        self._refused = {key for key in self._refused if key[0] == observed.boot} | fresh.keys()
        return new

    def is_news(self, observed: Observed) -> bool:
        """Whether the host says anything that it has not said before."""
        said = observed.full or observed.HasField("report") or observed.pods or observed.events
        return bool(said) or observed.boot != self.boot

    def is_compared(self, node: Node | None, now: float) -> bool:
        """Whether this very Node was compared with the host's words a moment before `now`; if not, it will be now."""
        held, at = self._compared
        if node is not None and node is held and now - at < COMPARED:
            return True
        self._compared = node, now
        return False

    def doubt(self) -> None:
        """What was compared counts no more: the host's next word is looked at, whatever it is."""
        self._compared = None, 0.0

    def _hear(self, said: Protocol) -> None:
        self.protocol = protocol.spoken(said)
        self.skew = protocol.why_not(f"the agent of {self.node}", said)

    def again(self, uids: Iterable[str]) -> Observed:
        """The last words about some pods, without the host's own report, which only the host itself may renew."""
        return Observed(node=self.node, boot=self.boot, pods=[self._pods[uid] for uid in uids if uid in self._pods])

    def receipts(self, uid: str) -> Sequence[SecretReceipt]:
        """Which Secrets are in a pod, as the host last said."""
        report = self._pods.get(uid)
        return report.secrets if report is not None else ()

    def knows(self, uid: str) -> bool:
        """Whether the host said anything of this pod."""
        return uid in self._pods

    def forget(self, uid: str) -> None:
        """Drops a pod whose object is gone and of which the host said that nothing is left; a mirror stays."""
        report = self._pods.get(uid)
        if report is not None and report.gone:
            del self._pods[uid]
