"""`make test-vm`: the collection on a virtual machine with the kernel, systemd, cgroups and Podman of a distribution.

    python -m tests.machines.distribution DIRECTORY BUNDLE [--suite trixie] [--keep]

Rule: what three hosts show of joining, upgrades and load is not shown again; here it is that a distribution's own
kernel and Podman carry out what pods ask for, that a boot brings everything back, and that nothing stays after a reset.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.machines.lab import Failed, ask_for_lab, played
from tests.machines.picture import Picture, differences, picture
from tests.machines.provision import EVERYTHING, ROOT, changes, expect, play, timed, with_images
from tests.machines.virtual import NAME, PATIENCE, Machine, accelerated

PODS = Path(__file__).with_suffix(".yaml")
SLOW = {"mesh_manifests_timeout": "900s"}  # an emulated processor does in a minute what others do in four seconds
PODMANS = "state came: /var/lib/containers/cache"  # Podman is there before the mesh here, and what it keeps stays
VERSIONS = (
    ". /etc/os-release; echo $PRETTY_NAME; uname -r; systemctl --version | head -1; python3 --version; "
    "podman --version; crun --version | head -1; stat -fc %T /sys/fs/cgroup"
)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask_for_lab(parser)
    told = parser.parse_args()
    machine = Machine(told.directory.absolute(), told.suite, told.mirror)
    return played(lambda: story(machine, told.bundle.absolute()), machine, keep=told.keep)


def story(machine: Machine, bundle: Path) -> None:
    """All of it."""
    print("by KVM" if accelerated() else "by emulation: this machine's processor runs no kernel of a distribution")
    timed(f"a machine of {machine.suite} boots", machine.boot)
    print("  " + ", ".join(machine.ssh(VERSIONS).splitlines()), flush=True)
    before = seen(machine)
    mine = with_images(machine.directory, bundle, machine.directory / "bundle")
    guestbook = str(ROOT / "examples" / "guestbook" / "guestbook.yaml")
    inventory = machine.inventory(mine, mesh_manifests=[guestbook], mesh_firewall=True, **SLOW)
    timed("from bare to a mesh with the guestbook", lambda: play(inventory, "site"))
    timed("the guestbook answers", lambda: answers(machine))
    said = timed("the same again", lambda: play(inventory, "site"))
    expect(changes(said) == {NAME: 0}, f"the second run changes nothing, not {changes(said)}")
    keys_are_handed_over(machine)
    images_are_layers(machine)
    timed("pods get what they ask for, and no more", lambda: carried_out(machine))
    timed("it boots again, and the guestbook answers", lambda: (machine.reboot(), answers(machine)))
    timed("its pods ran on, each once more", lambda: ran_on(machine, 1))
    timed("its power fails while it comes up, and all is well", lambda: cut_short(machine))
    timed("it boots again, and waits for its pods", lambda: parted(machine))
    timed("reset", lambda: play(inventory, "reset", *EVERYTHING))
    left = [line for line in differences(before, seen(machine)) if line != PODMANS]
    expect(not left, "reset leaves it as it was, but for:\n" + "\n".join(left))


def seen(machine: Machine) -> Picture:
    """The machine as it is now."""
    return picture(machine.ssh, machine.ssh("nft", "list", "ruleset"))


def answers(machine: Machine) -> None:
    """Returns once the guestbook's page is there: after a boot that takes its time."""
    script = "busybox wget -q -O - http://$(mesh get service guestbook -o jsonpath={.spec.clusterIP})/"
    until(machine, script, lambda page: "Welcome to the guestbook" in page)


def keys_are_handed_over(machine: Machine) -> None:
    """Keys come by systemd, in memory which only their service sees."""
    for unit in ("meshd", "mesh-ray"):
        handed = machine.ssh(f"cd /run/credentials/{unit}.service && stat --format '%a %n' *.key").splitlines()
        expect(bool(handed), f"{unit} is handed its keys")
        expect(all(line.startswith("400 ") for line in handed), f"nobody else reads them: {handed}")
        kind = machine.ssh(f"stat -fc %T /run/credentials/{unit}.service").strip()
        expect(kind in {"tmpfs", "ramfs"}, f"they are in memory, not on {kind}")


def images_are_layers(machine: Machine) -> None:
    """Containers lie on the distribution's own overlay, whose layers are on the disk."""
    mounts = machine.ssh("grep ' overlay ' /proc/mounts")
    expect("upperdir=/var/lib/mesh/" in mounts, f"containers have layers of the disk's file system, not {mounts!r}")


def carried_out(machine: Machine) -> None:
    """Limits, probes, confinement and figures, by cgroups of version 2."""
    node = json.loads(machine.ssh("mesh", "get", "node", NAME, "-o", "json"))
    label = node["metadata"]["labels"].get("mesh/cgroup-version")
    expect(label == "v2", f"the node says that it has cgroups of version 2, not {label!r}")
    machine.put(PODS, "/root/pods.yaml")
    machine.ssh("mesh", "apply", "-f", "/root/pods.yaml")
    machine.ssh("rm", "/root/pods.yaml")
    of_pod(machine, "hog", lambda status: ended(status).get("reason") == "OOMKilled")
    of_pod(machine, "stuck", lambda status: restarts(status) >= 1)
    until(machine, "mesh top pods busy --no-headers", lambda said: 100 <= millicores(said) <= 250)
    until(machine, "mesh logs confined", lambda said: said.startswith("containers-default") and "enforce" in said)
    until(machine, "mesh exec writer -- cat /sys/fs/cgroup/io.stat", lambda said: figure(said, "wbytes=") >= 20 << 20)
    throttled = figure(machine.ssh("mesh", "exec", "busy", "--", "cat", "/sys/fs/cgroup/cpu.stat"), "nr_throttled ")
    expect(throttled > 0, "a container that wants more than its limit is throttled")
    print(f"  throttled {throttled} times; {machine.ssh('mesh', 'top', 'pods', 'busy', '--no-headers').strip()}")


def ran_on(machine: Machine, times: int) -> None:
    """A boot ends no pod: its containers are started again."""
    for pod in ("busy", "polite", "writer"):
        of_pod(machine, pod, lambda status: restarts(status) == times and ready(status))


def cut_short(machine: Machine) -> None:
    """Booted again, and cut off as soon as Ray is there, before the host's agent is."""
    machine.reboot(settled=False)
    until(machine, "pgrep -f '[g]cs_server'", bool)
    machine.cut()
    answers(machine)
    ran_on(machine, 2)


def parted(machine: Machine) -> None:
    """A host that is told to wait for its pods when it shuts down has them end in their own time (L19)."""
    machine.ssh("echo 'shutdown_grace_seconds = 120' >> /var/lib/mesh/agent/agent.toml")
    machine.ssh("mesh", "up")
    machine.reboot()
    of_pod(machine, "polite", lambda status: (status["phase"], status.get("reason")) == ("Failed", "Terminated"))
    expect(ended(pod(machine, "polite")).get("exitCode") == 0, "a pod that catches the signal ends by itself")
    answers(machine)


def until(machine: Machine, script: str, enough: Callable[[str], Any]) -> None:
    """Returns when what a command on the machine says is enough."""
    end = time.monotonic() + PATIENCE
    while not enough(said := machine.ssh(script, check=False)):
        if time.monotonic() > end:
            told = machine.ssh("mesh get pods -o wide; mesh status; mesh events | tail -20", check=False)
            raise Failed(f"not within {PATIENCE:.0f} s: {script}: {said}\n{told}")
        time.sleep(1)


def of_pod(machine: Machine, name: str, enough: Callable[[Mapping[str, Any]], bool]) -> None:
    """Returns when a pod's status is as wanted."""
    script = f"mesh get pod {name} -o json"
    until(machine, script, lambda said: said.startswith("{") and enough(json.loads(said)["status"]))


def pod(machine: Machine, name: str) -> Mapping[str, Any]:
    """Its status."""
    status: Mapping[str, Any] = json.loads(machine.ssh("mesh", "get", "pod", name, "-o", "json"))["status"]
    return status


def restarts(status: Mapping[str, Any]) -> int:
    """Of its only container."""
    return sum(c.get("restartCount", 0) for c in status.get("containerStatuses", ()))


def ready(status: Mapping[str, Any]) -> bool:
    """Whether its only container is."""
    return any(c.get("ready") for c in status.get("containerStatuses", ()))


def ended(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """How its only container ended; nothing while it has not."""
    return next((c["state"].get("terminated", {}) for c in status.get("containerStatuses", ())), {})


def figure(said: str, name: str) -> int:
    """The sum of what a file of the kernel says of a name."""
    return sum(int(number) for number in re.findall(rf"\b{name}(\d+)", said))


def millicores(line: str) -> int:
    """Of a line of `mesh top pods`: name, CPU, memory."""
    words = line.split()
    return int(words[1].removesuffix("m")) if len(words) > 1 and words[1].endswith("m") else 0


if __name__ == "__main__":
    sys.exit(main())
