"""Real Nova's metadata API under uwsgi, with one instance in SQLite databases that are made anew each run.

Nova comes from PyPI into an environment of its own. `conf` writes what a small installation would have; the
Neutron side of it is a shared secret, as Nova's own metadata agent protocol asks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.contract import peers

SITE = Path(__file__).with_name("nova_site")
SECRET = "a shared secret of some length"
CACHED_S = 15
"""Nova's default for `metadata_cache_expiration`."""


@dataclass(frozen=True, slots=True)
class Nova:
    """An installation: Nova's environment and the directory of its configuration and databases."""

    environment: Path
    directory: Path

    def command(self, port: int, *, cached: bool) -> tuple[list[str], dict[str, str]]:
        """argv and environment variables of the server, one worker process of one thread."""
        argv = [str(self.environment / "bin" / "uwsgi"), "--http11-socket", f"127.0.0.1:{port}"]
        argv += [
            "--wsgi-file",
            str(SITE / "application.py"),
            "--master",
            "--processes",
            "1",
            "--threads",
            "1",
        ]
        argv += ["--lazy-apps", "--disable-logging", "--die-on-term", "--listen", "100"]
        name = "cached.conf" if cached else "uncached.conf"
        return argv, {
            "OS_NOVA_CONFIG_DIR": str(self.directory),
            "OS_NOVA_CONFIG_FILES": f"api-paste.ini;{name}",
        }


def headers(uuid: str, project: str, secret: str = SECRET) -> dict[str, str]:
    """What Neutron's metadata agent adds to a guest's request."""
    signature = hmac.new(secret.encode(), uuid.encode(), hashlib.sha256).hexdigest()
    return {
        "X-Instance-ID": uuid,
        "X-Tenant-ID": project,
        "X-Forwarded-For": "10.20.30.40",
        "X-Instance-ID-Signature": signature,
    }


def install(directory: Path, document: Mapping[str, object]) -> Nova:
    """Nova with `document`'s instance in its databases. Raises peers.PeerMissingError, CalledProcessError."""
    python = peers.nova()
    found = Nova(python.parents[1], directory)
    directory.mkdir()
    for name, expiry_s in (("cached", CACHED_S), ("uncached", 0)):
        (directory / f"{name}.conf").write_text(conf(directory, expiry_s))
    paste = found.environment / "etc" / "nova" / "api-paste.ini"
    (directory / "api-paste.ini").write_bytes(paste.read_bytes())
    manage = [str(python.with_name("nova-manage")), "--config-file", str(directory / "cached.conf")]
    for words in (
        ("api_db", "sync"),
        ("cell_v2", "map_cell0", "--database_connection", f"sqlite:///{directory}/cell0.db"),
        ("db", "sync"),
        ("cell_v2", "create_cell", "--name", "cell1", "--database_connection", f"sqlite:///{directory}/cell.db",
         "--transport-url", "fake:/"),
    ):  # fmt: skip
        _run([*manage, *words], found)
    seed = [str(python), str(SITE / "seed.py"), str(directory / "cached.conf")]
    _run(seed, found, json.dumps(document))
    return found


def conf(directory: Path, expiry_s: int) -> str:
    """nova.conf; `expiry_s` 0 turns Nova's cache of metadata off."""
    return f"""[DEFAULT]
host = compute-1
my_ip = 127.0.0.1
state_path = {directory}
transport_url = fake:/
log_file = {directory}/nova.log
[api]
metadata_cache_expiration = {expiry_s}
[database]
connection = sqlite:///{directory}/cell.db
[api_database]
connection = sqlite:///{directory}/api.db
[neutron]
service_metadata_proxy = true
metadata_proxy_shared_secret = {SECRET}
[oslo_concurrency]
lock_path = {directory}
"""


def _run(argv: list[str], nova: Nova, stdin: str = "") -> None:
    path = f"{nova.environment / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        argv, input=stdin, text=True, env={**os.environ, "PATH": path}, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench metadata: {' '.join(argv)} failed:\n{done.stderr[-2000:]}")
