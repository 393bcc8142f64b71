"""`make test-hosts`: three hosts from nothing to a mesh that answers, and back to nothing; says how long it took.

    python -m tests.machines.provision DIRECTORY BUNDLE [--keep]

Rule: everything is done by the collection's playbooks, as a user does it; what does not hold ends the run with exit
code 1 and the words of what failed.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.machines.lab import Failed, Lab, run

ROOT = Path(__file__).parent.parent.parent
TOOLS = ROOT / ".venv" / "ansible"
HOSTS = ("host1", "host2", "host3")
# What of a host must be after the reset as it was before: a command, and which of its lines may differ.
PICTURE: Mapping[str, tuple[str, str]] = {
    "units": ("systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}' | sort", r"^run-|^$"),
    "failed units": ("systemctl list-units --failed --no-legend --no-pager --plain", "^$"),
    "mounts": ("awk '{print $2, $3}' /proc/self/mounts | sort", r"/run/user|/proc/sys/fs/binfmt_misc"),
    "routes": ("ip route show table all | sort", "^$"),
    "links": ("ip -o link | awk '{print $2}' | sort", "^$"),
    "rules": ("nft list ruleset 2>/dev/null || true", "^$"),
    "packages": ("dpkg-query -W -f '${Package} ${Status}\\n' | sort", "^$"),
    "settings": ("find /etc /opt /root /usr/local /srv -xdev -not -path '/root/.ansible*' | sort",
                 r"/etc/ld.so.cache|/root/.cache|/etc/ssl/certs|/etc/.*\.dpkg-|/root/.ssh"),
    "state": ("find /var/lib /run /tmp -xdev -maxdepth 2 -not -path '/run/systemd*' | sort",
              r"^/var/lib/(apt|dpkg|systemd|ucf)|^/run/(log|user|udev|ansible|sshd)|^/tmp/(ansible|systemd)"),
    "processes": ("ps -eo comm | sort -u", r"^(ps|awk|sort|sshd|sh|sftp-server|systemd\S*|\(sd-pam\)|\S*kworker\S*)$"),
}  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the hosts' image and disks are kept")
    parser.add_argument("bundle", type=Path, help="what `make bundle` wrote")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    told = parser.parse_args()
    lab = Lab(told.directory.absolute(), HOSTS)
    try:
        story(lab, told.bundle.absolute())
    except (Failed, AssertionError) as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        if not told.keep:
            lab.close()
    return 0


def story(lab: Lab, bundle: Path) -> None:
    """All of it."""
    timed("three bare hosts boot", lab.__enter__)
    before = {name: picture(lab, name) for name in HOSTS}
    inventory = lab.inventory(bundle)
    timed("bare hosts to a mesh", lambda: play(inventory, "site"))
    again = timed("the same again", lambda: play(inventory, "site"))
    expect(changes(again) == dict.fromkeys(HOSTS, 0), f"the second run changes nothing, not {changes(again)}")
    checked = timed("the same in check mode", lambda: play(inventory, "site", "--check"))
    expect(changes(checked) == dict.fromkeys(HOSTS, 0), f"check mode finds nothing to change, not {changes(checked)}")
    timed("the web example answers on every host", lambda: web(lab))
    newer = relabelled(bundle, lab.directory / "newer")
    with asked(lab) as seen:
        inventory = lab.inventory(newer)
        timed("upgrade host by host, under load", lambda: play(inventory, "upgrade"))
    for name, said in seen.items():
        print(f"  asked on {name}: {said['asked']}, failed {len(said['failures'])}, slowest {said['slowest']} s")
        expect(not said["failures"], f"no request fails on {name}, not {said['failures'][:5]}")
    timed("certificates rotated", lambda: play(inventory, "rotate_certs"))
    timed("reset", lambda: play(inventory, "reset"))
    for name in HOSTS:
        left = differences(before[name], picture(lab, name))
        expect(not left, f"reset leaves {name} as it was, but for:\n" + "\n".join(left))
    print("all holds")


def timed(what: str, act: Callable[[], Any]) -> Any:
    """Does it, and says how long it took."""
    began = time.monotonic()
    result = act()
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def play(inventory: Path, playbook: str, *args: str) -> str:
    """Runs a playbook; returns what it said."""
    command = f". {TOOLS}/activate && exec ansible-playbook -i {inventory} mesh.hosts.{playbook} {' '.join(args)}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    (inventory.parent / f"{playbook}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise Failed(f"ansible-playbook {playbook} → {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def changes(said: str) -> dict[str, int]:
    """How many tasks changed something, by host."""
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", said, re.MULTILINE)}


def web(lab: Lab) -> None:
    """The example is applied on the control host, and its Service answers from each host."""
    control = HOSTS[0]
    image = lab.directory / "hello.tar"
    run(str(ROOT / "examples" / "hello" / "image.sh"), str(image))
    lab.podman("import", "--change", 'CMD ["/bin/sh"]', str(image), "localhost/mesh-hello:1")
    saved = lab.directory / "hello-image.tar"
    saved.unlink(missing_ok=True)
    lab.podman("save", "--output", str(saved), "localhost/mesh-hello:1")
    for file in (saved, ROOT / "examples" / "web" / "web.yaml"):
        lab.podman("cp", str(file), f"{control}:/tmp/{file.name}")
    lab.ssh(control, "mesh", "image", "load", f"/tmp/{saved.name}")
    lab.ssh(control, "mesh", "apply", "-f", "/tmp/web.yaml", "--wait", "--timeout=120s")
    service = json.loads(lab.ssh(control, "mesh", "get", "service", "web", "-o", "json"))
    address = service["spec"]["clusterIP"]
    for name in HOSTS:
        page = lab.ssh(name, "busybox", "wget", "-q", "-O", "-", f"http://{address}/index.html")
        expect("Hello from the mesh" in page, f"the Service answers on {name}, not {page!r}")
    lab.ssh(control, "rm", "-f", f"/tmp/{saved.name}", "/tmp/web.yaml")


def relabelled(bundle: Path, fresh: Path) -> Path:
    """The same bundle as another release."""
    run("rm", "-rf", str(fresh))
    run("cp", "-rl", str(bundle), str(fresh))
    release = json.loads((bundle / "release.json").read_text())
    (fresh / "release.json").unlink()
    (fresh / "release.json").write_text(json.dumps({**release, "release": f"{release['release']}-newer"}))
    return fresh


@contextmanager
def asked(lab: Lab, hosts: Sequence[str] = HOSTS) -> Iterator[dict[str, dict[str, Any]]]:
    """Requests from hosts to the example's Service meanwhile; afterwards it holds what they saw."""
    service = json.loads(lab.ssh(HOSTS[0], "mesh", "get", "service", "web", "-o", "json"))
    seen: dict[str, dict[str, Any]] = {}
    script = str(Path(__file__).parent / "load.py")
    for name in hosts:
        lab.podman("cp", script, f"{name}:/root/load.py")
        asking = ("python3", "/root/load.py", service["spec"]["clusterIP"], "80", "/root/load.json")
        lab.ssh(name, "systemd-run", "--quiet", "--collect", "--unit=load", *asking)
    try:
        yield seen
    finally:
        for name in hosts:
            lab.ssh(name, "systemctl", "stop", "load")
            seen[name] = json.loads(lab.ssh(name, "cat", "/root/load.json"))
            lab.ssh(name, "rm", "/root/load.py", "/root/load.json")


def picture(lab: Lab, name: str) -> dict[str, list[str]]:
    """What is there of a host, in lines."""
    return {what: lab.ssh(name, command).splitlines() for what, (command, _) in PICTURE.items()}


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """Lines that came or went."""
    found = []
    for what, (_, ignored) in PICTURE.items():
        old, new = set(before[what]), set(after[what])
        found += [f"{what}: + {line}" for line in sorted(new - old) if not re.search(ignored, line)]
        found += [f"{what}: - {line}" for line in sorted(old - new) if not re.search(ignored, line)]
    return found


def expect(holds: bool, what: str) -> None:
    """Raises Failed when it does not hold."""
    if not holds:
        raise Failed(f"not so: {what}")


if __name__ == "__main__":
    sys.exit(main())
