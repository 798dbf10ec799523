"""Started by /init: read the order, do it on the image's root, write the answer onto the answer disk."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

HELPER = Path("/helper")
sys.path[:0] = [str(HELPER), "/usr/lib/python3/dist-packages"]

ANSWER_MAGIC = b"GUESTLING ANSWER"


def main() -> None:
    """One answer, whatever happens: {"done": ...} or {"failed": "why"}."""
    from image_harness.helper.inside import mounts

    order: dict[str, Any] = json.loads((HELPER / "order.json").read_text())
    try:
        if order.get("own_root"):
            _write(mounts.disk("answer"), _encoded({"done": _do(order, Path("/")), "root": None}))
            return
        found = mounts.mount_root(mounts.disk("image"))
        below = f" with {', '.join(found.below)}" if found.below else ""
        what = f"{found.kind}, subvolume {found.subvolume}" if found.subvolume else found.kind
        say(f"the root is on {found.device} ({what}){below}")
        done = _do(order, mounts.ROOT)
        mounts.unmount(found)
        answer = {
            "done": done,
            "root": {
                "device": found.device,
                "kind": found.kind,
                "subvolume": found.subvolume,
                "below": found.below,
            },
        }
    except mounts.NoRoot as error:
        answer = {"failed": str(error)}
    except Exception as error:  # noqa: BLE001 -- the host is told, whatever it is
        traceback.print_exc()
        answer = {
            "failed": str(error)
            if type(error).__name__ == "CannotBake"
            else f"{type(error).__name__}: {error}"
        }
    _write(mounts.disk("answer"), _encoded(answer))


def _do(order: dict[str, Any], root: Path) -> object:
    if order["do"] == "describe":
        from image_harness import root_diff

        return {aspect: root_diff.ASPECTS[aspect](root) for aspect in order["aspects"]}
    if order["do"] == "seal":
        return _seal(root, mend=order["mend"])
    if order["do"] == "shell":
        from image_harness.helper.inside import shell

        return shell.add(root, order, HELPER / "payload")
    if order["do"] == "ask":
        # A function that the caller brought along: it is given the root and its own part of the order.
        sys.path.insert(0, str(HELPER / "payload"))
        module, _, function = order["function"].partition(":")
        return getattr(importlib.import_module(module), function)(root, order["order"])
    from image_harness.helper.inside import bake

    return bake.bake(root, order, HELPER / "payload", say)


def _encoded(answer: dict[str, object]) -> bytes:
    return json.dumps(answer).encode("utf-8", "surrogateescape")


def _seal(root: Path, *, mend: bool) -> dict[str, object]:
    from image_harness import seal

    found = seal.inspect(root)
    if mend:
        seal.clean(root, found)
    left = seal.inspect(root) if mend else found
    return {"found": [seal.to_json(each) for each in found], "left": [seal.to_json(each) for each in left]}


def say(text: str) -> None:
    """A line for whoever waits."""
    print(f"helper: {text}", flush=True)


def _write(device: str, answer: bytes) -> None:
    with open(f"/dev/{device}", "wb") as file:
        file.write(ANSWER_MAGIC + b"%16d" % len(answer) + answer)


if __name__ == "__main__":
    main()
