"""What each package of the agent is: its form, the distributions it is for, what it needs, where files go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from image_harness import agent

SCRIPTS = Path(__file__).parent / "scripts"
NAME = "guestling-agent"
# Modules that only this package's programs import (Debian Python Policy 3.1.1); of no Python version.
MODULES = f"/usr/share/{NAME}"
LIBRARY = "/usr/lib/cloud-init"
SUMMARY = "Sets up a cloud guest as its user data asks"
DESCRIPTION = """\
The first-boot agent of OpenStack and other clouds, in the place of cloud-init: the same commands, units,
user data and directories, in a process that starts faster."""
MAINTAINER = "guestling <guestling@localhost>"


@dataclass(frozen=True)
class Item:
    """One path of a package. `source`: a file here, or a link's target; `kind`: file, link or settings."""

    path: str
    source: str
    mode: int = 0o644
    kind: str = "file"


@dataclass(frozen=True)
class Package:
    """One package. `form`: deb, rpm or apk; `family`: whose settings and unit drop-ins it carries."""

    form: str
    family: str
    release: str
    depends: tuple[str, ...]
    recommends: tuple[str, ...]
    scripts: tuple[tuple[str, str], ...]


_DEB_SCRIPTS = (("postinstall", "deb.postinst"), ("preremove", "deb.prerm"), ("postremove", "deb.postrm"))
_RPM_SCRIPTS = (("postinstall", "rpm.post"), ("preremove", "rpm.preun"), ("postremove", "rpm.postun"))
_APK_SCRIPTS = (("postinstall", "apk.post-install"), ("preremove", "apk.pre-deinstall"))
_DEB_NEEDS = ("python3 (>= 3.9)", "python3-yaml")
_DEB_WANTS = ("python3-jinja2", "cloud-guest-utils", "netcat-openbsd", "e2fsprogs")

PACKAGES = (
    Package("deb", "debian", "1", _DEB_NEEDS, _DEB_WANTS, _DEB_SCRIPTS),
    Package("deb", "ubuntu", "1ubuntu1", _DEB_NEEDS, _DEB_WANTS, _DEB_SCRIPTS),
    Package(
        "rpm",
        "fedora",
        "1",
        ("python3 >= 3.9", "python3-pyyaml"),
        ("python3-jinja2", "nmap-ncat"),
        _RPM_SCRIPTS,
    ),
    Package("apk", "alpine", "r0", ("python3", "py3-yaml"), (), _APK_SCRIPTS),
)
# Whose unit drop-ins a family takes; OpenRC has none.
_DROP_INS = {"debian": "debian", "ubuntu": "ubuntu", "fedora": "redhat"}


def items(package: Package, slimmed: Path) -> Iterator[Item]:
    """All that a package carries. `slimmed`: the directory with the agent's modules as `build` wrote them."""
    for name, _ in agent.modules():
        # ds-identify is a program; the link in LIBRARY leads to it.
        mode = 0o755 if name == "guest_agent/ds-identify" else 0o644
        yield Item(f"{MODULES}/{name}", str(slimmed / name), mode)
    yield Item("/usr/bin/cloud-init", str(agent.PACKAGING / "bin" / "cloud-init"), 0o755)
    for path, target in agent.LINKS.items():
        yield Item(f"/{path}", target, kind="link")
    yield Item(f"{LIBRARY}/ds-identify", f"{MODULES}/guest_agent/ds-identify", kind="link")
    settings = agent.PACKAGING / "cloud.cfg" / f"{package.family}.cfg"
    yield Item("/etc/cloud/cloud.cfg", str(settings), kind="settings")
    yield from _openrc() if package.form == "apk" else _systemd(package.family)


def _systemd(family: str) -> Iterator[Item]:
    for path, source in agent.systemd_files(_DROP_INS[family]).items():
        if path != "etc/cloud/cloud.cfg":
            yield Item(f"/{path}", str(source), 0o755 if path in agent.EXECUTABLE else 0o644)
    keygen = "sshd-keygen@.service.d/disable-sshd-keygen-if-cloud-init-active.conf"
    yield Item(f"/usr/lib/systemd/system/{keygen}", str(agent.PACKAGING / "systemd" / Path(keygen).name))


def _openrc() -> Iterator[Item]:
    yield Item(f"{LIBRARY}/hook-hotplug", str(agent.PACKAGING / "bin" / "hook-hotplug"), 0o755)
    for path in sorted((agent.PACKAGING / "openrc").iterdir()):
        yield Item(f"/etc/init.d/{path.name}", str(path), 0o755)


def document(package: Package, work: Path, epoch_s: int) -> dict[str, object]:
    """A package as nfpm wants it described. `work`: modules, scripts and copyright as `build` wrote them.

    `epoch_s`: the time that all files of it bear.
    """
    when = _rfc3339(epoch_s)
    contents = [_content(item, when) for item in items(package, work / "modules")]
    contents.append(_content(Item(f"/usr/share/doc/{NAME}/copyright", str(work / "copyright")), when))
    return {
        "name": NAME,
        "arch": "all",
        "platform": "linux",
        "version": agent.version(),
        "version_schema": "none",
        "release": package.release,
        "section": "admin",
        "priority": "optional",
        "maintainer": MAINTAINER,
        "description": f"{SUMMARY}\n{DESCRIPTION}",
        "license": "Apache-2.0",
        "mtime": when,
        "depends": [*package.depends, *(("!cloud-init",) if package.form == "apk" else ())],
        "recommends": list(package.recommends),
        "provides": ["cloud-init"] if package.form != "apk" else [],
        "conflicts": ["cloud-init"],
        "replaces": ["cloud-init"],
        "contents": contents,
        "scripts": {when_run: str(work / "scripts" / name) for when_run, name in package.scripts},
        "rpm": {"buildhost": "localhost", "summary": SUMMARY},
    }


def _content(item: Item, when: str) -> dict[str, object]:
    kinds = {"link": "symlink", "settings": "config|noreplace"}
    info: dict[str, object] = {"owner": "root", "group": "root", "mtime": when}
    if item.kind != "link":
        info["mode"] = item.mode
    content: dict[str, object] = {"src": item.source, "dst": item.path, "file_info": info}
    return {**content, "type": kinds[item.kind]} if item.kind in kinds else content


def _rfc3339(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
