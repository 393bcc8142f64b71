"""The service path: direct, netproxy, HAProxy (one thread), nginx stream and the kernel's DNAT, same backend, one run.

TCP: requests on kept connections, new connections, bulk, idle connections, CPU per request at one rate for all; UDP
datagrams and questions of names a second; what a change costs as Services grow.

Needs root, and wrk, haproxy, nginx with its stream module and nftables of the distribution. Everything is in a network
namespace of its own. Compare columns of one run, never of two days.
"""

import argparse
import asyncio
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mesh.v1.node_pb2 import ProxyService
from tests.harness.proxying import endpoint, proxy, service

BACKEND, HAPROXY, NGINX, DNAT, OURS = 18080, 18081, 18082, 18083, 18084
VIP = "127.99.0.1"
ECHO, DNS = 18090, "127.99.0.53"  # the backend of UDP; the name service
BULK = 256 << 20
RATE = 3000  # requests a second, where CPU is compared
LOADS = str(Path(__file__).with_name("service_loads.py"))
UDP_ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind(("127.0.0.1", %d))
while True:
    data, who = s.recvfrom(2048)
    s.sendto(data, who)
"""

NGINX_CONF = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log; {modules}
events {{ worker_connections 8192; }}
"""
WEB = """http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; server {{
 listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "hello world\\n"; }}
 location /bulk {{ alias {folder}/bulk; }} }} }}
"""
STREAM = """stream {{ server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass 127.0.0.1:{backend}; }}
 server {{ listen 127.0.0.1:{port} udp; proxy_pass 127.0.0.1:{echo}; }} }}
"""
HAPROXY_CONF = """global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen a
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{backend}
"""


def begin(folder: Path) -> dict[str, subprocess.Popen[bytes]]:
    """All the others; by the name of their column."""
    module = next(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"), None)
    modules = f"load_module {module};" if module else ""
    texts = {
        "web": NGINX_CONF.format(folder=folder, name="web", modules="") + WEB.format(folder=folder, port=BACKEND),
        "stream": NGINX_CONF.format(folder=folder, name="stream", modules=modules)
        + STREAM.format(port=NGINX, backend=BACKEND, echo=ECHO),
        "haproxy": HAPROXY_CONF.format(port=HAPROXY, backend=BACKEND),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    with (folder / "bulk").open("wb") as file:
        file.truncate(BULK)
    folder.chmod(0o755)
    (folder / "bulk").chmod(0o644)
    rules = (
        "table ip bench { chain o { type nat hook output priority -100; "
        f"ip daddr 127.0.0.1 tcp dport {DNAT} dnat to 127.0.0.1:{BACKEND}; "
        f"ip daddr 127.0.0.1 udp dport {DNAT} dnat to 127.0.0.1:{ECHO}; }}\n}}\n"
    )
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    return {
        "echo": subprocess.Popen([sys.executable, "-S", "-c", UDP_ECHO % ECHO]),
        "direct": subprocess.Popen(["nginx", "-c", str(folder / "web")], **quiet),  # type: ignore[call-overload]
        "nginx": subprocess.Popen(["nginx", "-c", str(folder / "stream")], **quiet),  # type: ignore[call-overload]
        "haproxy": subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy")], **quiet),  # type: ignore[call-overload]
    }


def cpu(pid: int) -> float:
    """Seconds of CPU of a process and its children so far."""
    total = 0.0
    for path in (Path(f"/proc/{pid}"), *_children(pid)):
        fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(pid: int) -> list[Path]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [Path(f"/proc/{child}") for child in text.split()]


def wrk(address: str, seconds: int, *more: str) -> tuple[float, float, float]:
    """Requests per second, p50 and p99 in milliseconds."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", *more, f"http://{address}/"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    return rate, _milliseconds(text, "50%"), _milliseconds(text, "99%")


def _milliseconds(text: str, which: str) -> float:
    number, unit = re.search(which + r"\s+([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def bulk(address: str) -> float:
    """MB/s of one large download."""
    host, _, port = address.partition(":")
    buffer = bytearray(1 << 20)
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"GET /bulk HTTP/1.0\r\n\r\n")
        began, size = time.perf_counter(), 0
        while number := sock.recv_into(buffer):
            size += number
    return size / (time.perf_counter() - began) / 1e6


def idle(address: str, pid: int, number: int = 1000) -> tuple[float, float]:
    """Memory (kB) and CPU (percent of a core) of `number` idle connections."""
    before = _memory(pid)
    host, _, port = address.partition(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(number)]
    time.sleep(1)  # what is measured is a time in which nothing happens
    began = cpu(pid)
    time.sleep(2)
    percent = (cpu(pid) - began) / 2 * 100
    memory = _memory(pid) - before
    for sock in sockets:
        sock.close()
    return memory, percent


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(re.search(r"Pss:\s+(\d+)", text)[1])  # type: ignore[index]


async def measure(rounds: int, seconds: int) -> None:
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        others = begin(folder)
        try:
            async with proxy(folder) as (process, programmer):
                await programmer.program(_web())
                paths = {
                    "direct": (f"127.0.0.1:{BACKEND}", others["direct"].pid),
                    "netproxy": (f"{VIP}:{OURS}", process.pid),
                    "haproxy": (f"127.0.0.1:{HAPROXY}", others["haproxy"].pid),
                    "nginx": (f"127.0.0.1:{NGINX}", others["nginx"].pid),
                    "dnat": (f"127.0.0.1:{DNAT}", others["direct"].pid),
                }
                print(await asyncio.to_thread(_table, paths, rounds, seconds))
                await programmer.program(
                    _web(), service("echo", VIP, OURS, [endpoint("127.0.0.1", ECHO)], protocol="UDP")
                )
                await programmer.host(dns_address=DNS, dns_zone="cluster.local", service_cidr="127.99.0.0/24")
                print(await asyncio.to_thread(_datagrams, rounds, seconds))
                await _reprogram(programmer, process.pid)
        finally:
            for child in others.values():
                child.terminate()
                child.wait()


def _table(paths: dict[str, tuple[str, int]], rounds: int, seconds: int) -> str:
    found: dict[str, list[list[float]]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, (address, pid) in paths.items():
            before = cpu(pid)
            keep, p50, p99 = wrk(address, seconds)
            per_request = (cpu(pid) - before) / (keep * seconds) * 1e6
            paced, whole = at_rate(address, pid, seconds)
            new, _, new99 = wrk(address, seconds, "-H", "Connection: close")
            row = [keep, p50, p99, per_request, paced, whole, new, new99, bulk(address), *idle(address, pid)]
            found[name].append(row)
    print(f"µs of CPU per request: of the path's process at full speed, and at {RATE}/s; of the machine at {RATE}/s")
    lines = [
        "path      keep/s  p50 ms  p99 ms  µs full   µs at  µs all   new/s  p99 ms  bulk MB/s  kB/1000 idle  idle %"
    ]
    form = "{:9} {:6.0f} {:7.2f} {:7.2f} {:8.1f} {:7.1f} {:7.1f} {:7.0f} {:7.2f} {:10.0f} {:12.0f} {:6.2f}"
    for name, rows in found.items():
        middle = [statistics.median(column) for column in zip(*rows, strict=True)]
        lines.append(form.format(name, *middle))
    return "\n".join(lines)


def _datagrams(rounds: int, seconds: int) -> str:
    paths = {"direct": f"127.0.0.1:{ECHO}", "netproxy": f"{VIP}:{OURS}", "nginx": f"127.0.0.1:{NGINX}",
             "dnat": f"127.0.0.1:{DNAT}"}  # fmt: skip
    rows = {name: [loaded("udp", path, seconds) for _ in range(rounds)] for name, path in paths.items()}
    names = [loaded("dns", f"{DNS}:53", seconds) for _ in range(rounds)]
    told = "  ".join(f"{name} {statistics.median(found):.0f}" for name, found in rows.items())
    return f"UDP round trips/s (HAProxy has no UDP): {told}\nnames/s: netproxy {statistics.median(names):.0f}"


def _web() -> ProxyService:
    return service("web", VIP, OURS, [endpoint("127.0.0.1", BACKEND)])


def loaded(what: str, address: str, seconds: int, *more: str) -> float:
    """What one of the loads prints."""
    call = [sys.executable, "-S", LOADS, what, address, str(seconds), *more]
    return float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)


def at_rate(address: str, pid: int, seconds: int) -> tuple[float, float]:
    """Microseconds of CPU per request at RATE: of the path's process, and of the whole machine."""
    before, busy = cpu(pid), _busy()
    answered = loaded("rate", address, seconds, str(RATE))
    return (cpu(pid) - before) / answered * 1e6, (_busy() - busy) / answered * 1e6


def _busy() -> float:
    """Seconds that the machine's processors were busy so far."""
    user, nice, system, _, _, irq, soft = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


async def _reprogram(programmer: object, pid: int) -> None:
    """The cost of one changed endpoint as Services grow, in CPU of the proxy and time to the answer."""
    print("services  first load s  CPU ms per change  ms to the answer")
    for number in (10, 100, 1000, 5000):
        all_of = [_one(n, 0) for n in range(number)]
        began = time.perf_counter()
        held = await programmer.program(*all_of)  # type: ignore[attr-defined]
        load = time.perf_counter() - began
        before, began = cpu(pid), time.perf_counter()
        for turn in range(1, 21):
            held = await programmer.program(_one(turn % number, turn), base=held.digest)  # type: ignore[attr-defined]
        took = time.perf_counter() - began
        print(f"{number:8} {load:13.2f} {(cpu(pid) - before) / 20 * 1000:18.2f} {took / 20 * 1000:17.2f}")


def _one(number: int, turn: int) -> ProxyService:
    ends = [endpoint(f"10.9.{number % 250}.{n}", 8080, node=f"t{turn}") for n in range(1, 11)]
    ends[0].ready = bool(turn % 2)
    return service(f"s{number}", f"127.{100 + number // 60000}.{number // 250 % 250}.{number % 250 + 1}", 8000, ends)


def main() -> None:
    """Runs in a network namespace of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        again = [sys.executable, __file__, "--inside", f"--rounds={options.rounds}", f"--seconds={options.seconds}"]
        os.execvp("unshare", ["unshare", "--net", *again])  # noqa: S606
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(measure(options.rounds, options.seconds))


if __name__ == "__main__":
    main()
