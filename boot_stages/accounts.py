"""The users and groups a cloud-config asks for, as typed values: the many spellings end here.

Source: guest-agent.md 3.3 (users_groups); D11, D25.
"""

from __future__ import annotations

from boot_stages.schema import (
    BOOL,
    TEXT,
    Fault,
    Keys,
    Kind,
    Undecodable,
    deprecated,
    key,
    with_schema,
    wrong,
)
from boot_stages.value import Secret, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.distros import Distro
    from boot_stages.facts import Facts
    from boot_stages.schema import Schema

DEFAULT = "default"


def _read_texts(value: object, path: str, _faults: list[Fault]) -> tuple[str, ...]:
    """A text, a list of texts, or a map whose values are texts; null is nothing."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return tuple(str(each) for each in value if each is not None)
    raise wrong(path, "a text or a list of texts", value)


def _read_names(value: object, path: str, _faults: list[Fault]) -> tuple[str, ...]:
    """`a, b`, a list of names, or a map whose keys are the names."""
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, (list, tuple, dict)):
        return tuple(name for name in (str(each).strip() for each in value) if name)
    raise wrong(path, "a list of names", value, "Write 'groups: [adm, sudo]' or 'groups: adm, sudo'")


def _read_rules(value: object, path: str, _faults: list[Fault]) -> tuple[str, ...]:
    """sudo rules; false and null mean none."""
    if value is False:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise wrong(path, "a rule or a list of rules", value, "Write 'sudo: ALL=(ALL) NOPASSWD:ALL'")


def _read_secret(value: object, path: str, _faults: list[Fault]) -> Secret:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        if "\n" in str(value) or "\r" in str(value):
            # It would be a second line of chpasswd's input: another account's password.
            raise Undecodable(Fault(path, "a password is one line", "Remove the line break"))
        return Secret(str(value))
    raise wrong(path, "a text", value)


def _read_word(value: object, _path: str, _faults: list[Fault]) -> str:
    """useradd options: only texts count, everything else is as if it were not there."""
    return value if isinstance(value, str) else ""


def _read_uid(value: object, _path: str, _faults: list[Fault]) -> str:
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""


_STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
WORD = Kind({"type": "string"}, _read_word)
UID = Kind({"oneOf": [{"type": "integer"}, deprecated({"type": "string"}, "Write a number.")]}, _read_uid)
SECRET = Kind({"type": "string"}, _read_secret)
NAMES = Kind(
    {
        "oneOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": ["string"]}, "minItems": 1},
            {
                "type": "object",
                "patternProperties": {
                    "^.+$": {
                        "type": ["null"],
                        "deprecated": True,
                        "deprecated_description": "Write a list of names.",
                    }
                },
            },
        ]
    },
    _read_names,
)
TEXTS = Kind(_STRINGS, _read_texts)
RULES = Kind(
    {
        "oneOf": [
            {"type": ["string", "null"]},
            {"type": "array", "items": {"type": ["string", "null"]}},
            deprecated({"type": "boolean"}, "Write null instead of false."),
        ]
    },
    _read_rules,
)
EXPIRY = with_schema(WORD, {"type": "string", "format": "date"})


class UserKeys(Keys):
    """One user of `users`; dashes in names are read as underscores."""

    name: str = key("The login name.", TEXT, default="")
    gecos: str = key("The comment field, usually the real name.", WORD, default="")
    homedir: str = key("The home directory. Default: /home/NAME.", WORD, default="")
    primary_group: str = key("The primary group. Default: one of the user's own name.", WORD, default="")
    groups: tuple[str, ...] = key("Further groups, made where missing.", NAMES, default=())
    create_groups: bool = key("Make the missing ones of `groups`.", BOOL, default=True)
    uid: str = key("The user number. Default: the next free one.", UID, default="")
    shell: str = key("The login shell. Default: the system's.", WORD, default="")
    expiredate: str = key("The day on which the account ends: YYYY-MM-DD.", EXPIRY, default="")
    inactive: str = key("Days after an expired password until the account is off.", WORD, default="")
    selinux_user: str = key("The SELinux user of the login.", WORD, default="")
    passwd: Secret | None = key("A password hash, for a new user.", SECRET, default=None)
    hashed_passwd: Secret | None = key("A password hash, also for a user that exists.", SECRET, default=None)
    plain_text_passwd: Secret | None = key("A password in clear text.", SECRET, default=None)
    lock_passwd: bool = key("No login by password.", BOOL, default=True)
    no_create_home: bool = key("Make no home directory.", BOOL, default=False)
    no_user_group: bool = key("Make no group of the user's name.", BOOL, default=False)
    no_log_init: bool = key("Leave lastlog and faillog alone.", BOOL, default=False)
    system: bool = key("A system account: no home, a low number.", BOOL, default=False)
    sudo: tuple[str, ...] = key("sudo rules, without the user name.", RULES, default=())
    doas: tuple[str, ...] = key("doas rules, with the user name.", TEXTS, default=())
    ssh_authorized_keys: tuple[str, ...] = key("Public keys that may log in.", TEXTS, default=())
    ssh_import_id: tuple[str, ...] = key("Where to fetch public keys: gh:NAME, lp:NAME.", TEXTS, default=())
    ssh_redirect_user: str = key(
        "Refuse a login with the cloud's keys and name the default user.",
        Kind({"type": "boolean"}, lambda value, _path, _faults: str(value).lower()),
        default="",
    )
    snapuser: str = key("The e-mail address of a snap user.", TEXT, default="")

    @classmethod
    def schema(cls) -> Schema:
        """As declared, the old spellings with dashes, and either a name or a snap user."""
        schema = super().schema()
        properties = schema["properties"]
        for name in [each for each in properties if "_" in each]:
            instead = {"deprecated": True, "deprecated_description": f"Use '{name}' instead."}
            properties[name.replace("_", "-")] = {**properties[name], **instead}
        return {**schema, "oneOf": [{"required": ["name"]}, {"required": ["snapuser"]}]}

    @property
    def redirects(self) -> bool:
        """Whether logins with the cloud's keys are sent to the default user."""
        return self.ssh_redirect_user in {"true", "default"}


class Wanted(Value):
    """What a config asks for: users in the order in which they are made, and what was wrong with others."""

    users: tuple[UserKeys, ...]
    deprecated: tuple[str, ...] = ()
    default: str = ""


def wanted_users(
    users: object, user: object, image_default: Mapping[str, object], distro: Distro, faults: list[Fault]
) -> Wanted:
    """Bring `users` and `user` of a config into one list, the default user last.

    `image_default` is `system_info.default_user` of the image's config; it is laid over the distribution's.
    """
    notes: list[str] = []
    entries: list[dict[str, object]] = []
    _collect(users, entries, notes)
    default = {**default_user(distro), **image_default}
    if user:
        notes.append("user: Use 'users' instead")
        override = {"name": user} if isinstance(user, str) else _underscored(user)
        default = {**default, **override}
        entries.append({"name": DEFAULT})
    plain, own = _split_default(entries, default)
    specs = [*plain, *([own] if own is not None else [])]
    notes += [
        f"users: {each.get('name')}: sudo: false: Use null instead"
        for each in specs
        if each.get("sudo") is False
    ]
    users = tuple(_read_user(spec, index, faults) for index, spec in enumerate(specs))
    return Wanted(users, tuple(notes), users[-1].name if own is not None else "")


def users_of(facts: Facts) -> Wanted:
    """The users that the whole config asks for, for the modules that serve them."""
    system = facts.system
    return wanted_users(system.get("users"), system.get("user"), image_default_user(facts), facts.distro, [])


def image_default_user(facts: Facts) -> dict[str, object]:
    """What the image's config lays over the distribution's default user."""
    default = facts.system_info.get("default_user")
    return dict(default) if isinstance(default, dict) else {}


def default_user(distro: Distro) -> dict[str, object]:
    """The distribution's default user as a map of user keys."""
    user = distro.default_user
    return {
        "name": user.name,
        "gecos": user.gecos,
        "groups": list(user.groups),
        "shell": user.shell,
        "sudo": list(user.sudo) if not user.doas else None,
        "doas": list(user.doas) or None,
        "lock_passwd": True,
    }


def _underscored(entry: object) -> dict[str, object]:
    if not isinstance(entry, dict):
        return {}
    return {str(name).replace("-", "_"): value for name, value in entry.items()}


def _collect(users: object, entries: list[dict[str, object]], notes: list[str]) -> None:
    """Flatten texts, nested lists and maps into entries with a name."""
    if isinstance(users, str):
        entries.extend({"name": name.strip()} for name in users.split(",") if name.strip())
    elif isinstance(users, dict) and ("name" in users or "snapuser" in users):
        entries.append(_underscored(users))
    elif isinstance(users, dict):
        notes.append("users: Write a list of users instead of a map")
        for name, spec in users.items():
            entries.append({**_underscored(spec), "name": str(name)})
    elif isinstance(users, (list, tuple)):
        for each in users:
            _collect(each, entries, notes)


def _split_default(
    entries: list[dict[str, object]], default: dict[str, object]
) -> tuple[list[dict[str, object]], dict[str, object] | None]:
    """The named users in their order, and the default user with all that was said about it, if wanted.

    A list entry with its real name beats a `default` map, which beats the distribution.
    """
    plain: list[dict[str, object]] = []
    wanted = False
    by_word: dict[str, object] = {}
    by_name: dict[str, object] = {}
    for entry in entries:
        if entry.get("name") == DEFAULT:
            wanted = True
            by_word.update({name: value for name, value in entry.items() if name != "name"})
    for entry in entries:
        if entry.get("name") == DEFAULT:
            continue
        if wanted and entry.get("name") == default.get("name"):
            by_name.update(entry)
        else:
            plain.append(entry)
    if not wanted or not default.get("name"):
        return plain, None
    groups: set[str] = set()
    for each in (default, by_word, by_name):
        if each.get("groups"):
            groups.update(_read_names(each["groups"], "users.default.groups", []))
    return plain, {**default, **by_word, **by_name, "groups": sorted(groups)}


def _read_user(entry: dict[str, object], index: int, faults: list[Fault]) -> UserKeys:
    known = {name: value for name, value in entry.items() if name in UserKeys.FIELDS}
    try:
        return UserKeys.read(known, f"users[{index}]", faults)
    except Undecodable as error:
        # The user is left out, the others are made; the module fails in the end with these faults.
        faults.extend(error.faults)
        return UserKeys()


class Group(Value):
    """One group of `groups`, with the users to be put into it."""

    name: str
    members: tuple[str, ...] = ()


def wanted_groups(groups: object) -> tuple[Group, ...]:
    """`a, b`, a list of names and `{name: [members]}`, or one such map."""
    if isinstance(groups, str):
        return tuple(Group(name.strip()) for name in groups.split(",") if name.strip())
    if isinstance(groups, dict):
        return tuple(Group(str(name).strip(), _members(members)) for name, members in groups.items())
    if isinstance(groups, (list, tuple)):
        return tuple(group for each in groups for group in wanted_groups(each))
    return ()


def _members(members: object) -> tuple[str, ...]:
    if members is None:
        return ()
    if isinstance(members, (list, tuple)):
        return tuple(str(member) for member in members)
    return (str(members),)
