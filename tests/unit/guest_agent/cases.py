"""What the agent makes of one case of fixtures/user_data and fixtures/bad_user_data.

Runs on every Python of a guest, without pytest: `python -m tests.unit.guest_agent.cases FILE...` prints
the outcomes as a JSON list, so that the tests can compare Python 3.9 with the one they run on.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from guest_agent import templates
from guest_agent.devel import dotted
from guest_agent.errors import FetchFailed, UserDataUnusable
from guest_agent.parts import expand, for_launch_index
from guest_agent.plain import plain
from guest_agent.user_data import Boothook, Consumption, Rendered, Script, consume


def made(described: Any) -> bytes:
    """The bytes that a case describes: text, {b64}, {gzip: ...}, {join: [...]}, {repeat, times}, {hex}."""
    if isinstance(described, str):
        return described.encode("utf-8")
    if "b64" in described:
        return base64.b64decode(described["b64"])
    if "hex" in described:
        return bytes.fromhex(described["hex"])
    if "gzip" in described:
        packed = gzip.compress(made(described["gzip"]), mtime=0)
        return packed[:9] + b"\xff" + packed[10:]  # the same "operating system" whatever the Python
    if "base64" in described:
        return base64.encodebytes(made(described["base64"]))
    if "join" in described:
        return b"".join(made(piece) for piece in described["join"])
    return made(described["repeat"]) * int(described["times"])


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """`fails` when the network stage must stop, else parts, config, steps, warnings, errors, origins."""
    urls = case.get("urls", {})

    def fetch(url: str, _once: bool) -> bytes:
        if url not in urls:
            raise FetchFailed(url, "HTTP 404", 404)
        return made(urls[url])

    def render(template: bytes, place: str) -> Rendered:
        return templates.render(template, case.get("instance_data", {}), place)

    try:
        expansion = expand(made(case["input"]), fetch=fetch)
    except UserDataUnusable as error:
        return {"fails": f"{error.code}: {error.text}"}
    parts = for_launch_index(expansion.parts, case.get("launch_index"))
    consumed = consume(parts, render=render)
    found: dict[str, Any] = {
        "parts": [f"{part.number} {part.type} {part.filename} {len(part.payload)}" for part in parts],
        "config": plain(dict(consumed.config.value)),
        "origins": origins(consumed),
        "steps": [shown(step) for step in consumed.steps],
        "warnings": [text for _, text in (*expansion.warnings, *consumed.warnings)],
        "errors": [*expansion.errors, *consumed.errors],
    }
    return {name: value for name, value in found.items() if value}


def origins(consumed: Consumption) -> dict[str, str]:
    """Key to `layer:line rule`, for each key that somebody set."""
    return {
        dotted(path): " + ".join(
            f"{origin.layer}:{origin.line} {origin.rule}" for origin in consumed.config.where(path)
        )
        for path in sorted(consumed.config.origins, key=str)
    }


def shown(step: object) -> str:
    """A step in one line."""
    if isinstance(step, Script):
        return f"{step.folder}/{step.filename}: {step.content.decode('utf-8', 'backslashreplace')}"
    if isinstance(step, Boothook):
        return f"boothook {step.filename}: {step.content.decode('utf-8', 'backslashreplace')}"
    return repr(step)


if __name__ == "__main__":
    answers = [outcome(json.loads(Path(name).read_text(encoding="utf-8"))) for name in sys.argv[1:]]
    json.dump(answers, sys.stdout)
