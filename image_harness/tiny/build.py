"""Builds the tiny guest into the image store, or finds it there.

Two layers, each kept under a digest of all that goes into it: the base (seconds, needs the Debian archive)
and the agent (a fraction of a second, needs nothing). Asking for an image that is there costs reading the
agent's source files.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from image_harness import cache, cpio, debian, store
from image_harness.errors import UnsupportedHost
from image_harness.tiny import agent, base, kernel, recipe

NAME = "tiny"
# A guest whose /init ends must not spin for ever (`panic`); the others save boot time under emulation.
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"


@dataclass(frozen=True)
class Base:
    """The layer that does not change with the agent."""

    digest: str
    where: Path
    kernel: str
    packages: tuple[store.PackageVersion, ...]


def build(say: Callable[[str], None], refresh: bool) -> store.Built:
    """The tiny image as its recipe and the agent stand now; `refresh` fetches the packages anew.

    `say` is told about each step that takes time. Raises HarnessError.
    """
    agent_digest = agent.digest()
    found = None if refresh else _find_base()
    if found is not None:
        where = _place(found, agent_digest)
        if (where / store.MANIFEST).exists():
            return store.Built(store.read(where), cached=True)
    layer = found or _build_base(say)
    say(f"packing the agent {agent_digest}")
    return store.Built(_assemble(layer, agent_digest), cached=False)


def _place(layer: Base, agent_digest: str) -> Path:
    return store.directory() / NAME / f"{layer.digest}-{agent_digest}"


def _bases() -> Path:
    return cache.home() / "bases"


def recipe_digest() -> str:
    """Changes when anything that decides the base does: recipe, own files, the code that packs them."""
    whole = hashlib.sha256()
    code = [Path(str(module.__file__)) for module in (recipe, base, kernel, cpio)] + [base.COMPILER]
    own = [path for path in sorted(base.OWN_FILES.rglob("*")) if path.is_file()]
    for path in [*code, *own]:
        whole.update(f"{path.name}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def _find_base() -> Base | None:
    """The newest base made by this recipe."""
    found = sorted(_bases().glob(f"{recipe_digest()}-*/base.json"), key=lambda path: path.stat().st_mtime)
    return _read_base(found[-1].parent) if found else None


def _read_base(where: Path) -> Base:
    document = json.loads((where / "base.json").read_text())
    packages = tuple(store.PackageVersion(**package) for package in document["packages"])
    return Base(document["digest"], where, document["kernel"], packages)


def _build_base(say: Callable[[str], None]) -> Base:
    if platform.machine() != "x86_64":
        raise UnsupportedHost(NAME, f"this is a {platform.machine()} host", "Build it on an x86_64 machine")
    with cache.scratch() as work:
        say(f"fetching {len(recipe.KEPT) + 1} packages of Debian {recipe.SUITE}")
        packages = base.fetch(work)
        say("unpacking them and compiling Python's library")
        root = base.lay_out(work, packages)
        return _keep_base(work, root, packages)


def _keep_base(work: Path, root: Path, packages: tuple[debian.Package, ...]) -> Base:
    image = next(package for package in packages if package.name.startswith("linux-image"))
    unpacked_kernel = work / "unpacked" / image.name
    versions = tuple(
        store.PackageVersion(package.name, package.version, package.sha256) for package in packages
    )
    archive = cpio.archive(base.entries(root, unpacked_kernel))
    release = kernel.release(unpacked_kernel)
    digest = hashlib.sha256(archive).hexdigest()[:16]
    final = _bases() / f"{recipe_digest()}-{digest}"
    with cache.new_directory(final) as kept:
        (kept / "base.cpio").write_bytes(archive)
        shutil.copyfile(unpacked_kernel / "boot" / f"vmlinuz-{release}", kept / "vmlinuz")
        shutil.move(root, kept / "root")
        document = {
            "digest": digest,
            "kernel": release,
            "packages": [asdict(version) for version in versions],
        }
        (kept / "base.json").write_text(json.dumps(document, indent=1) + "\n")
    (final / "base.json").touch()
    return _read_base(final)


def _assemble(layer: Base, agent_digest: str) -> store.Image:
    where = _place(layer, agent_digest)
    with cache.new_directory(where) as new, cache.scratch() as work:
        packed = agent.archive(layer.where / "root", work)
        (new / "initrd").write_bytes((layer.where / "base.cpio").read_bytes() + packed)
        shutil.copyfile(layer.where / "vmlinuz", new / "vmlinuz")
        built = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = store.Manifest(
            NAME, where.name, built, recipe.SUITE, layer.kernel, CMDLINE, agent_digest, layer.packages
        )
        store.write_manifest(new, manifest)
    store.prune(NAME)
    return store.read(where)
