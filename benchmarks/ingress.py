"""Requests per second through Ingress and through an HAProxy configuration written by hand, same pods, one run.

Needs root, wrk and haproxy of the distribution. Both write the same access log (to nowhere), tell pods who asks and
have the same timeouts; the third column is the configuration by hand without a log. Short rounds take turns, and the
ratio is the median of the rounds' own: compare columns of one run, never of two days. Where others work too, requests
for each second of CPU that the HAProxy itself used say more than requests for each second.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mesh import pki
from netproxy.ingress.haproxy import LOG
from tests.harness.ingress import MEMORY, NOW_SECONDS, Mesh, free_port, serving

Found = dict[tuple[str, str], list[tuple[float, float]]]  # by column and scheme, what `wrk` found
PODS = ("127.78.9.1", "127.78.9.2", "127.78.9.3")
BACKENDS = """global
  nbthread 1
defaults
  mode http
  timeout client 60s
frontend pods
{binds}
  http-request return status 200 content-type text/plain string "hello world\\n"
"""
BY_HAND = """global
  {log}
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  {use}
  option dontlognull
  timeout connect 3s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 60s
frontend door
  bind 127.0.0.1:{http}
  bind 127.0.0.1:{https} ssl crt {pem} alpn h2,http/1.1
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
{capture}
  acl ours hdr(host) -i bench.test
  acl below path_beg /app
  use_backend pods if ours below
backend pods
  balance roundrobin
{servers}
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bench}
spec:
  tls: [{hosts: [bench.test], secretName: bench}]
  rules:
  - host: bench.test
    http: {paths: [{path: /app, pathType: Prefix, backend: {service: {name: bench, port: {number: 8080}}}}]}
"""


def cpu(pid: int) -> float:
    """Seconds of CPU of a master and its worker so far."""
    total = 0.0
    for one in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def wrk(address: str, seconds: int, pid: int) -> tuple[float, float]:
    """Requests per second, and per second of CPU of the HAProxy asked, which is steadier where others work too."""
    before = cpu(pid)
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-H", "Host: bench.test", f"{address}/app"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise RuntimeError(text)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    return rate, rate * seconds / (cpu(pid) - before)


def by_hand(folder: Path, name: str, pem: Path, *, logs: bool) -> tuple[subprocess.Popen[bytes], int, int]:
    """The HAProxy of a configuration by hand, and its ports."""
    http, https = free_port(), free_port()
    servers = "\n".join(f"  server s{n} {ip}:8080" for n, ip in enumerate(PODS))
    log, use, capture = "maxconn 4000", "", ""
    if logs:
        log, use = "log stdout format raw local0", f"log global\n  log-format '{LOG}'"
        capture = "\n".join(f"  http-request set-var(txn.{n}) {n if n == 'path' else 'req.hdr(host)'}" for n in
                            ("host", "path"))  # fmt: skip
    text = BY_HAND.format(log=log, use=use, http=http, https=https, pem=pem, servers=servers, capture=capture)
    (folder / name).write_text(text)
    quiet = subprocess.DEVNULL
    return subprocess.Popen(["haproxy", "-W", "-f", str(folder / name)], stdout=quiet, stderr=quiet), http, https


def running(config: Path) -> subprocess.Popen[bytes]:
    """An HAProxy of its own."""
    return subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=subprocess.DEVNULL)


async def measure(mesh: Mesh, folder: Path, seconds: int, rounds: int, say: int) -> None:
    """All columns, round by round."""
    binds = "\n".join(f"  bind {ip}:8080" for ip in PODS)
    (folder / "pods.cfg").write_text(BACKENDS.format(binds=binds))
    pair = pki.issue(mesh.ca, pki.server("bench", ("bench.test",)), NOW_SECONDS(), 30)
    (folder / "bench.pem").write_bytes(pair.certificate + pair.key)
    pods = running(folder / "pods.cfg")
    hand, bare = ("by hand", by_hand(folder, "hand.cfg", folder / "bench.pem", logs=True)), (
        "by hand, no log", by_hand(folder, "bare.cfg", folder / "bench.pem", logs=False))  # fmt: skip
    await mesh.service("bench")
    for number, ip in enumerate(PODS):
        mesh.put_pod(f"bench-{number}", ip, "bench")
    mesh.secret("bench", "bench.test")
    mesh.apply(INGRESS)
    await mesh.changed()
    columns = {"Ingress": (mesh.engine.master.pid, mesh.http, mesh.https)}
    columns |= {name: (process.pid, *ports) for name, (process, *ports) in (hand, bare)}
    found: Found = {}
    try:
        for number in range(rounds):
            for name in list(columns)[:: -1 if number % 2 else 1]:
                pid, *ports = columns[name]
                for scheme, port in zip(("http", "https"), ports, strict=True):
                    rate = await asyncio.to_thread(wrk, f"{scheme}://127.0.0.1:{port}", seconds, pid)
                    found.setdefault((name, scheme), []).append(rate)
    finally:
        for process in (pods, hand[1][0], bare[1][0]):
            process.terminate()
            process.wait()
    for line in report(found, list(columns)):
        os.write(say, f"{line}\n".encode())


def report(found: Found, columns: Sequence[str]) -> Iterator[str]:
    """A line for each scheme and measure."""
    for scheme in ("http", "https"):
        for at, what in enumerate(("s", "s of CPU")):
            rates = {name: [pair[at] for pair in found[name, scheme]] for name in columns}
            words = "  ".join(f"{name} {statistics.median(all_):.0f}/{what}" for name, all_ in rates.items())
            ratios = sorted(mine / other for mine, other in zip(rates["Ingress"], rates["by hand"], strict=True))
            told = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            yield f"{scheme:5}  {words}  Ingress / by hand {told}"


async def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    told = parser.parse_args()
    say = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where HAProxy's access log goes
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with serving() as mesh:
            await measure(mesh, Path(folder), told.seconds, told.rounds, say)


if __name__ == "__main__":
    asyncio.run(main())
