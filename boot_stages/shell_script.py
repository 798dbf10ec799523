"""Commands of cloud-config (`runcmd`, `bootcmd`) as one sh script.

Source: guest-agent.md 3.3 (runcmd / bootcmd), GA-W13.
"""

from __future__ import annotations

from boot_stages.schema import Fault, Kind, Undecodable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from boot_stages.facts import Facts

    # A text is a line of shell; a tuple is one command word by word.
    ShellItem = Union[str, tuple[str, ...]]


# A key of the image's cloud.cfg: `last` makes the last command of runcmd the only one that counts.
STATUS_KEY = "runcmd_status"


def checked_path(facts: Facts) -> str:
    """Where the script is that is run in place of scripts/runcmd."""
    return f"{facts.instance_directory}/runcmd-checked"


def _read_items(value: object, path: str, _faults: list[Fault]) -> tuple[ShellItem, ...]:
    if not isinstance(value, (list, tuple)):
        raise Undecodable(Fault(path, "a list is expected", "Write each command on its own line, after '- '"))
    items: list[ShellItem] = []
    bad: list[Fault] = []
    for index, item in enumerate(value):
        if isinstance(item, str):
            items.append(item)
        elif isinstance(item, (list, tuple)):
            items.append(tuple(str(word) for word in item))
        elif item is not None:
            words = "Put it in quotes: a bare true or number is not a command to YAML"
            bad.append(Fault(f"{path}[{index}]", "a text or a list is expected", words))
    if bad:
        # Refused as a whole before the first command runs: half a script is worse than none.
        raise Undecodable(*bad)
    return tuple(items)


_ITEM_SCHEMA = {
    "oneOf": [
        {"type": "array", "items": {"type": "string"}},
        {"type": "string"},
    ]
}


def _schema(nullable: bool) -> dict[str, object]:
    choices = [*_ITEM_SCHEMA["oneOf"], *([{"type": "null"}] if nullable else [])]
    return {"type": "array", "items": {"oneOf": choices}, "minItems": 1}


# runcmd takes null items (they are skipped), bootcmd's schema does not.
SHELL_ITEMS: Kind[tuple[ShellItem, ...]] = Kind(_schema(nullable=False), _read_items)
SHELL_ITEMS_OR_NULL: Kind[tuple[ShellItem, ...]] = Kind(_schema(nullable=True), _read_items)


def shell_script(items: tuple[ShellItem, ...]) -> bytes:
    """`#!/bin/sh` and one line per item: texts as they are, words quoted one by one."""
    lines = ["#!/bin/sh", *(item if isinstance(item, str) else _quoted(item) for item in items)]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


# After each item, on a line of its own, so that an item may be a part of a larger construct.
_CHECK = """\
guestling_failed=
guestling_check() {
    if [ "$1" != 0 ]; then
        echo "runcmd: item $2 failed with exit status $1" >&2
        guestling_failed=1
    fi
    return "$1"
}
"""


def checked_script(items: tuple[ShellItem, ...]) -> bytes:
    """The same script, which fails at its end if any item failed, and says which; all items are run."""
    lines = ["#!/bin/sh", _CHECK.rstrip("\n")]
    for number, item in enumerate(items, start=1):
        lines += [item if isinstance(item, str) else _quoted(item), f"guestling_check $? {number}"]
    lines.append('[ -z "$guestling_failed" ]')
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _quoted(words: tuple[str, ...]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
