"""Runs in cloud-init's own environment: its `net-convert` over many documents, one JSON list in, one out."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])
HAVE: set[str] = set()


def convert(net_convert: Any, job: dict[str, Any]) -> dict[str, Any]:
    HAVE.clear()
    HAVE.update(job["have"])
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "in").write_text(job["text"])
        words = [
            "-p",
            f"{home}/in",
            "-k",
            job["kind"],
            "-d",
            f"{home}/out",
            "-D",
            job["distro"],
            "-O",
            job["output"],
        ]
        for mac, nic in job["nics"].items():
            words += ["-m", f"{nic},{mac}"]
        try:
            net_convert.handle_args("net-convert", net_convert.get_parser().parse_args(words))
        except Exception as error:  # noqa: BLE001 - whatever the peer does is an answer
            return {"error": f"{type(error).__name__}: {error}"}
        found = [path for path in (home / "out").rglob("*") if path.is_file()]
        return {"files": {f"/{path.relative_to(home / 'out')}": path.read_text() for path in found}}


def main() -> None:
    from cloudinit import net, subp, util  # type: ignore[import-not-found]  # only there
    from cloudinit.cmd.devel import net_convert  # type: ignore[import-not-found]  # only there
    from cloudinit.net import network_state  # type: ignore[import-not-found]  # only there

    # The peer must not see this machine: neither its programs, nor its NICs, nor its users.
    subp.which = lambda program, **_more: program if program in HAVE else None
    net.get_interfaces_by_mac = network_state.get_interfaces_by_mac = lambda *_args, **_more: {}
    net.get_ib_hwaddrs_by_interface = lambda *_args, **_more: {}
    util.chownbyname = lambda *_args, **_more: None
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stderr(io.StringIO()):
        answers = [convert(net_convert, job) for job in json.load(sys.stdin)]
    json.dump(answers, sys.stdout)


main()
