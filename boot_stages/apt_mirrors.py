"""Which archives apt fetches from, and the text of its sources.

Source: guest-agent.md 3.3 (apt_configure).
"""

from __future__ import annotations

from boot_stages.schema import BOOL, TEXT, Keys, key, list_of, text
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boot_stages.facts import Facts

PORTS = ("s390x", "arm64", "armhf", "powerpc", "ppc64el", "riscv64")
SUITES = {word: f"$RELEASE-{word}" for word in ("updates", "backports", "security", "proposed")}
DISABLED = "# disabled by guestling (disable_suites): "
# Our own sources for an image without a template of its own: components, and the key ring.
BUILT_IN = {
    "debian": ("deb deb-src", "main", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ubuntu": (
        "deb",
        "main universe restricted multiverse",
        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    ),
}
_URI = text(format="uri")


class MirrorKeys(Keys):
    """One item of `apt.primary` or `apt.security`."""

    arches: tuple[str, ...] = key(
        "Architectures it is for, or `default`.", list_of(TEXT, minItems=1), default=(), required=True
    )
    uri: str = key("The archive.", _URI, default="")
    search: tuple[str, ...] = key(
        "Archives; the first whose host is known is taken.", list_of(_URI, minItems=1), default=()
    )
    search_dns: bool = key("Look for DISTRO-mirror in the guest's domain.", BOOL, default=False)
    keyid: str = key("The key of the archive, fetched from the key server.", TEXT, default="")
    material: str = key("The key of the archive itself.", TEXT, default="", spelling="key")
    keyserver: str = key("Where keyid is fetched.", TEXT, default="")


class Mirrors(Value):
    """The two archives."""

    primary: str
    security: str


def architecture(facts: Facts) -> str:
    """dpkg's name of the architecture; amd64 where dpkg cannot be asked."""
    answer = facts.ask("dpkg", "--print-architecture").out.strip()
    return answer.decode("ascii", "replace") or "amd64"


def default_mirrors(distro: str, arch: str) -> Mirrors:
    """The distribution's own archives."""
    if distro == "ubuntu":
        if arch in PORTS:
            return Mirrors("http://ports.ubuntu.com/ubuntu-ports", "http://ports.ubuntu.com/ubuntu-ports")
        return Mirrors("http://archive.ubuntu.com/ubuntu/", "http://security.ubuntu.com/ubuntu/")
    return Mirrors("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")


def image_mirrors(arch: str, facts: Facts) -> Mirrors | None:
    """The archives that the image's config names in `system_info.package_mirrors`."""
    items = facts.system_info.get("package_mirrors")
    for item in items if isinstance(items, list) else ():
        arches = item.get("arches") if isinstance(item, dict) else None
        failsafe = item.get("failsafe") if isinstance(item, dict) else None
        if (
            isinstance(arches, list)
            and isinstance(failsafe, dict)
            and (arch in arches or "default" in arches)
        ):
            primary = str(failsafe.get("primary") or "")
            if primary:
                return Mirrors(primary, str(failsafe.get("security") or primary))
    return None


def chosen_mirrors(
    primary: Sequence[MirrorKeys], security: Sequence[MirrorKeys], arch: str, facts: Facts
) -> Mirrors:
    """What the config says for this architecture, else the image, else the distribution.

    A primary archive without a security one serves both.
    """
    own = _search(_for_arch(primary, arch), "", facts)
    own_security = _search(_for_arch(security, arch), "-security", facts) or own
    fallback = image_mirrors(arch, facts) or default_mirrors(facts.distro.name, arch)
    return Mirrors(own or fallback.primary, own_security or fallback.security)


def _for_arch(items: Sequence[MirrorKeys], arch: str) -> MirrorKeys | None:
    for wanted in (arch, "default"):
        for item in items:
            if wanted in item.arches:
                return item
    return None


def _search(item: MirrorKeys | None, word: str, facts: Facts) -> str:
    if item is None:
        return ""
    if item.uri:
        return item.uri
    candidates = list(item.search)
    if item.search_dns:
        distro = facts.distro.name
        domain = facts.cloud.local_hostname.partition(".")[2]
        domains = [f".{domain}"] if domain else []
        candidates += [
            f"http://{distro}{word}-mirror{each}/{distro}" for each in (*domains, ".localdomain", "")
        ]
    return next((each for each in candidates if _is_known(each, facts)), "")


def _is_known(url: str, facts: Facts) -> bool:
    """Whether the host of a URL has an address."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
    return bool(host) and facts.ask("getent", "hosts", host, timeout_s=10.0).status == 0


def built_in_sources(distro: str, release: str, mirrors: Mirrors, primary_key: str, security_key: str) -> str:
    """Our own deb822 text."""
    types, components, ring = BUILT_IN.get(distro, BUILT_IN["debian"])
    head = "# Written by guestling from 'apt' of the cloud-config, once per instance.\n"
    parts = (
        (mirrors.primary, f"{release} {release}-updates {release}-backports", primary_key or ring),
        (mirrors.security, f"{release}-security", security_key or primary_key or ring),
    )
    entries = [
        f"Types: {types}\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\nSigned-By: {signed_by}\n"
        for uri, suites, signed_by in parts
    ]
    return head + "\n".join(entries)


def is_deb822(content: str) -> bool:
    """Whether sources are in apt's newer form."""
    lines = content.splitlines()
    if any(line.startswith(("deb ", "deb-src ")) for line in lines):
        return False
    return any(line.startswith(("Types: ", "Suites: ", "Components: ", "URIs: ")) for line in lines)


def without_suites(content: str, words: Sequence[str], release: str) -> str:
    """Sources with suites taken out: lines are commented, Suites fields shortened."""
    names = [SUITES.get(word, "$RELEASE" if word == "release" else word) for word in words]
    suites = [name.replace("$RELEASE", release) for name in names]
    if not suites:
        return content
    if not is_deb822(content):
        return "".join(_one_line(line, suites) for line in content.splitlines(keepends=True))
    import re  # here and below: every first boot imports this module, few take a suite out

    parts = re.split(r"(\n[ \t]*\n)", content)
    return "".join(part if not part.strip() else _entry(part, suites) for part in parts)


def _one_line(line: str, suites: Sequence[str]) -> str:
    import re

    words = re.sub(r"\[[^\]]*\]", "", line).split()
    is_source = words[:1] in (["deb"], ["deb-src"]) and len(words) > 2
    return f"{DISABLED}{line}" if is_source and words[2] in suites else line


def _entry(entry: str, suites: Sequence[str]) -> str:
    """One deb822 entry; left without a suite it is commented out whole."""
    import re

    found = re.search(r"^Suites:(.*)$", entry, re.MULTILINE)
    if found is None:
        return entry
    old = found.group(1).split()
    kept = [suite for suite in old if suite not in suites]
    if kept == old:
        return entry
    if not kept:
        lines = entry.splitlines(keepends=True)
        return "".join(line if line.startswith("#") else f"{DISABLED}{line}" for line in lines)
    return (
        f"{entry[: found.start()]}{DISABLED}{found.group()}\nSuites: {' '.join(kept)}{entry[found.end() :]}"
    )


def list_prefix(uri: str) -> str:
    """The start of the names under which apt keeps the lists of an archive."""
    return uri.rstrip("/").partition("://")[2].replace("/", "_") or uri.rstrip("/").replace("/", "_")
