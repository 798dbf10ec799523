"""What the agent costs and where it runs: Python 3.9, few modules, bounded memory (GA-P06)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
IMPORT_ALL = """
import importlib, pathlib, json, sys
failed = []
for path in sorted(pathlib.Path("guest_agent").rglob("*.py")):
    name = ".".join(path.with_suffix("").parts)
    if path.name in ("__main__.py", "__init__.py", "part_handler_child.py"):
        continue
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error!r}")
print(json.dumps(failed))
"""
# What reading and merging a cloud-config brings along, PyYAML and its imports included.
READ = """
import sys, json
before = set(sys.modules)
from guest_agent import parts, user_data, datasources, config
from guest_agent.datasources import config_drive
found = parts.expand(b"#cloud-config\\nruncmd: [ls]\\n")
user_data.consume(found.parts)
names = sorted(set(sys.modules) - before)
print(json.dumps(names))
"""
NEVER = ("dataclasses", "typing", "inspect", "subprocess", "urllib", "http", "email", "tempfile", "random",
         "ssl", "asyncio", "logging", "jinja2", "json", "socket")  # fmt: skip
# What importing all of the agent does besides reading Python's own files.
LOOKS = """
import glob, importlib, os, sys
sys.path[:0] = sys.argv[1:]
places = tuple(os.path.realpath(place) for place in sys.path)
seen = []
def hook(event, arguments):
    if event == "open":
        path = arguments[0]
        if not isinstance(path, str) or not os.path.realpath(path).startswith(places):
            seen.append((event, str(path)))
    elif event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")):
        seen.append((event, str(arguments)))
sys.addaudithook(hook)
for package in ("boot_stages", "guest_agent"):
    for path in glob.glob(f"{sys.argv[1]}/{package}/**/[!_]*.py", recursive=True):
        importlib.import_module(os.path.relpath(path[:-3], sys.argv[1]).replace("/", "."))
print(seen, sorted({"random", "secrets", "jinja2"} & set(sys.modules)))
"""
BOMB = """
import resource, sys, gzip
from guest_agent.parts import expand
with open(sys.argv[1], "rb") as file:
    data = file.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = expand(data)
assert found.errors and not found.parts, found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_every_module_imports_on_python_39(python39: tuple[str, dict[str, str]]) -> None:
    program, environment = python39
    answer = subprocess.run(
        [program, "-c", IMPORT_ALL], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60
    )
    assert json.loads(answer.stdout) == []


def test_reading_a_cloud_config_imports_few_modules() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", READ], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    names = json.loads(answer.stdout)
    heavy = [name for name in names if name.split(".")[0] in NEVER]
    assert heavy == []
    assert len(names) <= 90, names


def test_importing_the_agent_looks_at_nothing_and_draws_nothing() -> None:
    """It may be done before a guest is saved, to go on as many (docs/decisions/0114)."""
    argv = [sys.executable, "-ISB", "-c", LOOKS, str(ROOT), str(Path(yaml.__file__).parents[1])]
    answer = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[] []"


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_ga_p06_a_gigabyte_of_zeros_costs_less_than_100_mib(tmp_path: Path, layers: int) -> None:
    """1 MiB of gzip, or less, that promises 1 GiB."""

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    document = packed
    if layers == 2:
        document = (
            b"MIME-Version: 1.0\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(packed)
        )
    (tmp_path / "bomb").write_bytes(document)
    answer = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "bomb")],
        cwd=ROOT, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert int(answer.stdout) < 100 * 1024
