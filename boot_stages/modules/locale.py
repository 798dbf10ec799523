"""`locale`: the guest's language. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import RunCommand, WriteFile
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

DEFAULT = "C.UTF-8"
GENERATED = "/etc/locale.gen"
FILES = {
    "debian": "/etc/default/locale",
    "redhat": "/etc/locale.conf",
    "alpine": "/etc/profile.d/50-cloud-init-locale.sh",
}
LOCALE: Kind[str] = Kind({"oneOf": [{"type": "boolean"}, {"type": "string"}]}, TEXT.read)


class Config(Keys):
    """Keys of `locale`."""

    locale: str = key(
        "The name, such as en_US.UTF-8; false leaves the image's. Default: what is set, else C.UTF-8.",
        LOCALE,
        default="",
    )
    locale_configfile: str = key("The file to write instead of the distribution's.", TEXT, default="")


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The locale made and set, unless it is so already."""
    if config.locale.lower() in {"false", "no", "off"}:
        return ()
    path = config.locale_configfile or FILES[facts.distro.family]
    current = _current(path, facts)
    wanted = config.locale if config.locale not in {"", "true"} else current or DEFAULT
    if wanted == current:
        return ()
    plan_ = _PLANS[facts.distro.family](wanted, path, facts)
    # Nobody asked for the default: a guest without the tools stays as it is.
    return plan_ if config.locale else tuple(_optional(action) for action in plan_)


def _optional(action: Action) -> Action:
    return action.replace(optional=True) if isinstance(action, RunCommand) else action


def _current(path: str, facts: Facts) -> str:
    for line in (facts.read_text(path) or "").splitlines():
        name, _, value = line.partition("=")
        if name in {"LANG", "export LANG"}:
            for mark in "\"'":
                value = value[1:] if value.startswith(mark) else value
                value = value.partition(mark)[0]
            word = value.partition("#")[0].partition(" ")[0]
            if word:
                return word
    return ""


def _debian(wanted: str, path: str, facts: Facts) -> tuple[Action, ...]:
    set_it = RunCommand(("update-locale", f"--locale-file={path}", f"LANG={wanted}"))
    if wanted.partition(".")[0].upper() in {"C", "POSIX"}:
        return (set_it,)
    return (*_generate(wanted, facts), set_it)


def _generate(wanted: str, facts: Facts) -> tuple[Action, ...]:
    """The line of /etc/locale.gen without its comment sign, or a new one."""
    text = facts.read_text(GENERATED) or ""
    charset = wanted.partition(".")[2].partition("@")[0] or "ISO-8859-1"
    line = f"{wanted} {charset.upper() if charset.lower() != 'utf8' else 'UTF-8'}"
    import re  # for a guest that gets another locale than it has

    pattern = re.compile(rf"^[ \t]*#?[ \t]*{re.escape(wanted)}[ \t]+\S+[ \t]*$", re.MULTILINE)
    found = pattern.search(text)
    if found is None:
        text = f"{text.rstrip()}\n{line}\n" if text.strip() else f"{line}\n"
    else:
        text = text[: found.start()] + found.group().lstrip("# \t") + text[found.end() :]
    run = RunCommand(("locale-gen",), timeout_s=600)
    content = text.encode("utf-8", "surrogateescape")
    return (run,) if facts.read_bytes(GENERATED) == content else (WriteFile(GENERATED, content), run)


def _redhat(wanted: str, path: str, facts: Facts) -> tuple[Action, ...]:
    kept = [line for line in (facts.read_text(path) or "").splitlines() if not line.startswith("LANG=")]
    content = "".join(f"{line}\n" for line in (*kept, f"LANG={wanted}"))
    return (WriteFile(path, content.encode("utf-8", "surrogateescape")),)


def _alpine(wanted: str, path: str, _facts: Facts) -> tuple[Action, ...]:
    text = f"# Written by guestling, from 'locale' of the cloud-config.\nexport LANG={wanted}\n"
    return (WriteFile(path, text.encode()),)


_PLANS = {"debian": _debian, "redhat": _redhat, "alpine": _alpine}


MODULE = Module("locale", Config, plan)
