"""One topology on one real program, in namespaces of its own; what `ip` says of it then."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from guest_agent.network.rendered import Rendered
from tests.contract.network.tool_root import Unavailable

INSIDE = Path(__file__).with_name("inside.py")
LIMIT_S = 60
# Process 1 of new namespaces: what it mounts and starts is gone when it ends.
NAMESPACES = (
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
    "--propagation=private",
)
SET_UP = """
set -e
top=/mnt  # in this namespace only
mount -t tmpfs tmpfs "$top"
mkdir "$top/up" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$top/up,workdir=$top/work" "$top/root"
cd "$top/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys  # read-only: then no program waits for an udev that is not there
mount --bind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/systemd/network
cp "$2" tmp/inside.py
limit=${APPLY_TIMEOUT_S:-15}
path=/usr/sbin:/usr/bin:/sbin:/bin
exec chroot . /usr/bin/env -i "PATH=$path" "APPLY_TIMEOUT_S=$limit" python3 /tmp/inside.py
"""


def job(renderer: str, done: Rendered, nics: dict[str, str], wanted: dict[str, Any]) -> dict[str, Any]:
    files = {path: {"text": file.content.decode(), "mode": file.mode} for path, file in done.files.items()}
    return {"renderer": renderer, "nics": nics, "files": files, "wanted": wanted}


def apply(root: Path, this: dict[str, Any]) -> dict[str, Any]:
    """What `ip` says when the program is done. Raises Unavailable where it could not run at all."""
    command = [*NAMESPACES, "sh", "-c", SET_UP, "set-up", str(root), str(INSIDE)]
    done = subprocess.run(
        command, input=json.dumps(this), check=False, capture_output=True, text=True, timeout=LIMIT_S
    )
    if done.returncode:
        raise Unavailable(f"the namespace could not be set up: {done.stderr.strip()[-300:]}")
    state = json.loads(done.stdout)
    assert isinstance(state, dict)
    return {**state, "log": done.stderr}


@cache
def kernel_makes(kind: str) -> bool:
    """Can this kernel make a device of this kind (bond, vlan, bridge, veth)?"""
    base = "ip link add v0 type veth peer name v1 &&" if kind == "vlan" else ""
    link = "link v0" if kind == "vlan" else ""
    options = "id 7" if kind == "vlan" else ""
    script = f"{base} ip link add {link} name x0 type {kind} {options}"
    return (
        subprocess.run(["unshare", "--net", "sh", "-c", script], check=False, capture_output=True).returncode
        == 0
    )


def kinds(wanted: dict[str, Any]) -> Iterable[str]:
    """The kinds of device that a topology needs of the kernel."""
    return ("veth", *sorted({link["kind"] for link in wanted.get("links", {}).values() if "kind" in link}))
