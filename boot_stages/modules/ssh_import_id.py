"""`ssh_import_id`: fetch users' keys by their names at Launchpad or GitHub. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.accounts import users_of
from boot_stages.actions import GO_ON, Fail, RunCommand, warn
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, key, list_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


class Config(Keys):
    """Keys of `ssh_import_id`; users have the same key."""

    ssh_import_id: tuple[str, ...] = key(
        "Names for the default user: lp:NAME or gh:NAME.", list_of(TEXT), default=()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One command for each user that has names."""
    users = users_of(facts)
    wanted = {user.name: user.ssh_import_id for user in users.users if user.ssh_import_id}
    if config.ssh_import_id and users.default and users.default not in wanted:
        wanted[users.default] = config.ssh_import_id
    if not wanted:
        return ()
    if facts.which("ssh-import-id") is None:
        return (
            warn("ssh_import_id: ssh-import-id is not installed: no key is fetched. Install the package"),
        )
    return tuple(_import(user, names, facts) for user, names in wanted.items())


def _import(user: str, names: tuple[str, ...], facts: Facts) -> Action:
    if facts.account(user) is None:
        return Fail(f"ssh_import_id: there is no user {user}", on_failure=GO_ON)
    if facts.which("sudo") is None and facts.which("doas") is not None:
        argv: tuple[str, ...] = ("doas", "-u", user, "ssh-import-id", *names)
    else:
        argv = ("sudo", "--preserve-env=https_proxy", "-Hu", user, "ssh-import-id", *names)
    command = RunCommand(argv, name=f"ssh-import-id for {user}", timeout_s=120, on_failure=GO_ON, opaque=True)
    return command.replace(otherwise=command)  # key servers fail now and then: once more


MODULE = Module("ssh_import_id", Config, plan)
