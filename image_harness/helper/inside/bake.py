"""Puts the agent into the root of an image: files and links alone, or by the image's own package manager.

With files alone nothing that a package owns is touched: units in /etc/systemd/system stand before those of
the same name in /usr/lib (systemd.unit(5)), so a cloud-init that is there is switched off and whole.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boot_stages.distros import parse_os_release
from guest_agent.machine import Machine, Settings

Say = Callable[[str], None]

HOME = "/usr/share/guestling-agent"
PROGRAMS = {
    "/usr/bin/cloud-init": f"{HOME}/bin/cloud-init",
    "/usr/lib/cloud-init/ds-identify": f"{HOME}/guest_agent/ds-identify",
    "/usr/lib/cloud-init/hand-over": f"{HOME}/bin/hand-over",
    "/usr/lib/cloud-init/hook-hotplug": f"{HOME}/bin/hook-hotplug",
    "/usr/lib/systemd/system/cloud-init.target": "/etc/systemd/system/cloud-init.target",
}
COMMANDS = ("cloud-init", "cloud-id", "cloud-init-per", "ds-identify")
UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/cloud-init.target.wants"
# Level of OpenRC -> services, as Alpine's setup-cloud-init has them.
LEVELS = {
    "boot": ("cloud-init-ds-identify", "cloud-init-local"),
    "default": ("cloud-init", "cloud-config", "cloud-final"),
}
# ID or ID_LIKE of os-release -> whose settings, whose unit drop-ins, whose package.
FAMILIES = {
    "ubuntu": ("ubuntu", "ubuntu", "ubuntu.deb"),
    "debian": ("debian", "debian", "debian.deb"),
    "fedora": ("fedora", "redhat", "fedora.rpm"),
    "rhel": ("fedora", "redhat", "fedora.rpm"),
    "centos": ("fedora", "redhat", "fedora.rpm"),
    "alpine": ("alpine", "", "alpine.apk"),
}
PACKAGE_MANAGERS = {
    "deb": (
        "dpkg --force-depends --remove cloud-init || true",
        "dpkg --force-confold --install {package}",
    ),
    "rpm": ("rpm --erase --nodeps cloud-init || true", "rpm --install --nodeps {package}"),
    "apk": (
        "apk --no-network del cloud-init cloud-init-openrc || true",
        "apk --no-network --allow-untrusted add {package}",
    ),
}
OLDEST_PYTHON = (3, 9)


class CannotBake(Exception):
    """The agent does not fit into this image. The text says why, and what to do."""


@dataclass(frozen=True)
class Layout:
    """What kind of Linux an image holds. `python`: its version; `init`: systemd or openrc."""

    name: str
    family: str
    drop_ins: str
    package: str
    init: str
    python: tuple[int, int]
    has_yaml: bool
    has_cloud_init: bool


def bake(root: Path, order: dict[str, Any], payload: Path, say: Say) -> dict[str, object]:
    """Do it, and tell what was done. Raises CannotBake before anything is changed, OSError after."""
    machine = Machine(Settings(root=str(root), commands="run"))
    layout = _layout(machine)
    say(f"{layout.name}: {layout.init}, Python {'.'.join(map(str, layout.python))}")
    by_package = order["way"] == "package"
    with _ready_for_chroot(root):
        if by_package:
            say("installing the agent's package by the image's own package manager")
            _by_package(root, layout, payload)
        else:
            say("writing the agent's files")
            _by_files(machine, layout, payload)
        _settings(machine, layout, order, payload)
        if not by_package:
            say("compiling the agent by the image's own Python")
            _compile(root)
        offline: dict[str, object] = {"performed": [], "left": [], "scripts": []}
        if order["user_data"] is not None:
            from image_harness.helper.inside.offline import perform

            offline = perform(machine, order["user_data"], say)
    notes = []
    if machine.exists("/etc/cloud/cloud-init.disabled"):
        notes.append("/etc/cloud/cloud-init.disabled is there: the agent will not run before it is removed")
    if not layout.has_yaml and not by_package:
        notes.append(f"the image had no PyYAML: it was put into {HOME}")
    return {
        "system": layout.name,
        "init": layout.init,
        "cloud_init": ("removed" if by_package else "switched off") if layout.has_cloud_init else "none",
        "way": order["way"],
        "notes": notes,
        **offline,
    }


def _layout(machine: Machine) -> Layout:
    release = parse_os_release(
        machine.read_text("/etc/os-release") or machine.read_text("/usr/lib/os-release") or ""
    )
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    known = next((name for name in names if name in FAMILIES), None)
    what = release.get("PRETTY_NAME") or release.get("ID") or "an unknown Linux"
    if known is None:
        raise CannotBake(f"{what} is none of {', '.join(FAMILIES)}. Install the agent in it by hand")
    if machine.exists("/usr/lib/systemd/systemd") or machine.exists("/lib/systemd/systemd"):
        init = "systemd"
    elif machine.exists("/sbin/openrc-run"):
        init = "openrc"
    else:
        raise CannotBake(f"{what} has neither systemd nor OpenRC. Install one of them in the image")
    python = _python(machine)
    if python is None or python < OLDEST_PYTHON:
        found = "no Python 3" if python is None else f"Python {python[0]}.{python[1]}"
        raise CannotBake(f"{what} has {found}, and the agent needs 3.9. Install python3 in the image")
    folders = (
        "/usr/lib/python3/dist-packages",
        *(f"/usr/{lib}/python{python[0]}.{python[1]}/site-packages" for lib in ("lib64", "lib")),
    )
    family, drop_ins, package = FAMILIES[known]
    return Layout(
        name=what,
        family=family,
        drop_ins=drop_ins,
        package=package,
        init=init,
        python=python,
        has_yaml=any(machine.exists(f"{folder}/yaml") for folder in folders),
        has_cloud_init=machine.exists("/usr/bin/cloud-init") and not _is_ours(machine),
    )


def _is_ours(machine: Machine) -> bool:
    return "guest_agent" in (machine.read_text("/usr/bin/cloud-init") or "")


def _python(machine: Machine) -> tuple[int, int] | None:
    """The version of /usr/bin/python3, by the name of what it leads to."""
    resolved = os.path.realpath(machine.path("/usr/bin/python3"))
    found = re.fullmatch(r"python(\d+)\.(\d+)", os.path.basename(resolved))
    return (int(found[1]), int(found[2])) if found and machine.exists("/usr/bin/python3") else None


@contextmanager
def _ready_for_chroot(root: Path) -> Iterator[None]:
    """What programs of the image expect around them; they run in this guest, and in no other place."""
    mounts = (("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"), ("tmpfs", "run"))
    done = []
    for kind, name in mounts:
        (root / name).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", kind, kind, str(root / name)], check=True)
        done.append(name)
    try:
        yield
    finally:
        for name in reversed(done):
            subprocess.run(["umount", str(root / name)], check=False)


def _by_package(root: Path, layout: Layout, payload: Path) -> None:
    source = payload / "packages" / layout.package
    if not source.exists():
        raise CannotBake(f"there is no package for {layout.name}. Leave --package out")
    target = root / "run" / f"guestling-agent{source.suffix}"
    shutil.copyfile(source, target)
    for line in PACKAGE_MANAGERS[source.suffix.removeprefix(".")]:
        _chroot(root, line.format(package=f"/run/{target.name}"))


def _by_files(machine: Machine, layout: Layout, payload: Path) -> None:
    for path in sorted((payload / "modules").rglob("*")):
        if path.is_file():
            name = path.relative_to(payload / "modules").as_posix()
            _put(
                machine,
                f"{HOME}/{name}",
                path.read_bytes(),
                0o755 if name.endswith("/ds-identify") else 0o644,
            )
    if not layout.has_yaml:
        for path in sorted((payload / "yaml").glob("*.py")):
            _put(machine, f"{HOME}/yaml/{path.name}", path.read_bytes())
    packaging = payload / "packaging"
    for source in (
        packaging / "bin/cloud-init",
        packaging / "bin/hook-hotplug",
        packaging / "systemd/hand-over",
    ):
        _put(machine, f"{HOME}/bin/{source.name}", _at_home(source), 0o755)
    for name in COMMANDS:
        machine.link(f"/usr/local/bin/{name}", f"{HOME}/bin/cloud-init")
        _link_where_free(machine, f"/usr/bin/{name}", f"{HOME}/bin/cloud-init")
    for place, target in PROGRAMS.items():
        if place.startswith("/usr/lib/cloud-init/"):
            _link_where_free(machine, place, target)
    (_systemd if layout.init == "systemd" else _openrc)(machine, layout, packaging)


def _put(machine: Machine, path: str, content: bytes | str, mode: int = 0o644) -> None:
    """A file of root's. Not made durable one by one, as in a boot: one sync ends the job."""
    directory, _, name = path.rpartition("/")
    machine.make_directory(directory)
    target = f"{machine.path(directory)}/{name}"
    if os.path.lexists(target):
        os.unlink(target)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        os.fchmod(descriptor, mode)


def _link_where_free(machine: Machine, path: str, target: str) -> None:
    """Other programs look there; what a package put there stays."""
    if not os.path.lexists(machine.path(path)):
        machine.link(path, target)


def _at_home(source: Path) -> str:
    """The file with the agent's programs where they are when no package brought them."""
    text = source.read_text()
    for path, home in PROGRAMS.items():
        text = text.replace(path, home)
    return text


def _systemd(machine: Machine, layout: Layout, packaging: Path) -> None:
    for name in machine_names(machine, WANTS):
        machine.remove(f"{WANTS}/{name}")
    units = [
        path for kind in ("service", "socket", "target") for path in (packaging / "systemd").glob(f"*.{kind}")
    ]
    for unit in sorted(units):
        _put(machine, f"{UNITS}/{unit.name}", _at_home(unit))
        if "WantedBy=cloud-init.target" in unit.read_text():
            machine.link(f"{WANTS}/{unit.name}", f"{UNITS}/{unit.name}")
    drop_ins = packaging / "systemd" / layout.drop_ins
    for path in sorted(drop_ins.glob("*/*.conf")):
        _put(machine, f"{UNITS}/{path.relative_to(drop_ins).as_posix()}", path.read_bytes())
    keygen = packaging / "systemd/disable-sshd-keygen-if-cloud-init-active.conf"
    _put(machine, f"{UNITS}/sshd-keygen@.service.d/{keygen.name}", keygen.read_bytes())
    _put(
        machine,
        "/etc/systemd/system-generators/cloud-init-generator",
        _at_home(packaging / "systemd/cloud-init-generator"),
        0o755,
    )
    # The network stage had this name before cloud-init 24.3.
    if machine.exists("/usr/lib/systemd/system/cloud-init.service") or machine.exists(
        "/lib/systemd/system/cloud-init.service"
    ):
        machine.link(f"{UNITS}/cloud-init.service", "/dev/null")


def machine_names(machine: Machine, directory: str) -> list[str]:
    """What is in a directory; nothing where there is none."""
    try:
        return os.listdir(machine.path(directory))
    except OSError:
        return []


def _openrc(machine: Machine, _: Layout, packaging: Path) -> None:
    for service in sorted((packaging / "openrc").iterdir()):
        _put(machine, f"/etc/init.d/{service.name}", _at_home(service), 0o755)
    for level in ("sysinit", *LEVELS):
        for name in machine_names(machine, f"/etc/runlevels/{level}"):
            if name.startswith(("cloud-init", "cloud-config", "cloud-final")):
                machine.remove(f"/etc/runlevels/{level}/{name}")
        for name in LEVELS.get(level, ()):
            machine.link(f"/etc/runlevels/{level}/{name}", f"/etc/init.d/{name}")


def _settings(machine: Machine, layout: Layout, order: dict[str, Any], payload: Path) -> None:
    if not machine.exists("/etc/cloud/cloud.cfg"):
        _put(
            machine,
            "/etc/cloud/cloud.cfg",
            (payload / "packaging/cloud.cfg" / f"{layout.family}.cfg").read_bytes(),
        )
    if order["datasources"]:
        line = f"datasource_list: [{', '.join(order['datasources'])}]\n"
        _put(machine, "/etc/cloud/cloud.cfg.d/90-guestling-datasources.cfg", f"# Baked in.\n{line}")
    if order["vendor_data"] is not None:
        # The maker of an image is overruled by a cloud's vendor data, and that by user data.
        _put(machine, "/etc/cloud/cloud.cfg.d/91-guestling-vendor-data.cfg", order["vendor_data"], 0o600)


def _compile(root: Path) -> None:
    _chroot(root, f"python3 -m compileall -q {HOME}")


def _chroot(root: Path, line: str) -> None:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        "HOME": "/root",
    }
    done = subprocess.run(
        ["chroot", str(root), "/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        raise CannotBake(f"`{line}` failed in the image: {(done.stderr or done.stdout).strip()[-300:]}")
