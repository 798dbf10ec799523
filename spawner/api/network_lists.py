"""What a list of Neutron's things shows: which of them, which fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from spawner.api.requests import truth


def matches(view: Mapping[str, Any], request: web.Request) -> bool:
    """Whether a view is what the query asks for; names that it does not have are passed over."""
    for name, value in request.query.items():
        if name not in view or name in {"limit", "marker", "sort_key", "sort_dir", "fields"}:
            continue
        found = view[name]
        if name == "fixed_ips":
            if not _has_addresses(found, request.query.getall(name)):
                return False
            continue
        if isinstance(found, bool):
            if found != truth(value):
                return False
        elif str(found) not in request.query.getall(name):
            return False
    return True


def _has_addresses(fixed_ips: list[dict[str, str]], wanted: list[str]) -> bool:
    """Whether a port has one address that is all of `ip_address=A`, `subnet_id=S`, `ip_address_substr=P`."""
    pairs = [entry.partition("=") for entry in wanted]
    return any(
        all(
            value in fixed.get("ip_address", "") if key == "ip_address_substr" else fixed.get(key) == value
            for key, _equals, value in pairs
        )
        for fixed in fixed_ips
    )


def chosen_fields(view: dict[str, Any], request: web.Request) -> dict[str, Any]:
    """What `fields` of the query leaves of a view."""
    fields = request.query.getall("fields", [])
    return {name: value for name, value in view.items() if name in fields} if fields else view
