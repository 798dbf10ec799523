"""Which programs make accounts: shadow's (useradd), or busybox's (adduser) where shadow is missing.

Source: guest-agent.md 3.3 (users_groups, the useradd options and the Alpine paragraph).
"""

from __future__ import annotations

from boot_stages.actions import GO_ON, EditShadow, RunCommand
from boot_stages.value import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.accounts import UserKeys
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

SECONDS_PER_DAY = 86400


class AccountTools:
    """shadow's tools; busybox's are a subclass. Every method gives actions, none does anything."""

    @staticmethod
    def of(facts: Facts) -> AccountTools:
        """The tools of this guest."""
        if facts.distro.family == "alpine" and facts.which("useradd") is None:
            return _BusyboxTools()
        return AccountTools()

    def add_group(self, name: str, gid: int | None = None) -> Action:
        """Make a group, with this number where there is one."""
        number = () if gid is None else ("--gid", str(gid))
        return RunCommand(("groupadd", *number, name), on_failure=GO_ON)

    def complete_shadow(self, path: str) -> tuple[Action, ...]:
        """Lines of /etc/shadow or /etc/gshadow for what has none there."""
        program = {"/etc/shadow": "pwconv", "/etc/gshadow": "grpconv"}[path]
        return (RunCommand((program,), optional=True, on_failure=GO_ON),)

    def add_member(self, user: str, group: str) -> Action:
        """Put a user into a group."""
        return RunCommand(("usermod", "-a", "-G", group, user), on_failure=GO_ON)

    def add_user(self, user: UserKeys) -> tuple[Action, ...]:
        """Make a user; a password hash travels through chpasswd's standard input, never through argv."""
        options = {
            "--comment": user.gecos,
            "--expiredate": user.expiredate,
            "--gid": user.primary_group,
            "--groups": ",".join(user.groups),
            "--home": user.homedir,
            "--inactive": user.inactive,
            "--selinux-user": user.selinux_user,
            "--shell": user.shell,
            "--uid": user.uid,
        }
        words = [word for option, value in _in_key_order(options) if value for word in (option, value)]
        flags = {
            "--no-log-init": user.no_log_init,
            "--no-user-group": user.no_user_group,
            "--system": user.system,
        }
        words += [flag for flag, wanted in flags.items() if wanted]
        words.append("-M" if user.no_create_home or user.system else "-m")
        make: tuple[Action, ...] = (RunCommand(("useradd", user.name, *words), on_failure=GO_ON),)
        if user.passwd is not None:
            make = (*make, self.set_password(user.name, user.passwd, hashed=True))
        return make

    def set_password(self, name: str, password: Secret, *, hashed: bool) -> Action:
        """Set a password through chpasswd's standard input."""
        line = Secret(name.encode() + b":" + password.reveal() + b"\n")
        return RunCommand(("chpasswd", *(("-e",) if hashed else ())), stdin=line, on_failure=GO_ON)

    def expire(self, name: str) -> Action:
        """Ask for a new password at the next login."""
        return RunCommand(("passwd", "--expire", name), on_failure=GO_ON)

    def lock(self, name: str) -> Action:
        """No login by password."""
        fallback = RunCommand(("usermod", "--lock", name))
        return RunCommand(("passwd", "-l", name), otherwise=fallback, on_failure=GO_ON)

    def unlock(self, name: str, _facts: Facts) -> tuple[Action, ...]:
        """Login by password again; an account without one gets an empty one, as asked."""
        delete = RunCommand(("passwd", "-d", name))
        return (RunCommand(("passwd", "-u", name), good=(0, 3), otherwise=delete, on_failure=GO_ON),)


def _in_key_order(options: dict[str, str]) -> list[tuple[str, str]]:
    """cloud-init sorts by its own key names; these are they."""
    keys = {
        "--comment": "gecos",
        "--expiredate": "expiredate",
        "--gid": "primary_group",
        "--groups": "groups",
        "--home": "homedir",
        "--inactive": "inactive",
        "--selinux-user": "selinux_user",
        "--shell": "shell",
        "--uid": "uid",
    }
    return sorted(options.items(), key=lambda item: keys[item[0]])


class _BusyboxTools(AccountTools):
    def add_group(self, name: str, gid: int | None = None) -> Action:
        number = () if gid is None else ("-g", str(gid))
        return RunCommand(("addgroup", *number, name), on_failure=GO_ON)

    def complete_shadow(self, _path: str) -> tuple[Action, ...]:
        return ()

    def add_member(self, user: str, group: str) -> Action:
        return RunCommand(("addgroup", user, group), on_failure=GO_ON)

    def add_user(self, user: UserKeys) -> tuple[Action, ...]:
        options = {
            "-g": user.gecos,
            "-h": user.homedir,
            "-s": user.shell,
            "-G": user.primary_group,
            "-u": user.uid,
        }
        words = [word for option, value in options.items() if value for word in (option, value)]
        words += ["-S"] if user.system else []
        words += ["-H"] if user.no_create_home or user.system else []
        make: list[Action] = [RunCommand(("adduser", "-D", *words, user.name), on_failure=GO_ON)]
        make += [self.add_member(user.name, group) for group in user.groups]
        if user.passwd is not None or user.expiredate or user.inactive:
            make.append(
                EditShadow(
                    user.name,
                    password=user.passwd,
                    expire_day=_day(user.expiredate),
                    inactive_days=int(user.inactive) if user.inactive.isdigit() else None,
                )
            )
        return tuple(make)

    def expire(self, name: str) -> Action:
        return EditShadow(name, last_change=0, on_failure=GO_ON)

    def lock(self, name: str) -> Action:
        return EditShadow(name, lock=True, on_failure=GO_ON)

    def unlock(self, name: str, _facts: Facts) -> tuple[Action, ...]:
        return (EditShadow(name, lock=False, on_failure=GO_ON),)


def _day(date: str) -> int | None:
    """Days since 1970 of YYYY-MM-DD, as /etc/shadow counts."""
    import calendar
    import time

    try:
        return calendar.timegm(time.strptime(date, "%Y-%m-%d")) // SECONDS_PER_DAY
    except ValueError:
        return None
