"""A changed ConfigMap to new file content in running containers: milliseconds from before the apply, for each pod.

`python benchmarks/config.py [--pods 30] [--rounds 10]`; needs a running mesh of this machine (`make up`) and root: the
volumes are watched where they lie on the host, which is what the containers see through their mounts.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mesh.sdk import AsyncClient
from mesh.v1.core_pb2 import Pod

sys.path.insert(0, str(Path(__file__).parent))
import volumes
from pods import IMAGE, image_archive

NAMESPACE = "bench-config"
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {namespace}}}
data: {{value: "{value}"}}
"""


async def run(root: Path, count: int, rounds: int) -> None:
    """Makes the pods, changes their ConfigMap again and again, prints, removes everything."""
    async with AsyncClient() as client:
        await client.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n")
        names = [f"p{number}" for number in range(count)]
        texts = [volumes.pod(name, NAMESPACE, IMAGE, "configMap: {name: settings}") for name in names]
        await client.apply(CONFIG.format(namespace=NAMESPACE, value="0") + "".join(texts))
        shown = {}
        for name in names:
            await client.wait(Pod, name, namespace=NAMESPACE, condition="Ready", timeout=120)
            pod = await client.get(Pod, name, namespace=NAMESPACE)
            shown[name] = root / "agent" / "pods" / pod.metadata.uid / "volumes" / "files"
        times: list[float] = []
        for number in range(1, rounds + 1):
            looking = asyncio.create_task(asyncio.to_thread(volumes.changed, shown, str(number), 30))
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            await client.apply(CONFIG.format(namespace=NAMESPACE, value=number))
            times += [(at - began) * 1000 for at in (await looking).values()]
        print(f"{count} pods, {rounds} changes: new content after {volumes.words(times)}")
        await client.delete("Namespace", NAMESPACE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mesh-root", type=Path, default=Path("/var/lib/mesh"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"unix://{options.mesh_root}/run/podman.sock"
        archive = str(image_archive(Path(folder)))
        subprocess.run(["podman", "--url", url, "import", "--change", "ENV PATH=/bin", archive, IMAGE], check=True)
    asyncio.run(run(options.mesh_root, options.pods, options.rounds))


if __name__ == "__main__":
    main()
