"""What of a guest's processor is left out under emulation, because it costs more there than it gives.

See docs/decisions/0130-processor-under-emulation.md.
"""

from __future__ import annotations

EVERYTHING = "max"
"""All that the accelerator can do: what a guest gets whose spec names no processor."""
COSTLY_IN_EMULATION = ("la57", "erms", "fsrm")
"""Page tables of five levels, one more for each look into them; and "strings are fast", upon which kernels
copy and clear by the byte what the emulator carries out one byte after another."""


def left_out(cpu: str, *, emulated: bool) -> tuple[str, ...]:
    """Features that a guest with this processor goes without. A processor named by its user stays whole."""
    return COSTLY_IN_EMULATION if emulated and cpu == EVERYTHING else ()
