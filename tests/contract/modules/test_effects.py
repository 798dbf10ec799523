"""Plan equals boot: 21 cloud-configs carried out with the real tools in roots of Debian 12 and 13.

For each: what is planned on the untouched root is what is then done, action by action; what the plan says of
files is on the disk; nothing else is, but what the commands of the plan are known to write; and a second boot
plans nothing. Scripts are opaque: their effect is in their own hands.
"""

import json
import re
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CASES = sorted((HERE.parents[2] / "fixtures" / "effects").glob("*.yaml"))
Boot = Callable[[Path, Path], dict[str, Any]]
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]

# What the commands of plans are known to write.
ACCOUNTS = r"/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?|/etc/\.pwd\.lock|/var/log/(last|fail)log"
WRITES = {
    "useradd": rf"{ACCOUNTS}|/home/[^/]+(/\.(bash_logout|bashrc|profile))?",
    "groupadd": ACCOUNTS,
    "usermod": ACCOUNTS,
    "passwd": ACCOUNTS,
    "chpasswd": ACCOUNTS,
    "ssh-keygen": r"/etc/ssh/ssh_host_\w+_key(\.pub)?",
    "locale-gen": r"/usr/lib/locale/locale-archive",
    "update-locale": r"/etc/(default/locale|locale\.conf)",
    "update-ca-certificates": r"/etc/ssl/certs/.*|/etc/ca-certificates/.*|/usr/local/share/ca-certificates",
    "debconf-set-selections": r"/var/cache/debconf/.*",
    "systemctl": r"/etc/systemd/.*",
    "/bin/sh": r"/run/(order|id)",
}
# On every last boot: its time stands in it.
ALWAYS_WRITTEN = r"/var/lib/cloud/instances/i-effects/boot-finished"


@pytest.mark.parametrize("config", CASES, ids=lambda path: path.stem)
def test_plan_equals_boot(config: Path, guest_root: Path, boot: Boot) -> None:
    result = boot(guest_root, config)
    planned = {name: [each["summary"] for each in plan] for name, plan in result["planned"].items()}
    assert result["errors"] == {}
    assert without_services(result["done"]) == without_services(planned)
    assert_files(guest_root, [each for plan in result["planned"].values() for each in plan])
    assert_nothing_else(guest_root, result)
    again = {name: [each["summary"] for each in plan] for name, plan in result["again"].items() if plan}
    # Asked for on every boot: the last words with the file that says when, and the user's own commands.
    assert set(again) <= {"final_message", "bootcmd"}


def without_services(plans: dict[str, list[str]]) -> dict[str, list[str]]:
    """The plans without `systemctl`, which has nobody to talk to in a root that is not running."""
    return {
        name: [text for text in plan if not text.startswith("run systemctl ")] for name, plan in plans.items()
    }


def assert_files(root: Path, plan: list[dict[str, Any]]) -> None:
    """Every file that was to be written holds what the plan says, unless a later action wrote it, too."""
    last = {each["path"]: each for each in plan if each["do"] in {"WriteFile", "AppendFile", "Remove"}}
    for path, action in last.items():
        target = root / path.lstrip("/")
        if action["do"] == "Remove" or path.endswith("boot-finished"):
            continue
        assert stat.S_IMODE(target.stat().st_mode) == int(action.get("mode", "0644"), 8), path
        if action.get("content", "") != "***":
            content = target.read_text()
            wanted = action.get("content", "")
            assert content == wanted if action["do"] == "WriteFile" else content.endswith(wanted), path


def assert_nothing_else(root: Path, result: dict[str, Any]) -> None:
    """Every changed path is planned, or written by a command that ran."""
    upper = root.parent / "upper"
    plan = [each for steps in result["planned"].values() for each in steps]
    paths = {each["path"] for each in plan if "path" in each} | {
        each["output_to"] for each in plan if "output_to" in each
    }
    patterns = [
        ALWAYS_WRITTEN,
        *(WRITES[each["argv"][0]] for each in plan if each.get("argv", [""])[0] in WRITES),
    ]
    if result["done"].get("scripts_user"):
        patterns.append(WRITES["/bin/sh"])
    for found in sorted(upper.rglob("*")):
        path = f"/{found.relative_to(upper)}"
        if found.is_dir() and not found.is_symlink():
            continue  # directories are copied up with what is in them
        assert path in paths or any(re.fullmatch(each, path) for each in patterns), path


def test_users_are_real(guest_root: Path, boot: Boot) -> None:
    boot(guest_root, HERE.parents[2] / "fixtures/effects/03-users-with-everything.yaml")
    passwd = (guest_root / "etc/passwd").read_text()
    assert re.search(r"^ana:x:1234:\d+:Ana Example:/home/ana:/bin/sh$", passwd, re.MULTILINE)
    assert (guest_root / "home/ana/.ssh/authorized_keys").stat().st_uid == 1234
    for tool in ("pwck", "grpck"):  # GA-W10
        checked = subprocess.run(
            ["chroot", str(guest_root), tool, "-r"], capture_output=True, text=True, check=False
        )
        ours = [line for line in checked.stdout.splitlines() if "ana" in line or "ops" in line]
        assert ours == []
    rules = subprocess.run(
        ["chroot", str(guest_root), "visudo", "-c"], capture_output=True, text=True, check=False
    )
    assert rules.returncode == 0, rules.stdout + rules.stderr


def test_passwords_are_set_expired_and_shown_once(guest_root: Path, boot: Boot) -> None:
    result = boot(guest_root, HERE.parents[2] / "fixtures/effects/04-passwords.yaml")
    shadow = dict(line.split(":", 1) for line in (guest_root / "etc/shadow").read_text().splitlines())
    assert shadow["ana"].startswith("$")
    assert shadow["bob"].split(":")[1] == "0"  # a new password is asked for
    shown = re.search(r"^root:(\S{20})$", result["console"], re.MULTILINE)
    assert shown
    assert shown.group(1) not in json.dumps({name: result[name] for name in ("planned", "done", "errors")})
    assert "hunter2" not in json.dumps(
        {name: result[name] for name in ("planned", "done", "errors", "console")}
    )


def test_known_packages_are_installed_and_unknown_ones_named(
    guest_root: Path, tmp_path: Path, boot: Boot
) -> None:
    try:
        socket.getaddrinfo("deb.debian.org", 80)
    except OSError as error:
        pytest.skip(f"Debian's archive cannot be reached: {error}")
    (guest_root / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
    config = tmp_path / "packages.yaml"
    config.write_text('packages: [hello, no-such-package]\nruncmd: ["false", "hello > /srv/said"]\n')
    result = boot(guest_root, config)
    missing = "these packages could not be installed: no-such-package"
    assert result["errors"] == {
        "package_update_upgrade_install": f"ModuleFailed('{missing}')",
        "scripts_user": "ModuleFailed('Runparts: 1 failures (runcmd) in 1 attempted commands')",
    }
    assert (guest_root / "srv/said").read_text() == "Hello, world!\n"
