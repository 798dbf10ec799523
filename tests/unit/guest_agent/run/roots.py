"""A guest in a directory, for the tests of the boot: files below a root, commands recorded, clock fixed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guest_agent.boot import Boot
from guest_agent.cli import main
from guest_agent.machine import Machine, Settings

MAC = "52:54:00:12:34:56"
CONFIG = """\
datasource_list: [NoCloud, ConfigDrive, None]
users: [default]
cloud_init_modules: [bootcmd, write_files, set_hostname, users_groups]
cloud_config_modules: [runcmd]
cloud_final_modules: [write_files_deferred, scripts_user, final_message]
system_info: {distro: debian, network: {renderers: [eni]}}
"""
FILES = {
    "etc/cloud/cloud.cfg": CONFIG,
    "etc/os-release": 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\n",
    "etc/hostname": "localhost\n",
    "etc/network/interfaces": "auto lo\n",
    "proc/cmdline": "root=/dev/vda1 quiet\n",
    "proc/uptime": "12.50 10.00\n",
    "sys/class/net/eth0/address": f"{MAC}\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/carrier": "1\n",
}
HAVE = ("ifup", "ifdown", "ifquery", "ip", "useradd", "passwd", "hostname")
STAGES = (("init", "--local"), ("init",), ("modules", "--mode=config"), ("modules", "--mode=final"))


class Root:
    """A guest's tree and what its agent does."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self.replies = ""
        self.extra: tuple[str, ...] = ()
        for name, text in FILES.items():
            self.put(name, text)

    def put(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file of the guest."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        place.chmod(mode)

    def seed(self, user_data: str | bytes = "", instance_id: str = "i-1", **more: str) -> None:
        """A NoCloud seed directory."""
        self.put(
            "var/lib/cloud/seed/nocloud/meta-data", f"instance-id: {instance_id}\nlocal-hostname: web1\n"
        )
        self.put("var/lib/cloud/seed/nocloud/user-data", user_data)
        for name, text in more.items():
            self.put(f"var/lib/cloud/seed/nocloud/{name.replace('_', '-')}", text)

    def settings(self) -> Settings:
        """The test interface for this root."""
        return Settings(
            root=str(self.path), have=HAVE, epoch_s=1700000000.0, uptime_s=12.5, random_seed=1,
            replies=self.replies,
        )  # fmt: skip

    def machine(self) -> Machine:
        """This root as the agent sees it."""
        return Machine(self.settings())

    def boot(self) -> Boot:
        """One agent process on it."""
        return Boot(self.machine())

    def agent(self, *words: str) -> int:
        """Run a command; its exit status."""
        replies = ("--replies", self.replies) if self.replies else ()
        options = ("--root", str(self.path), "--have", ",".join(HAVE), "--epoch", "1700000000", *replies)
        return main("cloud-init", [*options, "--uptime", "12.5", *self.extra, *words])

    def all_stages(self, stages: Sequence[tuple[str, ...]] = STAGES) -> list[int]:
        """Each stage by its own command; the exit statuses."""
        return [self.agent(*words) for words in stages]

    def reboot(self) -> None:
        """Lose what a reboot loses."""
        import shutil

        shutil.rmtree(self.path / "run", ignore_errors=True)

    def text(self, name: str) -> str:
        """A file's text."""
        return (self.path / name).read_text()

    def json(self, name: str) -> Any:
        """A JSON file."""
        return json.loads(self.text(name))

    def status(self) -> Mapping[str, Any]:
        """status.json's v1."""
        found: Mapping[str, Any] = self.json("var/lib/cloud/data/status.json")["v1"]
        return found

    def commands(self) -> list[list[str]]:
        """The commands that were recorded, in order."""
        path = self.path / "run/cloud-init/commands.jsonl"
        if not path.exists():
            return []
        return [json.loads(line)["argv"] for line in path.read_text().splitlines()]

    def tree(self, *, without: Sequence[str] = ()) -> dict[str, tuple[int, bytes]]:
        """Mode and content of every file and link, but those below the named directories."""
        found = {}
        for directory, _names, files in os.walk(self.path):
            for name in files:
                place = Path(directory) / name
                inside = str(place.relative_to(self.path))
                if not inside.startswith(tuple(without)):
                    is_link = place.is_symlink()
                    content = str(place.readlink()).encode() if is_link else place.read_bytes()
                    found[inside] = (0 if is_link else place.stat().st_mode & 0o7777, content)
        return found
