"""`apt_configure`: sources, keys, proxies and settings of apt, and answers for debconf.

The keys from before `apt:` (`apt_proxy`, `apt_mirror`, `apt_sources`, ...) are read where `apt` is not there.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages import apt_old_keys
from boot_stages.actions import (
    WARN,
    AppendFile,
    MakeDirectory,
    Remove,
    Rename,
    Report,
    RunCommand,
    WriteFile,
    note,
    warn,
)
from boot_stages.apt_mirrors import (
    MirrorKeys,
    architecture,
    built_in_sources,
    chosen_mirrors,
    default_mirrors,
    image_mirrors,
    is_deb822,
    list_prefix,
    without_suites,
)
from boot_stages.distros import parse_os_release
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.packages import install, is_installed, update
from boot_stages.schema import BOOL, TEXT, Keys, Kind, key, list_of, map_of, record
from boot_stages.templates import image_template, render
from boot_stages.value import Secret, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.apt_mirrors import Mirrors
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault

SOURCES_LIST = "/etc/apt/sources.list"
PARTS = "/etc/apt/sources.list.d"
LISTS = "/var/lib/apt/lists"
PROXY_FILE = "/etc/apt/apt.conf.d/90cloud-init-aptproxy"
CONF_FILE = "/etc/apt/apt.conf.d/94cloud-init-config"
GPG_HOME = "/run/cloud-init/gpg"
KEY_SERVER = "keyserver.ubuntu.com"
REPO_MATCH = r"^[\w-]+:\w"
STUB = "# Ubuntu sources have moved to /etc/apt/sources.list.d/ubuntu.sources\n"
NEEDS = {"gpg": "gnupg", "add-apt-repository": "software-properties-common"}


class SourceKeys(Keys):
    """One entry of `apt.sources`."""

    source: str = key("A line of apt's, with $RELEASE, $MIRROR, $KEY_FILE; or ppa:NAME.", TEXT, default="")
    keyid: str = key("The key, fetched from the key server.", TEXT, default="")
    material: str = key("The key itself.", TEXT, default="", spelling="key")
    keyserver: str = key("Where keyid is fetched.", TEXT, default=KEY_SERVER)
    filename: str = key("The file; default: the name of the entry.", TEXT, default="")
    append: bool = key("Add to the file, if it is there.", BOOL, default=True)


def _named(item: Kind[object], **limits: object) -> dict[str, object]:
    return {
        "type": "object",
        "patternProperties": {"^.+$": item.schema()},
        "additionalProperties": False,
        **limits,
    }


_SELECTIONS: Kind[Mapping[str, str]] = Kind(lambda: _named(TEXT, minProperties=1), map_of(TEXT).read)
_SOURCES: Kind[Mapping[str, SourceKeys]] = Kind(
    lambda: _named(record(SourceKeys, minProperties=1)), map_of(record(SourceKeys)).read
)
_MIRRORS = list_of(record(MirrorKeys), minItems=1)


class AptKeys(Keys):
    """The map below `apt`."""

    preserve_sources_list: bool = key("Leave the sources as they are.", BOOL, default=False)
    generate_mirrorlists: bool = key(
        "Write /etc/apt/mirrors/*.list instead of the sources.", BOOL, default=False
    )
    disable_suites: tuple[str, ...] = key(
        "Suites to leave out: updates, backports, security, proposed, release, or any name.",
        list_of(TEXT, minItems=1, uniqueItems=True),
        default=(),
    )
    primary: tuple[MirrorKeys, ...] = key("The archive.", _MIRRORS, default=())
    security: tuple[MirrorKeys, ...] = key("The archive of security updates.", _MIRRORS, default=())
    add_apt_repo_match: str = key("Sources that add-apt-repository takes.", TEXT, default=REPO_MATCH)
    debconf_selections: Mapping[str, str] = key("Answers for debconf.", _SELECTIONS, default={})
    sources_list: str = key("A template for the sources.", TEXT, default="")
    conf: str = key("Settings of apt.", TEXT, default="")
    https_proxy: str = key("The proxy for https.", TEXT, default="")
    http_proxy: str = key("The proxy for http.", TEXT, default="")
    proxy: str = key("The same as http_proxy.", TEXT, default="")
    ftp_proxy: str = key("The proxy for ftp.", TEXT, default="")
    sources: Mapping[str, SourceKeys] = key("Further sources, by file name.", _SOURCES, default={})


class Config(Keys):
    """Keys of `apt_configure`."""

    apt: AptKeys = key("apt.", record(AptKeys, minProperties=1), default=AptKeys())


class _Guest(Value):
    """What the steps need of the guest."""

    release: str
    arch: str
    mirrors: Mirrors


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """debconf, tools, sources, settings, further sources; package lists again if sources were added."""
    old = apt_old_keys.given(facts.system)
    if not old:
        return _plan(config.apt, facts)
    faults: list[Fault] = []
    apt = AptKeys.read(apt_old_keys.as_apt(facts.system), "apt", faults)
    plan_ = _plan(apt, facts)
    return (Report("DEPRECATED", f"{', '.join(old)}: Use the keys below 'apt' instead"), *plan_)


def _plan(apt: AptKeys, facts: Facts) -> tuple[Action, ...]:
    if facts.which("apt-get") is None:
        return (note("apt-get is not installed: nothing to configure"),)
    if apt == AptKeys() and "package_mirrors" not in facts.system_info:
        return (*_setting(PROXY_FILE, "", facts), *_setting(CONF_FILE, "", facts))
    os_release = parse_os_release(facts.read_text("/etc/os-release") or "")
    release = os_release.get("VERSION_CODENAME", "") or _lsb_codename(facts)
    arch = architecture(facts)
    guest = _Guest(release, arch, chosen_mirrors(apt.primary, apt.security, arch, facts))
    sources = _further_sources(apt, guest, facts)
    return (
        *_debconf(apt, facts),
        *_tools(apt, facts),
        *_main_sources(apt, guest, facts),
        *_setting(PROXY_FILE, _proxies(apt), facts),
        *_setting(CONF_FILE, f"{apt.conf.rstrip()}\n" if apt.conf else "", facts),
        *sources,
        *(update(facts, force=True) if sources else ()),
    )


def _lsb_codename(facts: Facts) -> str:
    return facts.ask("lsb_release", "--codename", "--short").out.decode("utf-8", "replace").strip()


def _debconf(apt: AptKeys, facts: Facts) -> tuple[Action, ...]:
    if not apt.debconf_selections:
        return ()
    import re

    texts = [apt.debconf_selections[name].rstrip("\n") for name in sorted(apt.debconf_selections)]
    stdin = Secret("".join(f"{each}\n" for each in texts))
    lines = [
        line for each in texts for line in each.splitlines() if line.strip() and not line.startswith("#")
    ]
    named = sorted({re.split(r"[:\s]", line.strip(), maxsplit=1)[0] for line in lines})
    there = [name for name in named if is_installed(name, facts)]
    text = f"apt.debconf_selections: {', '.join(there)} are installed already and keep their old answers"
    return (RunCommand(("debconf-set-selections",), stdin=stdin), *((warn(text),) if there else ()))


def _tools(apt: AptKeys, facts: Facts) -> tuple[Action, ...]:
    """gpg and add-apt-repository, where they are needed and missing."""
    keyed: tuple[SourceKeys | MirrorKeys, ...] = (
        *apt.sources.values(),
        *(() if apt.preserve_sources_list else (*apt.primary, *apt.security)),
    )
    needed = []
    if any(each.material or each.keyid for each in keyed):
        needed.append("gpg")
    if any(_is_repo(each.source, apt) for each in apt.sources.values()):
        needed.append("add-apt-repository")
    return install(
        sorted(NEEDS[name] for name in needed if facts.which(name) is None), facts, on_failure="stop"
    )


def _is_repo(source: str, apt: AptKeys) -> bool:
    import re

    try:
        return bool(apt.add_apt_repo_match) and re.search(apt.add_apt_repo_match, source) is not None
    except re.error as error:
        raise ModuleFailed(f"apt.add_apt_repo_match is not a regular expression: {error}") from error


def _main_sources(apt: AptKeys, guest: _Guest, facts: Facts) -> tuple[Action, ...]:
    if apt.generate_mirrorlists:
        return _mirror_lists(guest.mirrors, facts)
    says_something = apt.primary or apt.security or apt.sources_list or apt.disable_suites
    if apt.preserve_sources_list or not (says_something or image_mirrors(guest.arch, facts)):
        return ()
    keys: dict[str, str] = {}
    actions: list[Action] = []
    for name, mirrors in (("primary", apt.primary), ("security", apt.security)):
        for mirror in mirrors:
            path, fetch = _key(
                mirror.material, mirror.keyid, mirror.keyserver or KEY_SERVER, f"trusted.gpg.d/{name}.gpg"
            )
            actions.extend(fetch)
            if path:
                keys[f"{name}_key"] = path
    content = _sources_text(apt, guest, keys, facts)
    return (*actions, *_write_sources(content, facts), *_rename_lists(guest, facts))


def _mirror_lists(mirrors: Mirrors, facts: Facts) -> tuple[Action, ...]:
    files = {
        f"/etc/apt/mirrors/{facts.distro.name}.list": mirrors.primary,
        f"/etc/apt/mirrors/{facts.distro.name}-security.list": mirrors.security,
    }
    return tuple(
        WriteFile(path, f"{uri}\n".encode())
        for path, uri in files.items()
        if facts.read_text(path) != f"{uri}\n"
    )


def _values(guest: _Guest, keys: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {"RELEASE": guest.release, "codename": guest.release, **keys}
    for name, uri in (
        ("MIRROR", guest.mirrors.primary),
        ("PRIMARY", guest.mirrors.primary),
        ("SECURITY", guest.mirrors.security),
    ):
        values[name] = values[name.lower()] = uri
    return values


def _sources_text(apt: AptKeys, guest: _Guest, keys: Mapping[str, str], facts: Facts) -> str:
    values = _values(guest, keys)
    if apt.sources_list:
        text = render(apt.sources_list, values, facts, "apt.sources_list")
    else:
        distro = facts.distro.name
        from_image = image_template((f"sources.list.{distro}.deb822", "sources.list"), values, facts)
        text = from_image or built_in_sources(
            distro, guest.release, guest.mirrors, keys.get("primary_key", ""), keys.get("security_key", "")
        )
    return without_suites(text, apt.disable_suites, guest.release)


def _write_sources(content: str, facts: Facts) -> tuple[Action, ...]:
    """The newer form goes to its own file, and the old one then becomes a stub or goes away."""
    path = f"{PARTS}/{facts.distro.name}.sources" if is_deb822(content) else SOURCES_LIST
    actions: list[Action] = []
    if facts.read_text(path) != content:
        actions.append(WriteFile(path, content.encode()))
    if path != SOURCES_LIST and facts.exists(SOURCES_LIST):
        if facts.distro.name != "ubuntu":
            actions.append(Remove(SOURCES_LIST))
        elif facts.read_text(SOURCES_LIST) != STUB:
            actions.append(WriteFile(SOURCES_LIST, STUB.encode()))
    return tuple(actions)


def _rename_lists(guest: _Guest, facts: Facts) -> tuple[Action, ...]:
    """Lists that were fetched from the default archive stay good for its mirror."""
    old = default_mirrors(facts.distro.name, guest.arch)
    renames: list[Action] = []
    for before, after in ((old.primary, guest.mirrors.primary), (old.security, guest.mirrors.security)):
        start, new = list_prefix(before), list_prefix(after)
        if start == new:
            continue
        renames.extend(
            Rename(f"{LISTS}/{name}", f"{LISTS}/{new}{name[len(start) :]}", on_failure=WARN)
            for name in facts.names_in(LISTS)
            if name.startswith(f"{start}_")
        )
    return tuple(renames)


def _proxies(apt: AptKeys) -> str:
    settings = (
        ("http", apt.proxy),
        ("http", apt.http_proxy),
        ("ftp", apt.ftp_proxy),
        ("https", apt.https_proxy),
    )
    return "".join(f'Acquire::{scheme}::Proxy "{proxy}";\n' for scheme, proxy in settings if proxy)


def _setting(path: str, content: str, facts: Facts) -> tuple[Action, ...]:
    """One file of settings: written, or taken away when its key is absent."""
    if not content:
        return (Remove(path),) if facts.exists(path) else ()
    return () if facts.read_text(path) == content else (WriteFile(path, content.encode()),)


def _further_sources(apt: AptKeys, guest: _Guest, facts: Facts) -> tuple[Action, ...]:
    actions: list[Action] = []
    for name, source in apt.sources.items():
        filename = source.filename or name
        hardened = "$KEY_FILE" in source.source
        stem = filename.rpartition("/")[2].rpartition(".")[0] or filename.rpartition("/")[2]
        place = "cloud-init.gpg.d" if hardened else "trusted.gpg.d"
        path, fetch = _key(source.material, source.keyid, source.keyserver, f"{place}/{stem}.gpg")
        actions.extend(fetch)
        if not source.source:
            continue
        values = _values(guest, {"KEY_FILE": path} if path else {})
        text = render(source.source, values, facts, f"apt.sources.{name}")
        if _is_repo(text, apt):
            actions.append(RunCommand(("add-apt-repository", "--no-update", text), opaque=True))
        else:
            actions.extend(_source_file(filename, text, source.append, facts))
    return tuple(actions)


def _source_file(filename: str, text: str, append: bool, facts: Facts) -> tuple[Action, ...]:
    path = filename if filename.startswith("/") else f"{PARTS}/{filename}"
    path = path if path.endswith(".list") else f"{path}.list"
    content, old = f"{text}\n", facts.read_text(path) or ""
    if append:
        return () if content in old else (AppendFile(path, content.encode()),)
    return () if content == old else (WriteFile(path, content.encode()),)


def _key(material: str, keyid: str, server: str, place: str) -> tuple[str, tuple[Action, ...]]:
    """Where the key will be ("" for none), and what brings it there in apt's binary form."""
    path = f"/etc/apt/{place}"
    if material:
        return path, (RunCommand(("gpg", "--dearmor"), stdin=material.encode(), output_to=path),)
    if not keyid:
        return "", ()
    plain = keyid.replace(" ", "")
    base = ("gpg", "--homedir", GPG_HOME, "--no-tty", "--batch")
    receive = RunCommand(
        (*base, f"--keyserver={server}", "--recv-keys", plain), timeout_s=60, name=f"gpg --recv-keys {plain}"
    )
    return path, (
        MakeDirectory(GPG_HOME, 0o700),
        receive.replace(otherwise=receive),  # key servers fail now and then: once more
        RunCommand((*base, "--export", plain), output_to=path),
        Remove(GPG_HOME),
    )


MODULE = Module("apt_configure", Config, plan)
