"""`rsyslog`: settings and remote receivers of the system log. Source: guest-agent.md 3.3."""

from __future__ import annotations

import re

from boot_stages.actions import WARN, Report, RunCommand, WriteFile, warn
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.packages import install
from boot_stages.schema import ANY, BOOL, TEXT, Keys, Kind, key, list_of, record, with_schema, wrong
from boot_stages.services import manage
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault

ADDRESS = re.compile(r"(?P<proto>@{0,2})(?:\[(?P<six>[^\]]*)\]|(?P<addr>[^:]*))(?::(?P<port>[0-9]+))?\Z")
_CONTENT = {
    "type": "object",
    "required": ["content"],
    "additionalProperties": False,
    "properties": {"filename": {"type": "string"}, "content": {"type": "string"}},
}


class Part(Value):
    """One piece of configuration; `filename` is None for the default one."""

    content: str | None
    filename: str | None = None


def _read_part(value: object, path: str, _faults: list[Fault]) -> Part:
    if isinstance(value, str):
        return Part(value)
    if isinstance(value, dict):
        content, filename = value.get("content"), value.get("filename")
        return Part(None if content is None else str(content), None if filename is None else str(filename))
    raise wrong(path, "a text or a map with content", value)


def _read_remotes(value: object, path: str, _faults: list[Fault]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise wrong(path, "a map", value, "Write 'NAME: \"*.* @@host:514\"'")
    return {str(name): line for name, line in value.items()}


_RELOAD: Kind[object] = with_schema(
    ANY, {"oneOf": [{"enum": ["auto"]}, {"type": "array", "items": {"type": "string"}}]}
)


class RsyslogKeys(Keys):
    """The map below `rsyslog`."""

    config_dir: str = key("Where the files are written.", TEXT, default="/etc/rsyslog.d")
    config_filename: str = key("The file of parts without a name.", TEXT, default="20-cloud-config.conf")
    configs: tuple[Part, ...] = key(
        "Settings: a text, or a map of content and filename.",
        list_of(Kind({"oneOf": [{"type": "string"}, _CONTENT]}, _read_part)),
        default=(),
    )
    remotes: Mapping[str, object] = key(
        "Receivers by name: `[filter] [@|@@]host[:port]`; @ is UDP, @@ is TCP.",
        Kind({"type": "object"}, _read_remotes),
        default={},
    )
    service_reload_command: object = key("What brings the settings in.", _RELOAD, default="auto")
    install_rsyslog: bool = key("Install rsyslog where it is missing.", BOOL, default=False)
    check_exe: str = key("The program whose presence says that it is installed.", TEXT, default="rsyslogd")
    packages: tuple[str, ...] = key(
        "What is installed then.", list_of(TEXT, uniqueItems=True), default=("rsyslog",)
    )


def _read_rsyslog(value: object, path: str, faults: list[Fault]) -> RsyslogKeys:
    """The map, or the old form: a list of configs."""
    if isinstance(value, (list, tuple)):
        return RsyslogKeys(configs=RsyslogKeys.read({"configs": value}, path, faults).configs, packages=())
    return record(RsyslogKeys).read(value, path, faults)


class Config(Keys):
    """Keys of `rsyslog`."""

    rsyslog: RsyslogKeys = key(
        "The system log.", with_schema(Kind({}, _read_rsyslog), RsyslogKeys.schema()), default=RsyslogKeys()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Files that are not so yet; when there are any, the service takes them up."""
    keys = config.rsyslog
    actions: list[Action] = []
    if not keys.packages:
        actions.append(Report("DEPRECATED", "rsyslog: Use a map with 'configs' instead of a list"))
    if keys.install_rsyslog and facts.which(keys.check_exe) is None:
        actions.extend(install(keys.packages, facts))
    files, warnings = _files(keys)
    actions.extend(warnings)
    changed = [
        WriteFile(path, text.encode(), on_failure=WARN)
        for path, text in files.items()
        if facts.read_bytes(path) != text.encode()
    ]
    reload_ = (_reload(keys.service_reload_command, facts),) if changed else ()
    return (*actions, *changed, *reload_)


def _files(keys: RsyslogKeys) -> tuple[dict[str, str], list[Action]]:
    """Path to content, and what was wrong; parts of one file stand in the order of the list."""
    files: dict[str, str] = {}
    warnings: list[Action] = []
    remotes, bad = _remotes(keys.remotes)
    warnings.extend(bad)
    parts = (*keys.configs, *([Part(remotes)] if remotes else []))
    for number, part in enumerate(parts, start=1):
        name = (keys.config_filename if part.filename is None else part.filename).strip()
        if part.content is None or not name:
            missing = "content" if part.content is None else "file name"
            warnings.append(warn(f"rsyslog.configs: item {number} has no {missing}: it is left out"))
            continue
        path = name if name.startswith("/") else f"{keys.config_dir}/{name}"
        files[path] = files.get(path, "") + part.content + ("" if part.content.endswith("\n") else "\n")
    return files, warnings


def _remotes(remotes: Mapping[str, object]) -> tuple[str, list[Action]]:
    lines: list[str] = []
    warnings: list[Action] = []
    for name, remote in remotes.items():
        if not remote:
            continue
        try:
            lines.append(remote_line(str(remote), name))
        except ValueError as error:
            warnings.append(warn(f"rsyslog.remotes.{name}: {error}: it is left out"))
    text = "".join(f"{line}\n" for line in ("# begin remotes", *lines, "# end remotes"))
    return (text if remotes else ""), warnings


def remote_line(text: str, name: str) -> str:
    """`FILTER @HOST[:PORT] # NAME` as rsyslog reads it. Raises ValueError with what is wrong."""
    words = text.partition("#")[0].split()
    if len(words) not in {1, 2}:
        raise ValueError("'[filter] host' is expected")
    match = words[0] if len(words) == 2 else "*.*"
    found = ADDRESS.match(words[-1])
    host = (found.group("six") or found.group("addr")) if found else ""
    if found is None or not host or host.startswith("["):
        raise ValueError("this is not '[@|@@]host[:port]'")
    host = f"[{host}]" if ":" in host else host
    port = f":{int(found.group('port'))}" if found.group("port") else ""
    return f"{match} {found.group('proto') or '@'}{host}{port} # {name}"


def _reload(command: object, facts: Facts) -> Action:
    if command == "auto":
        return manage("try-reload-or-restart", "rsyslog", facts, on_failure=WARN)
    if isinstance(command, (list, tuple)) and command:
        return RunCommand(tuple(str(word) for word in command), on_failure=WARN, opaque=True)
    raise ModuleFailed("rsyslog.service_reload_command is neither 'auto' nor a list of words")


MODULE = Module("rsyslog", Config, plan)
