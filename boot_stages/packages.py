"""Package managers: one row for each, read by every module that needs a package.

Source: guest-agent.md 3.3 (package_update_upgrade_install).
"""

from __future__ import annotations

from boot_stages.actions import GO_ON, RunCommand, RunParts, WriteFile
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boot_stages.actions import Action
    from boot_stages.facts import Facts


# No single wait of a boot is longer (guest-agent.md 6).
SEED_WAIT_S = 120.0


class Manager(Value):
    """One package manager: its commands, how a version is joined to a name, its environment and locks."""

    name: str
    update: tuple[str, ...]
    upgrade: tuple[str, ...]
    install: tuple[str, ...]
    joint: str
    environment: tuple[tuple[str, str], ...] = ()
    locks: tuple[str, ...] = ()


_APT = (
    "apt-get",
    "--option=Dpkg::Options::=--force-confold",
    "--option=Dpkg::options::=--force-unsafe-io",
    "--assume-yes",
    "--quiet",
)

MANAGERS: dict[str, Manager] = {
    "apt": Manager(
        "apt",
        (*_APT, "update"),
        (*_APT, "dist-upgrade"),
        (*_APT, "install"),
        "=",
        (("DEBIAN_FRONTEND", "noninteractive"),),
        (
            "/var/lib/dpkg/lock",
            "/var/lib/dpkg/lock-frontend",
            "/var/cache/apt/archives/lock",
            "/var/lib/apt/lists/lock",
        ),
    ),
    "dnf": Manager(
        "dnf", ("dnf", "-y", "makecache"), ("dnf", "-y", "upgrade"), ("dnf", "-y", "install"), "-"
    ),
    "yum": Manager(
        "yum", ("yum", "-y", "makecache"), ("yum", "-y", "upgrade"), ("yum", "-y", "install"), "-"
    ),
    "apk": Manager(
        "apk",
        ("apk", "update"),
        ("apk", "upgrade", "--update-cache", "--available"),
        ("apk", "--quiet", "add"),
        "=",
    ),
}


def manager_of(facts: Facts) -> Manager:
    """The guest's package manager; yum where a Red Hat guest has no dnf."""
    name = facts.distro.package_manager
    if name == "dnf" and facts.which("dnf") is None and facts.which("yum") is not None:
        name = "yum"
    return MANAGERS[name]


def update(facts: Facts, *, force: bool) -> tuple[Action, ...]:
    """Fetch the lists of packages: apt's once per instance unless forced, the others' each time."""
    manager = manager_of(facts)
    done = f"{facts.instance_directory}/sem/update_sources"
    if manager.name == "apt" and facts.exists(done) and not force:
        return ()
    command = _command(manager, manager.update, facts, GO_ON)
    if manager.name != "apt":
        return (command,) if force else ()
    return (command, WriteFile(done, f"{int(facts.clock().epoch_s)}\n".encode()))


def upgrade(facts: Facts) -> Action:
    """Bring every package up to date."""
    manager = manager_of(facts)
    return _command(manager, manager.upgrade, facts, GO_ON)


def install(names: Sequence[str], facts: Facts, *, on_failure: str = GO_ON) -> tuple[Action, ...]:
    """Install packages, after a first update. When not all can be had, each is tried alone, so that the
    known ones are installed and the failure names the others; on Ubuntu snap is asked for those, too.
    """
    if not names:
        return ()
    manager = manager_of(facts)
    whole = _command(manager, (*manager.install, *names), facts, on_failure)
    if len(names) > 1 or _has_snap(facts):
        whole = whole.replace(otherwise=_one_by_one(names, manager, facts))
    return (*update(facts, force=False), whole)


def _one_by_one(names: Sequence[str], manager: Manager, facts: Facts) -> RunParts:
    commands = tuple(
        _command(manager, (*manager.install, name), facts, GO_ON).replace(
            name=name, otherwise=RunCommand(("snap", "install", name)) if _has_snap(facts) else None
        )
        for name in names
    )
    return RunParts("packages, one by one", commands, "these packages could not be installed")


def snap_seeded() -> Action:
    """Wait until snapd has its first snaps: it refuses work before that."""
    return RunCommand(("snap", "wait", "system", "seed.loaded"), timeout_s=SEED_WAIT_S, name="snap wait")


def _has_snap(facts: Facts) -> bool:
    return facts.distro.name == "ubuntu" and facts.which("snap") is not None


def _command(manager: Manager, argv: tuple[str, ...], facts: Facts, on_failure: str) -> RunCommand:
    # eatmydata leaves out fsync: a guest that is lost during its first boot is made anew.
    prefix = ("eatmydata",) if manager.name == "apt" and facts.which("eatmydata") else ()
    return RunCommand(
        (*prefix, *argv),
        environment=manager.environment,
        locks=manager.locks,
        show=True,
        name=" ".join(word for word in argv if not word.startswith("-")),
        on_failure=on_failure,
        opaque=True,
    )


def is_installed(name: str, facts: Facts) -> bool:
    """Whether dpkg, rpm or apk knows a package as installed."""
    family = facts.distro.family
    if family == "debian":
        answer = facts.ask("dpkg-query", "-W", "-f", "${db:Status-Status}", name)
        return answer.out.strip() == b"installed"
    question = ("apk", "info", "-e", name) if family == "alpine" else ("rpm", "-q", name)
    return facts.ask(*question).status == 0
