"""What a boot imports: start-up time is a feature, and this is its gate without noise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from tests.unit.guest_agent.run.roots import Root

ROOT = Path(__file__).parents[4]
# Imports that cost milliseconds and that no boot without templates, certificates or a server needs.
HEAVY = {
    "argparse", "asyncio", "base64", "collections", "concurrent", "dataclasses", "email", "enum", "functools",
    "hashlib", "http", "inspect", "jinja2", "json", "logging", "pathlib", "pickle", "random", "re", "shutil",
    "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "typing", "unittest",
    "urllib", "xml",
}  # fmt: skip
PROGRAM = """
import sys
sys.path[:0] = {paths!r}
bare = set(sys.modules)
from guest_agent.boot import Boot
from guest_agent.machine import Machine, Settings
from guest_agent import all_stages
machine = Machine(Settings(root={root!r}, have=("ifup", "ifdown", "ifquery", "ip")))
all_stages.run(Boot(machine), is_by_hand=True)
sys.stderr.write("MODULES " + " ".join(sorted(set(sys.modules) - bare)))
"""


def _modules(root: Root) -> list[str]:
    """What four stages in one bare interpreter import."""
    paths = [str(ROOT), str(Path(yaml.__file__).parents[1])]
    program = PROGRAM.format(paths=paths, root=str(root.path))
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr.rpartition("MODULES ")[2].split()


def test_a_boot_imports_nothing_heavy(root: Root) -> None:
    root.seed("#cloud-config\nhostname: web1\nusers: [default]\nruncmd: [ls]\n")
    assert {name.partition(".")[0] for name in _modules(root)} & HEAVY == set()


def test_a_second_boot_imports_no_network_model(root: Root) -> None:
    root.seed("#cloud-config\nhostname: web1\nusers: [default]\nruncmd: [ls]\n")
    _modules(root)
    root.reboot()
    second = _modules(root)
    assert len(second) <= 90, second
    assert {name.partition(".")[0] for name in second} & HEAVY == set()
    assert {"guest_agent.network.model", "yaml", "datetime"} & set(second) == set()


def test_a_first_boot_of_plain_documents_imports_110_modules_and_no_yaml(root: Root) -> None:
    root.seed("#cloud-config\nhostname: web1\nusers: [default]\nruncmd: [ls]\n")
    first = _modules(root)
    assert {"yaml", "datetime", "importlib", "warnings"} & set(first) == set()
    assert len(first) <= 110, first
