"""Which role an operation needs: one table for all services. admin includes member, member reader."""

from __future__ import annotations

READER, MEMBER, ADMIN = "reader", "member", "admin"

POLICY: dict[str, str] = {
    "identity:read": READER,
    "identity:application-credential": MEMBER,
    "identity:password": READER,
    "identity:list-all": ADMIN,
    "identity:manage": ADMIN,
    "compute:read": READER,
    "compute:server": MEMBER,
    "compute:keypair": MEMBER,
    "compute:server-group": MEMBER,
    "compute:flavor": ADMIN,
    "compute:hypervisors": ADMIN,
    "compute:service": ADMIN,
    "compute:all-projects": ADMIN,
    "compute:quota": ADMIN,
    "image:read": READER,
    "image:write": MEMBER,
    "image:publicize": ADMIN,
    "network:read": READER,
    "network:write": MEMBER,
    "network:quota": ADMIN,
    "placement:read": ADMIN,
    "metrics:read": ADMIN,
    "volume:read": READER,
    "volume:write": MEMBER,
    "volume:all-projects": ADMIN,
    "volume:quota": ADMIN,
}


def allows(rule: str, roles: tuple[str, ...]) -> bool:
    """Whether somebody with these roles may do what the rule stands for."""
    return POLICY[rule] in roles
