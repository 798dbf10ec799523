"""The table of `openstack` commands is made of the scripts that the real client runs, and of nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "tests" / "contract" / "openstack"
PAGE = ROOT / "docs" / "reference" / "openstack-commands.md"
# Service -> the words that its commands begin with.
SERVICES: dict[str, tuple[str, ...]] = {
    "identity": (
        "token", "catalog", "project", "user", "role", "domain", "region", "service", "endpoint",
        "application credential",
    ),
    "image": ("image",),
    "compute": (
        "flavor", "keypair", "server", "console log", "hypervisor", "availability zone", "compute service",
        "limits", "quota", "usage", "console url",
    ),
    "network": ("network", "subnet", "port", "security group", "router", "floating ip"),
    "placement": ("resource",),
    "volume": ("volume",),
}  # fmt: skip
VERBS = (
    "create|list|show|set|unset|save|delete|issue|start|stop|reboot|rebuild|resize|confirm|revert|pause|unpause"
    "|lock|unlock|rescue|unrescue|revoke|suspend|shelve|migrate|add|remove"
)
WHAT = "project|volume|port|network|fixed ip|floating ip|security group"
COMMAND = re.compile(
    rf"^(?:[a-z]+ )*?(?:resize (?:confirm|revert)|user password set|(?:add|remove) (?:{WHAT})|{VERBS})(?= |$)"
)
HEAD = """# `openstack` commands that work

Made from the scripts in `tests/contract/openstack/` by `tests/unit/docs/test_openstack_commands.py`: the
real client (python-openstackclient 10.5.0, osc-placement 4.9.1) runs every line of them in the test suite.
"Refused" counts calls that must fail, with the words that the client's user reads.

| service | command | options | works | refused |
|---|---|---|---|---|
"""


def _calls() -> list[tuple[bool, str]]:
    """Each call of the scripts: whether it must work, and its words."""
    found = []
    for script in ("commands.sh", "devices.sh", "people.sh", "limits.sh"):
        for line in (SCRIPTS / script).read_text().splitlines():
            match = re.match(r'(?:run|soon) (ok|no) (?:"[^"]*"|\S+) (.+)', line)
            if match:
                found.append((match[1] == "ok", re.sub(r"^\$\(as_\w+ \w+\) ", "", match[2])))
    lines = (SCRIPTS / "boots.sh").read_text().replace("\\\n", " ").splitlines()
    return found + [
        (True, match[1].strip()) for line in lines if (match := re.match(r"\s*openstack (.+)", line))
    ]


def _service(words: str) -> str:
    return next(name for name, heads in SERVICES.items() if words.startswith(heads))


def _page() -> str:
    rows: dict[tuple[str, str], tuple[set[str], list[int]]] = {}
    for works, words in _calls():
        match = COMMAND.match(words)
        assert match is not None, f"{words}: which command is that? Name its verb in VERBS"
        options, counts = rows.setdefault((_service(words), match[0]), (set(), [0, 0]))
        options |= set(re.findall(r"(?<= )--[a-z-]+", words.partition("$(")[0]))
        counts[0 if works else 1] += 1
    order = list(SERVICES)
    lines = [
        f"| {service} | {command} | {' '.join(sorted(options))} | {works or ''} | {refused or ''} |"
        for (service, command), (options, (works, refused)) in sorted(
            rows.items(), key=lambda row: (order.index(row[0][0]), row[0][1])
        )
    ]
    return HEAD + "\n".join(lines) + "\n"


def test_the_table_of_commands_is_what_the_scripts_run() -> None:
    if os.environ.get("GUESTLING_GOLDEN") == "rewrite":
        PAGE.write_text(_page())
    assert PAGE.read_text() == _page(), "run ./dev golden, and read the difference"


def test_every_service_is_in_it() -> None:
    shown = PAGE.read_text()
    assert len(re.findall(r"^\| (?!service|-)", shown, re.MULTILINE)) > 80
    assert all(f"| {service} |" in shown for service in SERVICES)
