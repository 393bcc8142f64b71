"""The kubelet's summary (G7) out of two samples: what is used now, and how fast between the two.

Rule: pure. A rate is there only when both samples know the thing; nothing is guessed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.model.times import SECOND, format_rfc3339, to_timestamp
from mesh.v1 import stats_pb2 as pb
from nodeagent.stats.subjects import RunningContainer, Subject, memory_limit
from nodeagent.stats.values import Cpu, Filesystem, Group, Held, HostReading, Interface, Memory, Sample, Size

POD_INTERFACE = "eth0"  # what a pod calls its only one


class Summarizer:
    """Two samples, the older one perhaps without some of the pods; `held`: the sizes known, by uid."""

    def __init__(self, before: Sample | None, now: Sample, held: Mapping[str, Held], held_at: int = 0) -> None:
        self._before = before if before is not None and before.at < now.at else None
        self._now = now
        self._held = held
        self._held_at = to_timestamp(held_at)
        self._time = to_timestamp(now.at)

    def whole(self, node: str, root: str, subjects: Iterable[Subject]) -> pb.Summary:
        """Of the host `node`, whose data lies below `root`."""
        host = self._now.host
        fs = filesystem_of(host, root)
        summary = pb.Summary(pods=[self._pod(s, fs) for s in subjects])
        summary.node.CopyFrom(self._node(node, host, fs))
        return summary

    def _node(self, name: str, host: HostReading, fs: Filesystem | None) -> pb.NodeStats:
        before = self._before.host.cpu_used if self._before else None
        memory = pb.MemoryStats(
            time=self._time, usage_bytes=host.memory_used, working_set_bytes=host.working_set,
            available_bytes=max(host.memory.get("MemTotal", 0) - host.working_set, 0),
            rss_bytes=host.memory.get("AnonPages", 0), page_faults=host.faults, major_page_faults=host.major_faults,
        )  # fmt: skip
        swap_total, swap_free = host.memory.get("SwapTotal", 0), host.memory.get("SwapFree", 0)
        stats = pb.NodeStats(
            node_name=name, start_time=to_timestamp(host.boot_time * SECOND), memory=memory,
            cpu=self._cpu(host.cpu_used, before),
            rlimit=pb.RlimitStats(time=self._time, maxpid=host.pid_limit, curproc=host.processes),
            swap=pb.SwapStats(
                time=self._time, swap_available_bytes=swap_free, swap_usage_bytes=swap_total - swap_free
            ),
            network=self._network({n: i for n, i in host.interfaces.items() if not _is_ours(n)}),
        )  # fmt: skip
        if fs is not None:
            stats.fs.CopyFrom(_fs(fs, self._time, fs.size - fs.free, fs.inodes - fs.inodes_free))
        return stats

    def _pod(self, subject: Subject, fs: Filesystem | None) -> pb.PodStats:
        group, held = self._now.groups.get(subject.cgroup, Group()), self._held.get(subject.uid)
        stats = pb.PodStats(
            pod_ref=pb.PodReference(name=subject.name, namespace=subject.namespace, uid=subject.uid),
            start_time=to_timestamp(subject.since), cpu=self._group_cpu(subject.cgroup, group.cpu),
            memory=self._memory(group.memory, memory_limit(subject)),
            containers=[self._container(c, held, fs) for c in subject.containers],
        )  # fmt: skip
        if interface := self._now.host.interfaces.get(subject.link):
            stats.network.CopyFrom(self._network({POD_INTERFACE: interface.other_end()}))
        if group.threads is not None:
            stats.process_stats.process_count = group.threads
        if held is not None:
            stats.ephemeral_storage.CopyFrom(self._size(fs, held.total))
            stats.volume.extend(
                pb.VolumeStats(name=name, time=self._held_at, used_bytes=size[0], inodes_used=size[1])
                for name, size in held.volumes.items()
            )
        return stats

    def _container(self, container: RunningContainer, held: Held | None, fs: Filesystem | None) -> pb.ContainerStats:
        group = self._now.groups.get(container.cgroup, Group())
        stats = pb.ContainerStats(
            name=container.name, start_time=to_timestamp(container.started_at),
            cpu=self._group_cpu(container.cgroup, group.cpu),
            memory=self._memory(group.memory, container.memory_limit),
        )  # fmt: skip
        if group.memory:
            stats.swap.CopyFrom(pb.SwapStats(time=self._time, swap_usage_bytes=group.memory.swap))
        if held is not None and container.name in held.roots:
            stats.rootfs.CopyFrom(self._size(fs, held.roots[container.name]))
        if held is not None and container.name in held.logs:
            stats.logs.CopyFrom(self._size(fs, held.logs[container.name]))
        return stats

    def _group_cpu(self, path: str, cpu: Cpu | None) -> pb.CPUStats | None:
        if cpu is None:
            return None
        before = self._before.groups.get(path) if self._before else None
        return self._cpu(cpu.usage, before.cpu.usage if before and before.cpu else None)

    def _cpu(self, used: int, before: int | None) -> pb.CPUStats:
        stats = pb.CPUStats(time=self._time, usage_core_nano_seconds=used)
        if before is not None and self._before is not None and used >= before:
            stats.usage_nano_cores = (used - before) * SECOND // (self._now.at - self._before.at)
        return stats

    def _memory(self, memory: Memory | None, limit: int) -> pb.MemoryStats | None:
        if memory is None:
            return None
        stats = pb.MemoryStats(
            time=self._time, usage_bytes=memory.usage, working_set_bytes=memory.working_set, rss_bytes=memory.rss,
            page_faults=memory.faults, major_page_faults=memory.major_faults,
        )  # fmt: skip
        if limit:
            stats.available_bytes = max(limit - memory.working_set, 0)
        return stats

    def _network(self, interfaces: Mapping[str, Interface]) -> pb.NetworkStats:
        every = [
            pb.InterfaceStats(name=n, rx_bytes=i.rx_bytes, rx_errors=i.rx_errors, tx_bytes=i.tx_bytes,
                              tx_errors=i.tx_errors) for n, i in interfaces.items()
        ]  # fmt: skip
        stats = pb.NetworkStats(time=self._time, interfaces=every)
        if every:
            busiest = max(every, key=lambda i: i.rx_bytes + i.tx_bytes)
            stats.name, stats.rx_bytes, stats.rx_errors = busiest.name, busiest.rx_bytes, busiest.rx_errors
            stats.tx_bytes, stats.tx_errors = busiest.tx_bytes, busiest.tx_errors
        return stats

    def _size(self, fs: Filesystem | None, size: Size) -> pb.FsStats:
        if fs is None:
            return pb.FsStats(time=self._held_at, used_bytes=size[0], inodes_used=size[1])
        return _fs(fs, self._held_at, *size)


def filesystem_of(host: HostReading, place: str) -> Filesystem | None:
    """The one that a path lies on."""
    holding = [f for f in host.filesystems if place == f.mountpoint or place.startswith(f.mountpoint.rstrip("/") + "/")]
    return max(holding, key=lambda f: len(f.mountpoint), default=None)


def _fs(fs: Filesystem, at: Timestamp, used: int, inodes_used: int) -> pb.FsStats:
    return pb.FsStats(
        time=at, available_bytes=fs.available, capacity_bytes=fs.size, used_bytes=used,
        inodes=fs.inodes, inodes_free=fs.inodes_free, inodes_used=inodes_used,
    )  # fmt: skip


def _is_ours(interface: str) -> bool:
    """The host's end of a pod's network, or what never leaves the host."""
    return interface == "lo" or (len(interface) == 15 and interface[0] == "v" and not interface.startswith("veth"))


def as_json(message: Message) -> dict[str, Any]:
    """As the kubelet writes it: numbers are numbers, what is absent is left out."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            found[field.json_name] = value
        elif isinstance(value, Timestamp):
            found[field.json_name] = format_rfc3339(value)
        elif isinstance(value, Message):
            found[field.json_name] = as_json(value)
        else:
            found[field.json_name] = [as_json(one) for one in value]
    return found
