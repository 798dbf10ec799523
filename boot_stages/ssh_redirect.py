"""Keys that may not log in but tell the caller which user to take. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.ssh_keys import authorize, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

DISABLE_OPTIONS = (
    "no-port-forwarding,no-agent-forwarding,"
    'no-X11-forwarding,command="echo \'Please login as the user \\"$USER\\"'
    ' rather than the user \\"$DISABLE_USER\\".\';echo;sleep 10;exit 142"'
)


def disable_options(template: str, user: str, disabled: str) -> str:
    """The key options for a disabled login: which user to take instead of which."""
    return template.replace("$USER", user).replace("$DISABLE_USER", disabled)


def redirected(user: str, home: str, default_user: str, facts: Facts) -> tuple[Action, ...]:
    """Write the cloud's keys for `user`, each with a forced command that names the default user."""
    options = disable_options(DISABLE_OPTIONS, default_user, user)
    return authorize(user, home, tuple(with_options(key, options) for key in facts.cloud.public_keys), facts)
