"""Images in two layers: a base that is fetched and unpacked, and the agent, which changes while one works.

Each layer is kept under a digest of all that goes into it: the base takes seconds or minutes and needs the
Debian archive, the agent a fraction of a second and nothing. Asking for an image that is there costs reading
the agent's source files.
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

from image_harness import agent, cache, store
from image_harness.errors import UnsupportedHost

Say = Callable[[str], None]
_FACTS = "base.json"


@dataclass(frozen=True)
class BaseFacts:
    """What came into a base: its kernel's release, its packages, and the time that its files bear."""

    kernel: str
    packages: tuple[store.PackageVersion, ...]
    epoch_s: int = 0


@dataclass(frozen=True)
class Plan:
    """How an image is made.

    `recipe`: digest of all that decides the base. `make_base` fills a directory (a `vmlinuz` and whatever
    else); `add_agent(base, image)` makes an image's files out of a base's directory. `kept`: how many builds
    and bases stay, for who goes back and forth between versions of the agent.
    """

    name: str
    suite: str
    cmdline: str
    memory_mib: int
    recipe: str
    make_base: Callable[[Path, Say], BaseFacts]
    add_agent: Callable[[Path, Path], None]
    kept: int


def build(plan: Plan, say: Say, *, refresh: bool = False) -> store.Built:
    """The image as its recipe and the agent stand now; `refresh` makes the base anew. Raises HarnessError.

    `say` is told about each step that takes time.
    """
    agent_digest = agent.digest()
    base = None if refresh else _find_base(plan)
    if base is not None:
        image = _place(plan, base, agent_digest)
        if (image / store.MANIFEST).exists():
            return store.Built(store.read(image), cached=True)
    base = base or _build_base(plan, say)
    say(f"packing the agent {agent_digest}")
    return store.Built(_assemble(plan, base, agent_digest), cached=False)


def digest_of(*files: Path, more: str = "") -> str:
    """A digest of files' names and contents, and of `more`; 16 hexadecimal digits."""
    whole = hashlib.sha256(more.encode())
    for path in files:
        whole.update(f"{path.name}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def bases(plan: Plan) -> list[Path]:
    """The directories of a plan's bases, newest first; those of its present recipe before all others."""
    found = (cache.home() / "bases" / plan.name).glob(f"*/{_FACTS}")
    ours = sorted(found, key=lambda path: (path.parent.name.startswith(plan.recipe), path.stat().st_mtime))
    return [path.parent for path in reversed(ours)]


def facts_of(base: Path) -> BaseFacts:
    """What is known of a base."""
    document = json.loads((base / _FACTS).read_text())
    packages = tuple(store.PackageVersion(**package) for package in document.pop("packages"))
    return BaseFacts(**document, packages=packages)


def _place(plan: Plan, base: Path, agent_digest: str) -> Path:
    """Where the image is kept that has this base, this agent and what the plan says of the machine."""
    rest = digest_of(more=f"{agent_digest}\0{plan.cmdline}\0{plan.memory_mib}")
    return store.directory() / plan.name / f"{base.name}-{rest}"


def _find_base(plan: Plan) -> Path | None:
    return next((base for base in bases(plan) if base.name.startswith(plan.recipe)), None)


def _build_base(plan: Plan, say: Say) -> Path:
    if platform.machine() != "x86_64":
        raise UnsupportedHost(
            plan.name, f"this is a {platform.machine()} host", "Build it on an x86_64 machine"
        )
    with cache.scratch() as work:
        facts = plan.make_base(work, say)
        versions = json.dumps([asdict(package) for package in facts.packages]).encode()
        final = (
            work.parents[1]
            / "bases"
            / plan.name
            / f"{plan.recipe}-{hashlib.sha256(versions).hexdigest()[:8]}"
        )
        with cache.new_directory(final) as kept:
            for path in work.iterdir():
                shutil.move(path, kept / path.name)
            (kept / _FACTS).write_text(json.dumps(asdict(facts), indent=1) + "\n")
    (final / _FACTS).touch()
    for old in bases(plan)[plan.kept :]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _assemble(plan: Plan, base: Path, agent_digest: str) -> store.Image:
    facts = facts_of(base)
    image = _place(plan, base, agent_digest)
    built = datetime.now(UTC).isoformat(timespec="seconds")
    with cache.new_directory(image) as new:
        plan.add_agent(base, new)
        shutil.copyfile(base / "vmlinuz", new / "vmlinuz")
        manifest = store.Manifest(
            name=plan.name,
            digest=image.name,
            built=built,
            suite=plan.suite,
            kernel=facts.kernel,
            cmdline=plan.cmdline,
            memory_mib=plan.memory_mib,
            agent=agent_digest,
            packages=facts.packages,
            epoch_s=facts.epoch_s,
        )
        store.write_manifest(new, manifest)
    store.prune(plan.name, plan.kept)
    return store.read(image)
