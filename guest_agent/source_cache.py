"""What a datasource said, kept for the later stages and the next boot as JSON (never a pickle)."""

from __future__ import annotations

from guest_agent.datasources.source_data import InjectedFile, SourceData
from guest_agent.plain import BYTES_PREFIX, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Fields that are tuples in SourceData and lists in JSON.
_TUPLES = ("public_keys", "update_events")


def to_document(source: SourceData) -> dict[str, Any]:
    """The source as plain data; bytes as `ci-b64:` texts."""
    document = {name: plain(getattr(source, name)) for name in SourceData.FIELDS if name != "files"}
    document["files"] = [[file.path, plain(file.content)] for file in source.files]
    return document


def from_document(document: dict[str, Any]) -> SourceData:
    """The source again. Raises TypeError, ValueError, KeyError for a document of another shape."""
    fields = {name: _revived(document[name]) for name in SourceData.FIELDS if name in document}
    for name in _TUPLES:
        if name in fields:
            fields[name] = tuple(str(item) for item in fields[name])
    fields["device_names"] = tuple((str(name), str(to)) for name, to in fields.get("device_names", ()))
    fields["files"] = tuple(InjectedFile(str(path), content) for path, content in fields.get("files", ()))
    return SourceData(**fields)


def _revived(value: Any) -> Any:
    """Bytes again where JSON has their text form."""
    if isinstance(value, str):
        if not value.startswith(BYTES_PREFIX):
            return value
        import binascii

        return binascii.a2b_base64(value[len(BYTES_PREFIX) :])
    if isinstance(value, list):
        return [_revived(item) for item in value]
    if isinstance(value, dict):
        return {name: _revived(item) for name, item in value.items()}
    return value
