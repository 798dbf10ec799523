"""Whose Neutron's things are: who sees them, who may change them, and to whom a new one belongs."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from spawner.api import network_forms as forms
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY


def is_owner(request: web.Request, row: Any) -> bool:
    """Whether a row is the caller's project's, or anything for an admin."""
    identity = request[IDENTITY]
    return bool(row.project_id == identity.project_id or identity.is_admin)


def is_visible(request: web.Request, row: Any) -> bool:
    """Whether a row is the caller's project's, shared, or anything for an admin."""
    return is_owner(request, row) or bool(getattr(row, "shared", False))


def named_owner(request: web.Request, wish: forms.Owned) -> str:
    """The project that a new thing is wished for: the caller's, unless another is named."""
    return wish.project_id or wish.tenant_id or str(request[IDENTITY].project_id)


def owner(request: web.Request, wish: forms.Owned, rule: str = "create") -> str:
    """The same, as far as the caller may choose. Raises Fault 403 in the words of that rule of the policy."""
    named = named_owner(request, wish)
    if named != request[IDENTITY].project_id and not request[IDENTITY].is_admin:
        raise Fault(403, f"rule:{rule} for another project is disallowed by policy")
    return named


def new_row(cloud: Cloud, request: web.Request, wish: forms.Owned) -> dict[str, Any]:
    """The columns that every new thing has. Raises Fault 403 for another project's."""
    return {
        "id": cloud.new_id(),
        "project_id": owner(request, wish),
        "created_at": cloud.clock(),
        "description": wish.description,
    }
