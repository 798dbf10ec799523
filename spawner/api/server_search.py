"""Which servers a list request asks for, and in which order. Source: Compute API reference (list servers)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spawner.api.faults import Fault
from spawner.api.requests import truth
from spawner.store.servers import Server


def matches(server: Server, query: Mapping[str, str]) -> bool:
    """Whether a server is what the filters of a query string ask for. Raises Fault 400."""
    if "name" in query and not _is_match(query["name"], server.name):
        return False
    wanted = {
        "status": server.status,
        "image": server.image_id,
        "flavor": server.flavor.id,
        "host": server.host,
        "key_name": server.key_name,
        "user_id": server.user_id,
        "vm_state": server.vm_state.value,
        "project_id": server.project_id,
        "tenant_id": server.project_id,
    }
    for name, value in wanted.items():
        if name in query and query[name].lower() != (value or "").lower():
            return False
    if truth(query.get("deleted", "")):
        return False
    if "tags" in query and not set(query["tags"].split(",")) <= set(server.tags):
        return False
    return "changes-since" not in query or _since(query["changes-since"]) <= (
        server.updated_at or server.created_at
    )


def _is_match(pattern: str, name: str) -> bool:
    """Nova's `name` is a regular expression; one that is not is taken as it stands."""
    try:
        return re.search(pattern[:255], name) is not None
    except re.error:
        return pattern in name


def _since(word: str) -> float:
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise Fault(400, "Invalid changes-since value") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_SORT_KEYS = {
    "created_at": lambda server: server.created_at,
    "updated_at": lambda server: server.updated_at or 0.0,
    "display_name": lambda server: server.name,
    "uuid": lambda server: server.id,
    "vm_state": lambda server: server.vm_state.value,
    "launched_at": lambda server: server.launched_at or 0.0,
    "host": lambda server: server.host or "",
}


def sort(found: list[Server], query: Any) -> None:
    """Sort in place by the `sort_key` and `sort_dir` of a query string. Raises Fault 400."""
    keys = query.getall("sort_key", [])
    directions = query.getall("sort_dir", [])
    for index, name in reversed(list(enumerate(keys))):
        if name not in _SORT_KEYS:
            raise Fault(400, f"Invalid sort key: {name[:40]}")
        direction = directions[index] if index < len(directions) else "desc"
        found.sort(key=_SORT_KEYS[name], reverse=direction == "desc")
