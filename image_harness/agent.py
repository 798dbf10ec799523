"""The agent as it stands in this tree or installation: which files a guest carries of ours."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from image_harness.guest_python import DIST_PACKAGES, GuestPython

# The tree that holds the packages side by side.
SOURCES = Path(__file__).parents[1]
# The agent's commands, units and settings: beside the packages in a source tree, in here where installed.
PACKAGING = next(
    (
        path
        for path in (SOURCES / "packaging" / "agent", Path(__file__).parent / "packaging")
        if path.is_dir()
    ),
    SOURCES / "packaging" / "agent",
)
_PACKAGES = ("boot_stages", "guest_agent")
# What plans a boot without one: a host does so, and the helper guest, which is given them besides.
PLANNING = ("boot_stages/foresight.py", "boot_stages/offline.py")
# The pages about modules are made from the first two; no guest reads them.
_HOST_ONLY = frozenset({"boot_stages/reference.py", "boot_stages/reference_examples.py", *PLANNING})
_COMMANDS = {
    "usr/bin/cloud-init": PACKAGING / "bin" / "cloud-init",
    "usr/lib/cloud-init/ds-identify": SOURCES / "guest_agent" / "ds-identify",
}
_UNITS = "usr/lib/systemd/system"
_WANTED = "WantedBy=cloud-init.target"
_PROGRAMS = {
    "usr/lib/cloud-init/hand-over": PACKAGING / "systemd" / "hand-over",
    "usr/lib/cloud-init/hook-hotplug": PACKAGING / "bin" / "hook-hotplug",
    "usr/lib/systemd/system-generators/cloud-init-generator": PACKAGING / "systemd" / "cloud-init-generator",
}
EXECUTABLE = frozenset((*_COMMANDS, *_PROGRAMS))
# Other names of the command, which tells them apart: path in the guest -> target.
LINKS = {f"usr/bin/{name}": "cloud-init" for name in ("cloud-id", "cloud-init-per", "ds-identify")}


def files() -> Iterator[tuple[str, Path]]:
    """All that a guest carries of ours: path in the guest without the first slash, and where it is here."""
    for name, path in modules():
        yield f"{DIST_PACKAGES}/{name}", path
    yield from _COMMANDS.items()


def modules() -> Iterator[tuple[str, Path]]:
    """The agent's Python packages, file by file: `guest_agent/cli.py`, and where it is here."""
    found = [path for package in _PACKAGES for path in sorted((SOURCES / package).rglob("*"))]
    found += sorted(_with_imports(SOURCES / "configdrive" / "reader.py"))
    for path in found:
        name = path.relative_to(SOURCES).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and name not in _HOST_ONLY:
            yield name, path


def _with_imports(module: Path) -> set[Path]:
    """A module and all it imports of its own package, also inside functions; and the package itself."""
    package = module.parent
    found = {package / "__init__.py"}
    waiting = [module]
    while waiting:
        path = waiting.pop()
        if path not in found and path.exists():
            found.add(path)
            waiting += [package / f"{name}.py" for name in _imported(path, package.name)]
    return found


def _imported(path: Path, package: str) -> Iterator[str]:
    """Names of modules that a file imports from its package; as text, because this runs before every boot."""
    for module, names in re.findall(
        rf"^\s*from {package}(?:\.(\w+))? import (.+)$", path.read_text(), re.MULTILINE
    ):
        yield from (name.split(" as ")[0].strip(" ()") for name in (module or names).split(","))


def systemd_files(family: str) -> dict[str, Path]:
    """What a guest with systemd carries besides: units, generator, settings of its family (`debian`)."""
    units = PACKAGING / "systemd"
    found = {
        f"{_UNITS}/{path.name}": path
        for kind in ("service", "socket", "target")
        for path in units.glob(f"*.{kind}")
    }
    drop_ins = {
        f"{_UNITS}/{path.relative_to(units / family)}": path for path in (units / family).glob("*/*.conf")
    }
    return {
        **found,
        **drop_ins,
        **_PROGRAMS,
        "etc/cloud/cloud.cfg": PACKAGING / "cloud.cfg" / f"{family}.cfg",
    }


def systemd_links() -> dict[str, str]:
    """The links that `systemctl enable` would make for the units that cloud-init.target wants."""
    wanted = [unit for unit in (PACKAGING / "systemd").glob("*.service") if _WANTED in unit.read_text()]
    return {
        f"etc/systemd/system/cloud-init.target.wants/{unit.name}": f"/{_UNITS}/{unit.name}" for unit in wanted
    }


def version() -> str:
    """The agent's version, as its own source has it."""
    text = (SOURCES / "boot_stages" / "version.py").read_text()
    return str(re.findall(r'^VERSION = "(.+)"$', text, re.MULTILINE)[0])


def digest() -> str:
    """Changes when any file of the agent does; 16 hexadecimal digits."""
    whole = hashlib.sha256()
    units = ((path.name, path) for path in sorted(PACKAGING.rglob("*")) if path.is_file())
    for name, path in (*files(), *units):
        whole.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def lay_out(root: Path, python: GuestPython) -> None:
    """Put the agent below `root`, where a guest looks for it, compiled by the guest's own Python."""
    for name, source in files():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    python.compile(root, "beside", f"/{DIST_PACKAGES}")
