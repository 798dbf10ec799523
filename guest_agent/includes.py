"""`#include` and `#include-once`: which addresses a part names, which we refuse, and what is kept of them."""

from __future__ import annotations

from guest_agent.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_agent.machine import Machine
    from guest_agent.parts import Fetch

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


def fetcher(machine: Machine, instance_directory: str, limits: Limits = DEFAULT) -> Fetch:
    """How a boot fetches: over HTTP, and what `#include-once` named only once for each instance.

    The copy (0600, in the instance's data/urlcache) is on the disk before it is used (GA-P09).
    """
    web = None

    def fetch(url: str, once: bool) -> bytes:
        nonlocal web
        place = f"{instance_directory}/data/urlcache/{_cache_name(url)}"
        if once:
            kept = machine.read_bytes(place)
            if kept is not None:
                return kept
        if web is None:
            from guest_agent.fetch import web_for

            web = web_for(machine, limits)
        body = web.include(url, _client_certificate(machine, instance_directory))
        if once:
            machine.write(place, body, 0o600)
        return body

    return fetch


def _cache_name(url: str) -> str:
    """The file name cloud-init gives the copy: the MD5 of the address."""
    import hashlib

    return hashlib.md5(url.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _client_certificate(machine: Machine, instance_directory: str) -> tuple[str, str] | None:
    """Certificate and key for servers that ask for them, of the instance or of the image."""
    for directory in (instance_directory, "/var/lib/cloud"):
        names = (f"{directory}/data/ssl/cert.pem", f"{directory}/data/ssl/key.pem")
        if all(machine.exists(name) for name in names):
            return machine.path(names[0]), machine.path(names[1])
    return None
