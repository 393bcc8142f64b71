"""What one probe costs, by kind: CPU of the agent and of what it spawns, and latency; on a real Podman.

`python benchmarks/probes.py [--runs 200]`; needs root, Podman and busybox-static. CPU is user + system of this process
and its ended children (the OCI runtime and the command in the container); the server's own CPU is not in it.
"""

import argparse
import asyncio
import resource
import statistics
import time

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Result
from nodeagent.probes.wanted import Check, ExecCheck, GrpcCheck, HttpCheck, TcpCheck
from nodeagent.runtime.seen import SeenContainer
from tests.harness.podman import podman_host
from tests.harness.podman_node import Node, a_container, a_pod

SERVER = "mkdir -p /tmp/w; echo ok >/tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"


def cpu() -> float:
    """Seconds of CPU so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


async def measure(checks: RealChecks, check: Check, seen: SeenContainer, runs: int) -> tuple[float, float, float]:
    """(CPU ms each, median ms, p99 ms)."""
    outcome = await checks.perform(check, seen, 5)
    if outcome.result is not Result.SUCCESS:
        raise RuntimeError(outcome.output)
    began, took = cpu(), []
    for _ in range(runs):
        start = time.perf_counter()
        await checks.perform(check, seen, 5)
        took.append((time.perf_counter() - start) * 1000)
    each = (cpu() - began) * 1000 / runs
    return each, statistics.median(took), sorted(took)[int(runs * 0.99)]


async def main(runs: int) -> None:
    """Prints the table."""
    with podman_host() as host:
        node = Node(host)
        await node.start()
        pod = a_pod(1, a_container("main", command=["sh", "-c", SERVER]))
        await node.running(pod)
        ip = node.heard[pod.metadata.uid].status.pod_ip
        seen = (await node.runtime.pods())[pod.metadata.uid].containers[0]
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        checks = RealChecks(node.runtime)
        kinds: list[tuple[str, Check]] = [
            ("http", HttpCheck(ip, 8080)), ("tcp", TcpCheck(ip, 8080)),
            ("grpc (and its server)", GrpcCheck("127.0.0.1", port)), ("exec", ExecCheck(("true",))),
        ]  # fmt: skip
        print(f"{'kind':24}{'CPU ms':>8}{'median ms':>12}{'p99 ms':>10}   over {runs} runs")
        for name, check in kinds:
            each, median, worst = await measure(checks, check, seen, runs)
            print(f"{name:24}{each:8.2f}{median:12.2f}{worst:10.2f}")
        await server.stop(0)
        await node.assign()
        await node.agent.emptied()
        await node.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    asyncio.run(main(parser.parse_args().runs))
