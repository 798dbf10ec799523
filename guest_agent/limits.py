"""How much outside data may cost: one table, from section 3 of the fault catalogue.

Every loop over data that somebody else wrote stops at one of these. `system_config` may carry
`limits: {name: number}` to change single ones; crossing one raises `errors.LimitExceeded` with its name.
"""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024


class Budget:
    """What all pieces of one document together may still take of a limit."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total


class Limits(Value):
    """The limits of one run. Sizes are bytes, times seconds."""

    download_bytes: int = 16 * MIB
    download_total_bytes: int = 64 * MIB
    download_redirects: int = 5
    download_total_s: int = 240

    gunzip_total_bytes: int = 64 * MIB
    gzip_layers: int = 3

    mime_depth: int = 10
    mime_parts: int = 1000
    mime_headers: int = 200

    include_depth: int = 10
    include_urls: int = 100

    yaml_bytes: int = 4 * MIB
    yaml_depth: int = 64
    yaml_aliases: int = 1000
    yaml_nodes: int = 200_000

    json_bytes: int = 4 * MIB
    json_depth: int = 64
    number_digits: int = 4300

    template_memory_bytes: int = 256 * MIB
    template_cpu_s: int = 10
    template_output_bytes: int = 8 * MIB

    part_handler_s: int = 60
    list_lines: int = 1000

    stage_s: int = 3600
    command_output_bytes: int = 16 * MIB


DEFAULT = Limits()


def from_config(config: Mapping[str, object]) -> tuple[Limits, tuple[str, ...]]:
    """The limits of `config["limits"]` over the defaults, and what was wrong with that mapping."""
    wanted = config.get("limits")
    if wanted is None:
        return DEFAULT, ()
    if not isinstance(wanted, dict):
        return DEFAULT, ("limits: a mapping of names to numbers is expected. The defaults stay in force.",)
    good: dict[str, object] = {}
    faults: list[str] = []
    for name, value in wanted.items():
        if name not in Limits.FIELDS:
            faults.append(f"limits.{name}: no such limit. Use one of: {', '.join(Limits.FIELDS)}.")
        elif type(value) is not int or value < 1:
            faults.append(f"limits.{name}: a whole number above 0 is expected. The default stays in force.")
        else:
            good[name] = value
    return DEFAULT.replace(**good), tuple(faults)
