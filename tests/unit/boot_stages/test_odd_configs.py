"""GA-P12, GA-S11: whatever a config holds, a module plans, or refuses in its own words."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from boot_stages.errors import StageError
from boot_stages.registry import MODULES, Entry
from boot_stages.runner import plan_module
from boot_stages.schema import Undecodable

LEAVES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    7,
    2.5,
    "",
    "word",
    "a b",
    "\x00",
    "ünï",
    "x" * 300,
    "../..",
    "1G",
)
ROUNDS = 150


def odd(choose: random.Random, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value near a schema: its keys with values that mostly do not fit."""
    roll = choose.random()
    names = list(schema.get("properties", {}))
    if names and roll < 0.7:
        picked = choose.sample(names, choose.randint(0, min(4, len(names))))
        return {name: odd(choose, schema["properties"][name], depth + 1) for name in picked}
    inner = next(iter(schema.get("patternProperties", {}).values()), None) or schema.get("items")
    if isinstance(inner, dict) and roll < 0.7 and depth < 6:
        values = [odd(choose, inner, depth + 1) for _ in range(choose.randint(0, 3))]
        return values if "items" in schema else {f"k{index}": value for index, value in enumerate(values)}
    if isinstance(schema.get("enum"), list) and roll < 0.6:
        return choose.choice(schema["enum"])
    for word in ("oneOf", "anyOf"):
        if schema.get(word) and roll < 0.8:
            return odd(choose, choose.choice(schema[word]), depth + 1)
    return choose.choice((*LEAVES, [], {}, [None], {"a": None}, [["a", 1]], {"name": "x"}))


@pytest.mark.parametrize("entry", MODULES, ids=lambda entry: entry.name)
def test_a_module_never_raises_anything_else(entry: Entry, make_guest: Callable[..., Any]) -> None:
    choose = random.Random(entry.name)
    schema = entry.load().config.schema()
    guest = make_guest(
        distro={"redhat": "fedora"}.get(
            (entry.families or ("debian",))[0], (entry.families or ("debian",))[0]
        ),
        have=["growpart", "apt-get", "ip", "ssh-import-id", "sudo", "snap", "udevadm"],
        files={
            "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "/dev/vdb": "",
            "/usr/share/zoneinfo/UTC": "TZif",
        },
    )
    refusals: list[str] = []
    for _ in range(ROUNDS):
        config = {
            name: odd(choose, schema["properties"][name]) for name in entry.keys if choose.random() < 0.8
        }
        guest.facts.system = config
        try:
            plan, _faults = plan_module(entry, config, guest.facts)
        except (StageError, Undecodable) as refused:
            refusals.append(str(refused))
            continue
        except Exception as error:
            raise AssertionError(f"{entry.name}: {config!r}") from error
        json.dumps([action.summary() for action in plan])
    assert all(refusals)
