"""What does not change with the agent: packages, Python's library compiled, the guest's own files."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from image_harness import cpio, debian, programs
from image_harness.errors import BadImage
from image_harness.guest_python import DIST_PACKAGES, LOADER, GuestPython
from image_harness.tiny import kernel, recipe

OWN_FILES = Path(__file__).parent / "root"
_LIBRARY = f"usr/lib/{recipe.PYTHON}"


def fetch(work: Path, pinning: debian.Pinning) -> tuple[debian.Package, ...]:
    """All packages of the recipe, the kernel's among them, unpacked below `work/unpacked/NAME`."""
    apt = debian.Apt(work / "apt", recipe.SUITE, pinning.mirrors())
    apt.update()
    (image,) = apt.depends(recipe.KERNEL_META_PACKAGE)
    versions = dict(pinning.versions)
    # The kernel's name holds its version: a pinned one is asked for by its own.
    image = next((name for name in versions if name.startswith("linux-image-")), image)
    names = [f"{name}={versions[name]}" if name in versions else name for name in (image, *recipe.KEPT)]
    packages = apt.download(names, work / "debs")
    pinning.check({package.name: package.version for package in packages})
    for package in packages:
        debian.unpack(package, work / "unpacked" / package.name)
    return packages


def lay_out(work: Path, root: Path, packages: Iterable[debian.Package]) -> None:
    """Fill `root`, the guest's root directory, as far as it comes from packages; Python is compiled."""
    for package in packages:
        for path, source in _kept(work / "unpacked" / package.name, package.name):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    python = GuestPython(root, recipe.PYTHON)
    python.compile(root, "sourceless", f"/{_LIBRARY}", f"/{DIST_PACKAGES}")
    _check_libraries(root, python)


def entries(root: Path, unpacked_kernel: Path) -> Iterator[cpio.Entry]:
    """Everything in the base archive."""
    taken = set()
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or path.is_file():
            entry = _from_disk(root, path)
            taken.add(entry.path)
            yield entry
    yield from (cpio.directory(path, mode) for path, mode in recipe.DIRECTORIES.items())
    yield from (cpio.symlink(path, target) for path, target in recipe.LINKS.items())
    yield from kernel.entries(unpacked_kernel, recipe.MODULES)
    own = list(own_files())
    taken |= {entry.path for entry in own}
    yield from own
    yield from (entry for entry in _applets(root) if entry.path not in taken)


def own_files() -> Iterator[cpio.Entry]:
    """The guest's own files, as they stand in `root/` beside this module."""
    for path in sorted(OWN_FILES.rglob("*")):
        if path.is_file():
            name = path.relative_to(OWN_FILES).as_posix()
            gid = recipe.SHADOW_GROUP if name in recipe.SHADOW_FILES else 0
            yield cpio.file(name, path.read_bytes(), recipe.MODES.get(name, 0o644), gid)
    modules = " ".join(recipe.MODULES_AT_BOOT)
    yield cpio.file("etc/modules", f"{modules}\n".encode())


def _kept(unpacked: Path, package: str) -> Iterator[tuple[str, Path]]:
    patterns = recipe.KEPT.get(package, ())
    for directory, _, names in os.walk(unpacked):
        for name in names:
            source = Path(directory, name)
            path = _merged(source.relative_to(unpacked))
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns) and not _left_out(path):
                yield path, source


def _merged(path: Path) -> str:
    """The path in a merged /usr, where Debian 12 has all its files."""
    return f"usr/{path}" if path.parts[0] in {"bin", "sbin", "lib", "lib64"} else str(path)


def _left_out(path: str) -> bool:
    if not path.startswith(f"{_LIBRARY}/"):
        return path.endswith((".pyi", "py.typed"))
    first, *rest = PurePosixPath(path).relative_to(_LIBRARY).parts
    if first == "lib-dynload":
        return rest[0].split(".")[0] not in recipe.PYTHON_EXTENSIONS
    return any(fnmatch.fnmatchcase(first, pattern) for pattern in recipe.PYTHON_LEFT_OUT)


def _check_libraries(root: Path, python: GuestPython) -> None:
    """Each program and library finds all it is linked against. Raises BadImage naming what is missing."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and _is_linked(path) and (missing := python.missing_libraries(path)):
            raise BadImage(path, f"its libraries are not in the recipe: {', '.join(missing)}")


def _is_linked(path: Path) -> bool:
    if path.name in {"busybox", Path(LOADER).name}:
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _applets(root: Path) -> Iterator[cpio.Entry]:
    names = programs.run([str(root / "usr/bin/busybox"), "--list"]).split()
    return (
        cpio.symlink(f"usr/bin/{name}", "busybox") for name in names if name not in recipe.APPLETS_LEFT_OUT
    )


def _from_disk(root: Path, path: Path) -> cpio.Entry:
    name = path.relative_to(root).as_posix()
    if path.is_symlink():
        return cpio.symlink(name, str(path.readlink()))
    return cpio.file(name, path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)
