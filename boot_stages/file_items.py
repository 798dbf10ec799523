"""The items of `write_files`, for both of its modules.

Source: guest-agent.md 3.3; GA-W07, GA-W08, D12, D20.
"""

from __future__ import annotations

import zlib

from boot_stages.actions import GO_ON, AppendFile, Download, Fail, WriteFile, warn
from boot_stages.schema import (
    BOOL,
    TEXT,
    Fault,
    Keys,
    Kind,
    Undecodable,
    key,
    list_of,
    map_of,
    record,
    with_schema,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

UNPACK_LIMIT = 64 * 1024 * 1024
DEFAULT_MODE = 0o644
_GZIP = ("gz", "gzip")
_BASE64 = ("b64", "base64")
ENCODINGS = (
    *_GZIP,
    *(f"{gzip}+{coded}" for gzip in _GZIP for coded in reversed(_BASE64)),
    *_BASE64,
    "text/plain",
)


def _read_content(value: object, path: str, _faults: list[Fault]) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value).encode("utf-8", "surrogateescape")
    raise Undecodable(Fault(path, "a text is expected", "Write it below 'content: |'"))


CONTENT: Kind[bytes] = Kind({"type": "string"}, _read_content)
# Read as it is: text, number or rubbish; `mode_of` says what it means.
PERMISSIONS: Kind[object] = Kind({"type": "string"}, lambda value, _path, _faults: value)


class Source(Keys):
    """Where the content of a file is fetched from."""

    uri: str = key("The address: http, https, or a path.", TEXT, default="", required=True)
    headers: Mapping[str, str] = key("HTTP headers of the request.", map_of(TEXT), default={})


class FileItem(Keys):
    """One file of `write_files`."""

    path: str = key("Where the file is written: an absolute path.", TEXT, default="", required=True)
    content: bytes = key("What is written.", CONTENT, default=b"")
    source: Source | None = key(
        "Where to fetch the content from; `content` is used when it cannot be had.",
        record(Source),
        default=None,
    )
    owner: str = key("user:group, by name.", TEXT, default="root:root")
    permissions: object = key("The mode as octal text: '0644'.", PERMISSIONS, default="0644")
    encoding: str = key(
        "How `content` is encoded.",
        with_schema(TEXT, {"type": "string", "enum": list(ENCODINGS)}),
        default="text/plain",
    )
    append: bool = key("Add to the end of the file.", BOOL, default=False)
    defer: bool = key("Write in the final stage, when users and packages are there.", BOOL, default=False)


FILE_ITEMS = list_of(record(FileItem), keep_good=True, minItems=1)


def plan_files(items: tuple[FileItem, ...], facts: Facts) -> tuple[Action, ...]:
    """Write each item; a bad one is reported and the others are still written."""
    return tuple(action for item in items for action in _plan_file(item, facts))


def _plan_file(item: FileItem, facts: Facts) -> tuple[Action, ...]:
    if not item.path:
        return (warn("write_files: an item has no path: it is skipped. Give it 'path: /absolute/path'"),)
    mode, warnings = mode_of(item.permissions, item.path)
    if _unknown_encoding(item.encoding):
        text = f"write_files: {item.path}: the encoding {item.encoding!r} is not known: written as it is"
        warnings = (*warnings, warn(text))
    try:
        content = decode(item.content, item.encoding)
    except (ValueError, zlib.error) as error:
        # Refused before the first byte is written; the other items are still written (D12).
        text = f"write_files: {item.path}: the content is not {item.encoding}: {error}"
        return (*warnings, Fail(text, on_failure=GO_ON))
    write = _write(item, content, mode)
    if item.source is not None and item.source.uri:
        return (*warnings, _download(item, item.source, write, mode))
    if isinstance(write, WriteFile) and _is_there(write, facts):
        return warnings
    return (*warnings, write)


def _write(item: FileItem, content: bytes, mode: int) -> WriteFile | AppendFile:
    if item.append:
        return AppendFile(item.path, content, mode, item.owner, own_parents=True, on_failure=GO_ON)
    return WriteFile(item.path, content, mode, item.owner, own_parents=True, on_failure=GO_ON)


def _download(item: FileItem, source: Source, write: WriteFile | AppendFile, mode: int) -> Download:
    return Download(
        source.uri,
        item.path,
        mode,
        item.owner,
        tuple(sorted(source.headers.items())),
        append=item.append,
        own_parents=True,
        otherwise=write if item.content else None,
    )


def _is_there(write: WriteFile, facts: Facts) -> bool:
    """Whether the file is already as wanted: content, mode, and owner by number."""
    user, _, group = write.owner.partition(":")
    account = facts.account(user)
    owner = facts.owner(write.path)
    return (
        facts.read_bytes(write.path) == write.content
        and facts.mode(write.path) == write.mode
        and owner is not None
        and ((user, group) == ("root", "root") or account is not None)
        and owner[0] == (account.uid if account else 0)
        and (group in {user, "root"})
    )


def mode_of(permissions: object, path: str) -> tuple[int, tuple[Action, ...]]:
    """The mode bits that `permissions` means: octal for a text, as it stands for a number (D20)."""
    if isinstance(permissions, str):
        digits = permissions.strip()
        digits = digits[2:] if digits[:2] in {"0o", "0O"} else digits
        if digits.isdigit() and all(digit in "01234567" for digit in digits) and int(digits, 8) <= 0o7777:
            return int(digits, 8), ()
    elif isinstance(permissions, int) and not isinstance(permissions, bool) and 0 <= permissions <= 0o7777:
        if _looks_octal(permissions):
            text = (
                f"write_files: {path}: permissions {permissions} is a decimal number, mode {permissions:05o}"
            )
            return permissions, (warn(f"{text}. Write '{permissions:04d}' in quotes"),)
        return permissions, ()
    text = f"write_files: {path}: permissions are not a mode: {DEFAULT_MODE:04o} is used"
    return DEFAULT_MODE, (warn(f"{text}. Write an octal text such as '0644'"),)


def _looks_octal(number: int) -> bool:
    """600 is 01130 to YAML: nobody means that. 420 is 0644, as YAML reads an unquoted 0644."""
    digits = str(number)
    return number > 0o777 and not set(digits) & set("89") and int(digits, 8) & 0o400 != 0


def _steps(encoding: str) -> list[str]:
    return encoding.lower().strip().replace("application/", "").split("+")


def _unknown_encoding(encoding: str) -> bool:
    return any(step not in {*_GZIP, *_BASE64, "text/plain", ""} for step in _steps(encoding))


def decode(content: bytes, encoding: str) -> bytes:
    """The bytes that an encoded content stands for. Raises ValueError or zlib.error when it is not that."""
    steps = () if _unknown_encoding(encoding) else _steps(encoding)
    if any(step in _BASE64 for step in steps):
        import base64

        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except ValueError as error:  # worded differently by each Python
            raise ValueError("its letters or its length are not base64's") from error
    if any(step in _GZIP for step in steps):
        content = gunzip(content)
    return content


def gunzip(content: bytes) -> bytes:
    """Unpack gzip, to at most 64 MiB. Raises ValueError beyond, zlib.error for rubbish."""
    unpacked = b""
    while content:
        inflate = zlib.decompressobj(wbits=31)
        unpacked += inflate.decompress(content, UNPACK_LIMIT + 1 - len(unpacked))
        if len(unpacked) > UNPACK_LIMIT:
            raise ValueError("it unpacks to more than 64 MiB")
        if not inflate.eof:
            raise ValueError("the gzip data is cut short")
        content = inflate.unused_data
    return unpacked
