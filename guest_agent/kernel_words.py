"""What the kernel command line tells the agent (spec 1.6). Pure: text in, values out."""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.errors import AgentError

CC_BEGIN, CC_END = "cc:", "end_cc"
NETWORK_DISABLED = {"config": "disabled"}


class ConfigUrl(Value):
    """`cloud-config-url=URL`; `is_old` for the word `url=`, which is refused."""

    url: str
    is_old: bool = False


def value_of(line: str, name: str) -> str | None:
    """The value of the last word `name=value`, or None."""
    found = [word[len(name) + 1 :] for word in line.split() if word.startswith(f"{name}=")]
    return found[-1] if found else None


def is_disabled(line: str) -> bool:
    """`cloud-init=disabled`."""
    return "cloud-init=disabled" in line.split()


def is_enabled(line: str) -> bool:
    """`cloud-init=enabled`."""
    return "cloud-init=enabled" in line.split()


def config_url(line: str) -> ConfigUrl | None:
    """The address of a config file, where the command line names one."""
    url = value_of(line, "cloud-config-url")
    if url:
        return ConfigUrl(url)
    url = value_of(line, "url")
    return ConfigUrl(url, is_old=True) if url else None


def cloud_config(line: str) -> str:
    """The text of all `cc: YAML [end_cc]`, decoded from %XX and `\\n`; '' when there is none."""
    texts = []
    begin = line.find(CC_BEGIN)
    while begin >= 0:
        end = line.find(CC_END, begin + len(CC_BEGIN))
        stop = len(line) if end < 0 else end
        texts.append(_unquoted(line[begin + len(CC_BEGIN) : stop].lstrip()).replace("\\n", "\n"))
        begin = line.find(CC_BEGIN, stop + len(CC_END))
    return "\n".join(texts)


def network_config(line: str) -> object:
    """`network-config=`: `{"config": "disabled"}`, or the document in its base64, gzipped or not; else None.

    Raises AgentError when it cannot be read.
    """
    value = value_of(line, "network-config")
    if not value:
        return None
    if value == "disabled":
        return NETWORK_DISABLED
    import binascii

    from guest_agent import yaml_guard
    from guest_agent.formats import GZIP_MAGIC
    from guest_agent.gunzip import gunzip
    from guest_agent.limits import DEFAULT, Budget

    place = "kernel command line network-config"
    try:
        data = binascii.a2b_base64(value)
    except (binascii.Error, ValueError) as error:
        raise AgentError(f"{place}: not base64") from error
    if data.startswith(GZIP_MAGIC):
        data = gunzip(data, place, Budget(DEFAULT.gunzip_total_bytes))
    document = yaml_guard.load(data, place)
    return document.get("network", document) if isinstance(document, dict) else document


def _unquoted(text: str) -> str:
    pieces = text.split("%")
    out = [pieces[0].encode("utf-8", "surrogateescape")]
    for piece in pieces[1:]:
        try:
            out.append(bytes([int(piece[:2], 16)]) + piece[2:].encode("utf-8", "surrogateescape"))
        except ValueError:
            out.append(b"%" + piece.encode("utf-8", "surrogateescape"))
    return b"".join(out).decode("utf-8", "replace")
