"""`users_groups`: make groups and users, their passwords, sudo rules and SSH keys.

Groups first, then users in the order of the list, the default user last. A user that exists keeps what it
has but for passwords, locks, rules and keys. Source: guest-agent.md 3.3; GA-W10.
"""

from __future__ import annotations

from boot_stages.account_tools import AccountTools
from boot_stages.accounts import Group, UserKeys, image_default_user, wanted_groups, wanted_users
from boot_stages.actions import (
    GO_ON,
    AppendFile,
    Fail,
    MakeDirectory,
    Report,
    RunCommand,
    WriteFile,
    note,
    warn,
)
from boot_stages.module import Module
from boot_stages.schema import ANY, Fault, Keys, Kind, key
from boot_stages.ssh_keys import authorize, redirected
from boot_stages.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Account, Facts

SUDOERS = "/etc/sudoers.d/90-cloud-init-users"
# Nothing, false, true, and the word for the default user.
REDIRECTS = ("", "false", "true", "default")
NAME_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
NAME_LENGTH = 32
# What stands in /etc/shadow for an account that nobody has given a password.
NO_PASSWORD = ("", "!", "!!", "*", "!*", "x")

_MEMBERS = {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1}
_BY_NAME = {"patternProperties": {"^.+$": _MEMBERS}, "additionalProperties": False}
_GROUPS = Kind(
    {
        "type": ["string", "object", "array"],
        **_BY_NAME,
        "items": {"type": ["string", "object"], **_BY_NAME},
        "minItems": 1,
    },
    ANY.read,
)
_USERS = Kind(
    lambda: {
        "type": ["string", "array", "object"],
        "items": {
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                UserKeys.schema(),
            ]
        },
    },
    ANY.read,
)
_USER = Kind(lambda: {"oneOf": [{"type": "string"}, UserKeys.schema()]}, ANY.read)


class Config(Keys):
    """Keys of `users_groups`."""

    groups: object = key(
        "Groups to make: names, or a name with its members.",
        _GROUPS,
        default=(),
    )
    users: object = key(
        "Users to make: names, or maps of the keys below; `default` is the image's own user.",
        _USERS,
        default=(),
    )
    user: object = key(
        "Changes to the default user.",
        _USER,
        default=None,
        deprecated="Use 'users' instead.",
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Groups, then each user with all that belongs to it."""
    faults: list[Fault] = []
    image_default = image_default_user(facts)
    wanted = wanted_users(config.users, config.user, image_default, facts.distro, faults)
    plan_ = _Plan(facts, wanted.default)
    for text in wanted.deprecated:
        plan_.add(Report("DEPRECATED", text))
    for group in wanted_groups(config.groups):
        plan_.group(group)
    for user in wanted.users:
        if user.snapuser:
            plan_.snap_user(user)
        elif user.name and not plan_.user(user):
            break
    if faults:
        plan_.add(Fail("; ".join(str(fault) for fault in faults)))
    return tuple(plan_.actions)


class _Plan:
    """The plan while it grows: it knows which groups and files its own actions will have made."""

    def __init__(self, facts: Facts, default: str) -> None:
        self.actions: list[Action] = []
        self._default = default
        self._facts = facts
        self._tools = AccountTools.of(facts)
        self._groups = set(facts.group_members())
        self._sudoers = facts.read_text(SUDOERS)

    def add(self, *actions: Action) -> None:
        self.actions.extend(actions)

    def group(self, group: Group) -> None:
        """Make a group and put members into it."""
        members = self._facts.group_members()
        if group.name in self._groups:
            self.add(warn(f"Skipping creation of existing group '{group.name}'"))
        else:
            self.add(self._tools.add_group(group.name))
            self._groups.add(group.name)
        for member in group.members:
            if self._facts.account(member) is None:
                self.add(
                    warn(
                        f"Unable to add group member '{member}' to group '{group.name}'; user does not exist."
                    )
                )
            elif member not in members.get(group.name, ()):
                self.add(self._tools.add_member(member, group.name))

    def snap_user(self, user: UserKeys) -> None:
        """Let snapd make the user of an e-mail address: name and keys are those of the account behind it."""
        if self._facts.which("snap") is None:
            self.add(warn(f"users: snapuser {user.snapuser}: this guest has no snap. Install snapd"))
            return
        argv = ("snap", "create-user", "--sudoer", "--json", user.snapuser)
        self.add(RunCommand(argv, name=f"snap create-user {user.snapuser}", on_failure=GO_ON, opaque=True))

    def user(self, user: UserKeys) -> bool:
        """Make one user with all that belongs to it. False when the users after it shall not be made."""
        if not _is_good_name(user.name):
            self.add(
                Fail(
                    f"users: {user.name!r} is not a user name. Use a-z, 0-9, '_', '-', at most 32 of them",
                    on_failure=GO_ON,
                )
            )
            return True
        has_keys = user.ssh_authorized_keys or user.ssh_import_id or user.redirects
        if has_keys and (user.no_create_home or user.system):
            self.add(
                Fail(
                    f"Not creating user {user.name}. Key(s) ssh_authorized_keys, ssh_import_id or"
                    " ssh_redirect_user cannot be provided with no_create_home or system"
                )
            )
            return False
        if user.ssh_redirect_user not in REDIRECTS:
            self.add(
                Fail(f"Not creating user {user.name}. ssh_redirect_user is neither true, default nor false")
            )
            return False
        if user.redirects and (user.ssh_authorized_keys or user.ssh_import_id):
            self.add(
                Fail(
                    f"Not creating user {user.name}. ssh_redirect_user cannot be provided"
                    " with ssh_import_id or ssh_authorized_keys"
                )
            )
            return False
        account = self._facts.account(user.name)
        if account is None:
            self._make(user)
        else:
            was_half_made = self._facts.was_cut and self._mend(user, account)
            if not was_half_made:
                self.add(note(f"User {user.name} already exists, skipping."))
            if user.passwd is not None and not was_half_made:
                self.add(warn(f"'passwd' is ignored for the existing user {user.name}. Use 'hashed_passwd'"))
        self._passwords(user, is_new=account is None)
        self._rules(user)
        home = account.home if account is not None else user.homedir or f"/home/{user.name}"
        self._keys(user, home)
        return True

    def _make(self, user: UserKeys) -> None:
        if user.create_groups and user.groups:
            for name in (*user.groups, *((user.primary_group,) if user.primary_group else ())):
                if name not in self._groups:
                    self.add(self._tools.add_group(name))
                    self._groups.add(name)
        self.add(*self._tools.add_user(user))
        self._groups.add(user.name)

    def _mend(self, user: UserKeys, account: Account) -> bool:
        """Complete what a program may have done by half: it writes five files and a directory, one by one.

        False when nothing is missing. What is there stays as it is, so a user whom the image brought loses
        nothing (GA-S01).
        """
        before = len(self.actions)
        self.add(note(f"User {user.name} was being made when the power went: what is missing is added."))
        members = self._facts.group_members()
        if account.gid not in self._facts.group_numbers():
            self.add(self._tools.add_group(user.primary_group or user.name, account.gid))
        for group in user.groups:
            if user.create_groups and group not in self._groups:
                self.add(self._tools.add_group(group))
                self._groups.add(group)
            if user.name not in members.get(group, ()):
                self.add(self._tools.add_member(user.name, group))
        for path, is_listed in (("/etc/shadow", True), ("/etc/gshadow", user.name in members)):
            if is_listed and not self._has_line(path, user.name):
                self.add(*self._tools.complete_shadow(path))
        if not (user.no_create_home or user.system or self._facts.exists(account.home)):
            self._make_home(account)
        if user.passwd is not None and (self._facts.shadow_field(user.name) or "!") in NO_PASSWORD:
            self.add(self._tools.set_password(user.name, user.passwd, hashed=True))
        if len(self.actions) == before + 1:
            self.actions.pop()
            return False
        return True

    def _has_line(self, path: str, name: str) -> bool:
        """Whether a file has a line for this name; one that this guest does not have lacks none."""
        text = self._facts.read_text(path)
        return text is None or any(line.startswith(f"{name}:") for line in text.splitlines())

    def _make_home(self, account: Account) -> None:
        if self._facts.which("mkhomedir_helper"):
            # It copies /etc/skel as well.
            self.add(RunCommand(("mkhomedir_helper", account.name), on_failure=GO_ON))
        else:
            self.add(MakeDirectory(account.home, 0o700, f"{account.uid}:{account.gid}"))

    def _passwords(self, user: UserKeys, *, is_new: bool) -> None:
        if user.plain_text_passwd is not None:
            self.add(self._tools.set_password(user.name, user.plain_text_passwd, hashed=False))
        if user.hashed_passwd is not None:
            self.add(self._tools.set_password(user.name, user.hashed_passwd, hashed=True))
        if user.lock_passwd:
            locked = self._tools.lock(user.name)
            if is_new or not (self._facts.shadow_field(user.name) or "").startswith("!"):
                self.add(locked)
            return
        given = any(
            each is not None
            for each in (user.plain_text_passwd, user.hashed_passwd, user.passwd if is_new else None)
        )
        had = not is_new and (self._facts.shadow_field(user.name) or "") not in NO_PASSWORD
        if given or had:
            self.add(*self._tools.unlock(user.name, self._facts))
        else:
            self.add(
                warn(
                    f"Not unlocking password for user {user.name}. 'lock_passwd: false' present in user-data"
                    " but no 'passwd', 'plain_text_passwd' or 'hashed_passwd' provided in user-data"
                )
            )

    def _rules(self, user: UserKeys) -> None:
        if user.doas:
            self._doas(user)
        if user.sudo:
            self._sudo(user)

    def _sudo(self, user: UserKeys) -> None:
        lines = [f"# User rules for {user.name}", *(f"{user.name} {rule}" for rule in user.sudo)]
        block = "\n".join(lines) + "\n"
        if block in (self._sudoers or ""):
            return
        if self._sudoers is None:
            self.add(MakeDirectory("/etc/sudoers.d", 0o750), *_include_sudoers(self._facts))
            header = f"# Created by guestling v. {VERSION}\n"
            self.add(WriteFile(SUDOERS, f"{header}\n{block}".encode(), 0o440))
            self._sudoers = header
        else:
            self.add(AppendFile(SUDOERS, f"\n{block}".encode(), 0o440))
        self._sudoers += block

    def _doas(self, user: UserKeys) -> None:
        foreign = [rule for rule in user.doas if user.name not in rule.split()]
        if foreign:
            text = f"doas: a rule of {user.name} does not name that user: none is written"
            self.add(Report("ERROR", text))
            return
        old = self._facts.read_text("/etc/doas.conf") or ""
        lines = [f"# User rules for {user.name}", *user.doas]
        block = "\n".join(lines) + "\n"
        if block not in old:
            self.add(AppendFile("/etc/doas.conf", f"\n{block}".encode(), 0o440))

    def _keys(self, user: UserKeys, home: str) -> None:
        if user.ssh_authorized_keys:
            self.add(*authorize(user.name, home, user.ssh_authorized_keys, self._facts))
        if user.redirects and not self._default:
            text = f"Ignoring ssh_redirect_user for {user.name}: there is no default user to send logins to"
            self.add(warn(f"{text}. Write 'users: [default, ...]'"))
        elif user.redirects and not self._facts.cloud.public_keys:
            text = f"Unable to disable SSH logins for {user.name} given ssh_redirect_user: {self._default}"
            self.add(warn(f"{text}. The cloud gives no public keys"))
        elif user.redirects:
            self.add(*redirected(user.name, home, self._default, self._facts))


def _is_good_name(name: str) -> bool:
    """Letters, digits and `_.-`, the first no digit, `.` or `-`; a `$` at the end is for machine accounts."""
    bare = name.removesuffix("$")
    return 0 < len(bare) <= NAME_LENGTH and not bare.strip(NAME_LETTERS) and bare[0] not in "0123456789.-"


def _include_sudoers(facts: Facts) -> tuple[Action, ...]:
    """Make sure that /etc/sudoers reads the directory, where there is a sudo at all."""
    text = facts.read_text("/etc/sudoers")
    includes = (["@includedir", "/etc/sudoers.d"], ["#includedir", "/etc/sudoers.d"])
    if text is not None and any(line.split() in includes for line in text.splitlines()):
        return ()
    line = "\n# Added by guestling\n@includedir /etc/sudoers.d\n"
    return (AppendFile("/etc/sudoers", line.encode(), 0o440),)


MODULE = Module("users_groups", Config, plan)
