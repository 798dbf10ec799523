"""What a config module is: a name, the keys it reads, and `plan`, which only decides."""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.schema import Keys

PER_INSTANCE = "once-per-instance"
ALWAYS = "always"
ONCE = "once"
FREQUENCIES = (PER_INSTANCE, ALWAYS, ONCE)


class Module(Value):
    """One config module.

    `plan(config, facts)` gives the actions in the order in which they shall happen; it writes nothing, runs
    nothing but questions (`facts.ask`) and does not look at the clock. Frequency, activation keys and
    distributions stand in `registry.py`, so that a module which has nothing to do is never imported.
    """

    name: str
    config: type[Keys]
    plan: Callable[[Any, Facts], tuple[Action, ...]]
