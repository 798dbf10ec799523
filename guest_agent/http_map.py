"""`--http MAP`: prepared answers in the place of the network (spec section 8)."""

from __future__ import annotations

import os

from guest_agent.errors import FetchFailed, LimitExceeded, UnreadableYaml
from guest_agent.http_wire import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class HttpMap:
    """`--http MAP`: address prefix -> file, directory or {status, body, headers}; anything else fails."""

    def __init__(self, entries: Mapping[str, object], base: str) -> None:
        self._entries = entries
        self._base = base

    @classmethod
    def read(cls, path: str, root: str) -> HttpMap:
        """The map in a YAML file. Raises FetchFailed when it is not one."""
        from guest_agent import yaml_guard

        place = path if os.path.exists(path) else os.path.join(root, path.lstrip("/"))
        try:
            with open(place, "rb") as file:
                entries = yaml_guard.load(file.read(), path)
        except (OSError, UnreadableYaml, LimitExceeded) as error:
            raise FetchFailed(path, f"not usable as --http map: {error}") from error
        if not isinstance(entries, dict):
            raise FetchFailed(path, "a mapping of addresses is expected in the --http map")
        return cls({str(key): value for key, value in entries.items()}, os.path.dirname(place) or ".")

    def reply(self, _method: str, url: str) -> Reply:
        """The prepared answer with the longest prefix. Raises ConnectionRefusedError when there is none."""
        for prefix in sorted(self._entries, key=len, reverse=True):
            if url.startswith(prefix):
                return self._prepared(self._entries[prefix], url[len(prefix) :])
        raise ConnectionRefusedError(111, "the --http map does not name it")

    def _prepared(self, entry: object, rest: str) -> Reply:
        if isinstance(entry, dict):
            body = entry.get("body", b"")
            headers = entry.get("headers") or {}
            return Reply(
                int(entry.get("status", 200)),
                {str(name).lower(): str(value) for name, value in headers.items()},
                body if isinstance(body, bytes) else str(body).encode("utf-8", "surrogateescape"),
            )
        place = os.path.join(self._base, str(entry))
        if not os.path.exists(place):
            place = str(entry)
        if os.path.isdir(place):
            place = os.path.join(place, rest.partition("?")[0].lstrip("/"))
        if not os.path.isfile(place):
            return Reply(404, {}, b"")
        with open(place, "rb") as file:
            return Reply(200, {}, file.read())
