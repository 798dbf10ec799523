"""Values as the agent's JSON files and answers show them (spec section 0)."""

from __future__ import annotations

from boot_stages.plain_json import write_indented

BYTES_PREFIX = "ci-b64:"


def plain(value: object) -> object:
    """`value` with only what JSON has: bytes become `ci-b64:` text, keys and dates text, tuples lists."""
    if isinstance(value, dict):
        return {_key(key): plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(child) for child in value]
    if isinstance(value, (bytes, bytearray)):
        import binascii

        return BYTES_PREFIX + binascii.b2a_base64(value, newline=False).decode("ascii")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def _key(key: object) -> str:
    """As JSON writes keys that are not text: true, null, 1."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def to_json(value: object) -> str:
    """Indent 1, sorted keys, separators `,` and `: `, newline at the end."""
    return write_indented(plain(value)) + "\n"
