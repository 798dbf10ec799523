"""Which servers a list request asks for, and in which order. Source: Compute API reference (list servers)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from spawner.api.faults import Fault
from spawner.api.requests import truth
from spawner.store.servers import Server


def matches(server: Server, query: Mapping[str, str], addresses: Sequence[str] = ()) -> bool:
    """Whether a server is what the filters of a query string ask for. Raises Fault 400."""
    if "name" in query and not _is_match(query["name"], server.name):
        return False
    for name, family in (("ip", "."), ("ip6", ":")):
        if name in query and not any(family in each and _is_match(query[name], each) for each in addresses):
            return False
    for name, found in (("locked", server.locked), ("config_drive", server.config_drive)):
        if name in query and truth(query[name]) is not found:
            return False
    wanted = {
        "status": server.status,
        "availability_zone": server.availability_zone,
        "task_state": server.task_state.value if server.task_state else "",
        "power_state": str(int(server.power_state)),
        "reservation_id": f"r-{server.id[:8]}",
        "hostname": server.hostname,
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
    if not _has_tags(server, query):
        return False
    changed = server.updated_at or server.created_at
    if "changes-since" in query and changed < _moment("changes-since", query):
        return False
    return "changes-before" not in query or changed <= _moment("changes-before", query)


def _has_tags(server: Server, query: Mapping[str, str]) -> bool:
    """All, any, not all, or none of some tags."""
    had = set(server.tags)
    wanted = {name: set(query.get(name, "").split(",")) for name in _TAG_FILTERS if name in query}
    return (
        wanted.get("tags", set()) <= had
        and (not wanted.get("tags-any") or bool(wanted["tags-any"] & had))
        and ("not-tags" not in wanted or not wanted["not-tags"] <= had)
        and not wanted.get("not-tags-any", set()) & had
    )


_TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")


def _is_match(pattern: str, name: str) -> bool:
    """Nova's `name` is a regular expression; one that is not is taken as it stands."""
    try:
        return re.search(pattern[:255], name) is not None
    except re.error:
        return pattern in name


def _moment(name: str, query: Mapping[str, str]) -> float:
    try:
        moment = datetime.fromisoformat(query[name])
    except ValueError:
        raise Fault(400, f"Invalid {name} value") from None
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
