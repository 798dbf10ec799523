"""Run as a program in a network namespace of its own: the server at 169.254.169.254:80, then one client.

    unshare --map-root-user --net python in_namespace.py INSTANCES ACCESS_LOG OPTIONS_JSON CLIENT...

What the client prints is what this prints.
"""

from __future__ import annotations

import json
import subprocess
import sys

ADDRESS = "169.254.169.254"


def main(instances: str, access_log: str, options: str, *client: str) -> int:
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"),
        ("ip", "-6", "address", "add", "fd00:ec2::254/128", "dev", "lo"),
    ):
        subprocess.run(command, check=True)
    serve = [sys.executable, "-m", "guestling.main", "serve", "--instances", instances, "--stay-root"]
    serve += ["--listen", f"{ADDRESS}:80", "--access-log", access_log, *json.loads(options)]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        if not server.stdout.readline().startswith("listening"):
            return 3
        return subprocess.run(client, check=False, timeout=90).returncode
    finally:
        server.terminate()
        server.wait(15)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
