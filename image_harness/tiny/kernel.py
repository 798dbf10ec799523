"""The kernel of the tiny guest: its image, and the modules it needs with what they depend on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from image_harness import cpio
from image_harness.errors import BadImage

_MODINFO = re.compile(rb"\0(depends|alias)=([^\0]*)(?=\0)")


@dataclass(frozen=True)
class KernelModule:
    """A module as its own `.modinfo` section describes it."""

    name: str
    content: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def release(root: Path) -> str:
    """The kernel's release, such as `6.1.0-56-cloud-amd64`, of an unpacked linux-image package."""
    images = sorted((root / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise BadImage(root / "boot", f"one kernel is expected and {len(images)} are there")
    return images[0].name.removeprefix("vmlinuz-")


def entries(root: Path, names: Iterable[str]) -> Iterator[cpio.Entry]:
    """The modules, all in one directory, with the two tables that `modprobe` reads."""
    where = f"usr/lib/modules/{release(root)}"
    modules = with_dependencies(root, names)
    for module in modules.values():
        yield cpio.file(f"{where}/{module.name}.ko", module.content)
    depends = "".join(
        f"{name}.ko: {' '.join(f'{needed}.ko' for needed in needs(name, modules))}".rstrip() + "\n"
        for name in modules
    )
    aliases = "".join(
        f"alias {alias} {module.name}\n" for module in modules.values() for alias in module.aliases
    )
    yield cpio.file(f"{where}/modules.dep", depends.encode())
    yield cpio.file(f"{where}/modules.alias", aliases.encode())


def with_dependencies(root: Path, names: Iterable[str]) -> dict[str, KernelModule]:
    """The named modules and all they depend on, by name. Raises BadImage for one that is not there."""
    where = root / "lib/modules" / release(root)
    files = {_canonical(path.name.removesuffix(".ko")): path for path in where.rglob("*.ko")}
    found: dict[str, KernelModule] = {}
    waiting = [_canonical(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in files:
            raise BadImage(where, f"the kernel has no module {name}")
        found[name] = parse_module(name, files[name].read_bytes())
        waiting += found[name].depends
    return dict(sorted(found.items()))


def parse_module(name: str, content: bytes) -> KernelModule:
    """Read what a module says of itself; `.modinfo` strings are found by their form, not by section."""
    info = [(key.decode(), value.decode()) for key, value in _MODINFO.findall(content)]
    depends = [
        _canonical(part) for key, value in info if key == "depends" for part in value.split(",") if part
    ]
    return KernelModule(name, content, tuple(depends), tuple(value for key, value in info if key == "alias"))


def needs(name: str, modules: Mapping[str, KernelModule]) -> tuple[str, ...]:
    """All that a module depends on, nearest first, as modules.dep lists them."""
    ordered: dict[str, None] = {}
    waiting = list(modules[name].depends)
    while waiting:
        needed = waiting.pop(0)
        # A module met again moves to the end: it must be loaded before everything that was met so far.
        ordered.pop(needed, None)
        ordered[needed] = None
        waiting += modules[needed].depends
    return tuple(ordered)


def _canonical(name: str) -> str:
    return name.replace("-", "_")
