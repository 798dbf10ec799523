"""`apt_pipelining`: how many requests apt sends ahead on one connection. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import Report, WriteFile, warn
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

PATH = "/etc/apt/apt.conf.d/90cloud-init-pipelining"
DEPTH: Kind[str] = Kind(
    {
        "oneOf": [
            {"type": "integer"},
            {"type": "boolean"},
            {
                "type": "string",
                "oneOf": [
                    {"enum": ["os"]},
                    {
                        "enum": ["none", "unchanged"],
                        "deprecated": True,
                        "deprecated_description": "Use 'os' instead.",
                    },
                ],
            },
        ]
    },
    TEXT.read,
)


class Config(Keys):
    """Keys of `apt_pipelining`."""

    apt_pipelining: str = key("false or 0 to 5; `os` leaves apt's own setting.", DEPTH, default="os")


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """apt's setting, when it is not so yet."""
    word = config.apt_pipelining.strip().lower()
    if word in {"none", "unchanged"}:
        return (Report("DEPRECATED", f"apt_pipelining: {word}: Use 'os' instead"),)
    if word == "os":
        return ()
    depth = "0" if word == "false" else word
    if depth not in {"0", "1", "2", "3", "4", "5"}:
        return (warn("apt_pipelining is not one of os, false, 0 to 5: apt's own setting stays"),)
    content = f'// Written by guestling\nAcquire::http::Pipeline-Depth "{depth}";\n'.encode()
    return () if facts.read_bytes(PATH) == content else (WriteFile(PATH, content),)


MODULE = Module("apt_pipelining", Config, plan)
