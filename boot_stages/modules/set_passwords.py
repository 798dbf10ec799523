"""`set_passwords`: passwords of users, and whether SSH takes them.

Everything goes through chpasswd's standard input; a random password is shown on the console, and where the
datasource has a place for it, left there encrypted with the instance's SSH key (`nova get-password`).
Source: guest-agent.md 3.3; GA-W10, GA-W11.
"""

from __future__ import annotations

import re

from boot_stages.account_tools import AccountTools
from boot_stages.accounts import SECRET, users_of
from boot_stages.actions import GO_ON, WARN, Console, Fail, PostOnce, Report, RunCommand, note, warn
from boot_stages.module import Module
from boot_stages.schema import (
    BOOL,
    FALSE_WORDS,
    TEXT,
    TRUE_WORDS,
    Fault,
    Keys,
    Kind,
    deprecated,
    key,
    list_of,
    record,
    wrong,
)
from boot_stages.sshd_config import set_option
from boot_stages.value import Secret, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

HASH = re.compile(r"\$(1|2a|2y|5|6)(\$.+){2}")
GOOD_NAME = re.compile(r"[^\s:,/-][^\s:,/]*\Z")
LENGTH = 20
CLASSES = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    "!#$%&()*+,-./;<=>?@[]^_{|}~",
)


class Password(Value):
    """One user's new password: text, hash, or (when `secret` is None) a random one."""

    user: str
    secret: Secret | None
    hashed: bool = False


_NAME = {"type": "string"}
_ONE_USER = {
    "type": "object",
    "anyOf": [
        {
            "required": ["name", "type"],
            "additionalProperties": False,
            "properties": {"name": _NAME, "type": {"enum": ["RANDOM"], "type": "string"}},
        },
        {
            "required": ["name", "password"],
            "additionalProperties": False,
            "properties": {
                "name": _NAME,
                "type": {"enum": ["hash", "text"], "type": "string"},
                "password": {"type": "string"},
            },
        },
    ],
}


def _read_user(value: object, path: str, faults: list[Fault]) -> Password:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise wrong(path, "a map with a name", value, "Write 'name: ...' and 'password: ...'")
    if value.get("type") == "RANDOM":
        return Password(value["name"], None)
    secret = SECRET.read(value.get("password"), f"{path}.password", faults)
    return Password(value["name"], secret, hashed=value.get("type", "hash") == "hash")


def _read_list(value: object, path: str, faults: list[Fault]) -> tuple[Password, ...]:
    """`user:password` lines, as a list or one text; R and RANDOM ask for a random one."""
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple)):
        raise wrong(path, "a list", value, "Use 'users' instead")
    found = []
    for index, line in enumerate(lines):
        user, colon, word = str(line).partition(":")
        if not colon:
            faults.append(Fault(f"{path}[{index}]", "'user:password' is expected", "Use 'users' instead"))
            continue
        secret = SECRET.read(word, f"{path}[{index}]", faults)
        is_hash = HASH.match(word) is not None and ":" not in word
        found.append(Password(user, None if word in {"R", "RANDOM"} else secret, is_hash))
    return tuple(found)


_LIST_SCHEMA = {
    "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "pattern": "^.+:.+$"}}],
    "minItems": 1,
}


class ChpasswdKeys(Keys):
    """The map below `chpasswd`."""

    expire: bool = key("Ask for a new password at the first login.", BOOL, default=True)
    users: tuple[Password, ...] = key(
        "Users with `name`, `type` (hash, text or RANDOM) and `password`.",
        list_of(Kind(_ONE_USER, _read_user), keep_good=True),
        default=(),
    )
    list: tuple[Password, ...] = key(
        "Lines `user:password`.",
        Kind(_LIST_SCHEMA, _read_list),
        default=(),
        deprecated="Use 'users' instead.",
    )


class Config(Keys):
    """Keys of `set_passwords`."""

    ssh_pwauth: str = key(
        "Whether SSH takes passwords: true, false, or unchanged.",
        Kind(
            {"oneOf": [{"type": "boolean"}, deprecated({"type": "string"}, "Write true or false.")]},
            TEXT.read,
        ),
        default="unchanged",
    )
    chpasswd: ChpasswdKeys = key("Passwords of users.", record(ChpasswdKeys), default=ChpasswdKeys())
    password: Secret | None = key("The default user's password.", SECRET, default=None)


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Texts in one call, hashes in another, expiry, then sshd's option."""
    wanted, notes = _wanted(config, facts)
    good = [each for each in wanted if GOOD_NAME.match(each.user)]
    bad = [
        Fail(f"chpasswd: {each.user!r} is not a user name", on_failure=GO_ON)
        for each in wanted
        if not GOOD_NAME.match(each.user)
    ]
    return (*notes, *bad, *_set(good, config.chpasswd.expire, facts), *_ssh(config.ssh_pwauth, facts))


def _wanted(config: Config, facts: Facts) -> tuple[list[Password], list[Action]]:
    notes: list[Action] = []
    wanted = [*config.chpasswd.users, *config.chpasswd.list]
    if config.chpasswd.list:
        notes.append(Report("DEPRECATED", "chpasswd.list: Use 'users' instead"))
    if not wanted and config.password is not None:
        default = users_of(facts).default
        if default:
            wanted.append(Password(default, config.password))
        else:
            notes.append(warn("password is set, and there is no default user to give it to"))
    return wanted, notes


def _set(wanted: list[Password], expire: bool, facts: Facts) -> tuple[Action, ...]:
    tools = AccountTools.of(facts)
    plain: list[tuple[str, Secret]] = []
    hashed: list[tuple[str, Secret]] = []
    random: list[tuple[str, Secret]] = []
    for each in wanted:
        secret = each.secret if each.secret is not None else Secret(random_password(facts))
        (hashed if each.hashed else plain).append((each.user, secret))
        if each.secret is None:
            random.append((each.user, secret))
    actions: list[Action] = []
    if plain:
        actions.append(RunCommand(("chpasswd",), stdin=_lines(plain), on_failure=GO_ON))
    if hashed:
        actions.append(RunCommand(("chpasswd", "-e"), stdin=_lines(hashed), on_failure=GO_ON))
    if random:
        blurb = b"Set the following 'random' passwords\n\n" + _lines(random).reveal()
        actions.append(Console(Secret(blurb)))
        actions.extend(_left_for_the_owner(random, facts))
    if expire:
        actions.extend(tools.expire(user) for user, _ in (*plain, *hashed))
    return tuple(actions)


def _left_for_the_owner(random: list[tuple[str, Secret]], facts: Facts) -> tuple[Action, ...]:
    """The default user's random password, else the first, for who holds the key; there is place for one."""
    if not facts.cloud.password_url:
        return ()
    from boot_stages.sealed_password import sealed, usable_key

    key = usable_key(facts.cloud.public_keys)
    if key is None:
        return (note("no RSA key among the instance's SSH keys: the password is on the console alone"),)
    default = users_of(facts).default
    user, secret = next((each for each in random if each[0] == default), random[0])
    content = sealed(secret.reveal(), key, facts.random_bytes)
    return (PostOnce(facts.cloud.password_url, content, f"the encrypted password of {user}"),)


def _lines(pairs: list[tuple[str, Secret]]) -> Secret:
    return Secret(b"".join(user.encode() + b":" + secret.reveal() + b"\n" for user, secret in pairs))


def random_password(facts: Facts) -> str:
    """20 characters, each kind at least once: some 125 bits."""
    while True:
        letters = "".join(CLASSES)
        limit = 256 - 256 % len(letters)
        bytes_ = [each for each in facts.random_bytes(2 * LENGTH) if each < limit][:LENGTH]
        word = "".join(letters[each % len(letters)] for each in bytes_)
        if len(word) == LENGTH and all(any(letter in word for letter in each) for each in CLASSES):
            return word


def _ssh(setting: str, facts: Facts) -> tuple[Action, ...]:
    word = setting.strip().lower()
    if word in TRUE_WORDS or word in FALSE_WORDS:
        change = set_option("PasswordAuthentication", "yes" if word in TRUE_WORDS else "no", facts)
        return (*change, *_restart(facts)) if change else ()
    if word in {"unchanged", ""}:
        return ()
    return (warn("ssh_pwauth is not true, false or unchanged: sshd's setting stays"),)


def _restart(facts: Facts) -> tuple[Action, ...]:
    service = facts.distro.ssh_service
    if not facts.distro.systemd:
        return (RunCommand(("rc-service", service, "restart"), on_failure=WARN),)
    state = facts.ask("systemctl", "show", "--property", "ActiveState", "--value", service).out.strip()
    if state not in {b"active", b"activating", b"reloading"}:
        return ()
    # Waiting for the unit's dependencies would wait for this very stage.
    argv = ("systemctl", "restart", service, "--job-mode=ignore-dependencies")
    return (RunCommand(argv, on_failure=WARN),)


MODULE = Module("set_passwords", Config, plan)
