"""`#cloud-config-archive`: a YAML list of parts."""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent import formats, yaml_guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.limits import Limits

OWN_KEYS = ("content", "filename", "type", "content-disposition", "content-type", "mime-version")


class Item(Value):
    """One part of an archive; `headers` are its other keys."""

    type: str
    filename: str | None
    headers: tuple[tuple[str, str], ...]
    payload: bytes


def items(payload: bytes, source: str, limits: Limits) -> tuple[list[Item], list[str]]:
    """The parts of an archive and what is wrong with it. Raises UnreadableYaml, LimitExceeded."""
    loaded = yaml_guard.load_with_lines(payload, source, limits)
    if loaded.value is None:
        return [], [f"{source}: the archive is empty"]
    if not isinstance(loaded.value, list):
        return [], [f"{source}: an archive is a YAML list of parts. Begin each part with '- '"]
    found: list[Item] = []
    problems: list[str] = []
    for index, entry in enumerate(loaded.value):
        item = _item(entry)
        if isinstance(item, Item):
            found.append(item)
        else:
            problems.append(f"{source}:{loaded.lines.get((index,), 1)}: [{index}]: {item}")
    return found, problems


def _item(entry: object) -> Item | str:
    if isinstance(entry, str):
        entry = {"content": entry}
    if not isinstance(entry, dict):
        return "a text or a mapping with 'content' is expected; left out"
    content = entry.get("content", "")
    if not isinstance(content, (str, bytes)):
        return "content: a text is expected; left out. Quote it, or use '|'"
    payload = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    kind = entry.get("type") or formats.sniff(payload)
    if not kind:
        kind = formats.BINARY if isinstance(content, bytes) else formats.CLOUD_CONFIG
    if not isinstance(kind, str) or kind.count("/") != 1:
        return "type: a MIME type such as text/cloud-config is expected; left out"
    filename = entry.get("filename")
    headers = tuple(
        (str(key).lower(), str(value)) for key, value in entry.items() if str(key).lower() not in OWN_KEYS
    )
    return Item(kind, None if filename is None else str(filename), headers, payload)
