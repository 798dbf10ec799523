"""`#include` and `#include-once`: which addresses a part names, and which of them we refuse."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_agent.limits import Limits

ONCE, ALWAYS = "#include-once", "#include"
SCHEMES = ("http://", "https://")


def addresses(payload: bytes) -> Iterator[tuple[str, bool]]:
    """(address, once per instance) for each line that names one; a header line switches the mode."""
    once = False
    for line in payload.decode("utf-8", "surrogateescape").splitlines():
        lower = line.lower()
        rest = line
        if lower.startswith(ONCE):
            once, rest = True, line[len(ONCE) :].lstrip()
        elif lower.startswith(ALWAYS):
            once, rest = False, line[len(ALWAYS) :].lstrip()
        if rest.strip() and not rest.startswith("#"):
            yield rest.strip(), once


def refusal(url: str, chain: tuple[str, ...], fetched: int, limits: Limits) -> str | None:
    """Why `url` must not be fetched after `chain`, or None. Source: fault catalogue, GA-P08."""
    if not url.lower().startswith(SCHEMES):
        return "only http:// and https:// addresses are included. Put the file on a web server"
    if url in chain:
        return "it includes itself. Take one of the lines out"
    if len(chain) >= limits.include_depth:
        return f"more than {limits.include_depth} includes inside each other (include_depth)"
    if fetched >= limits.include_urls:
        return f"more than {limits.include_urls} addresses (include_urls)"
    return None
