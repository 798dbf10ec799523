"""`ansible`: install ansible, pull a play book and run it, or set up a controller.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import RunCommand
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.packages import install
from boot_stages.schema import (
    TEXT,
    Fault,
    Keys,
    Kind,
    Undecodable,
    key,
    list_of,
    one_of,
    record,
    with_schema,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

    Options = dict[str, object]

DEFAULT_PACKAGE = "ansible"
_STRING, _FLAG, _COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "number", "minimum": 0}
_TEXTS = (
    "ssh_common_args scp_extra_args sftp_extra_args private_key checkout module_path timeout url connection"
    " vault_id vault_password_file inventory module_name sleep tags skip_tags"
)
PULL: dict[str, Any] = {
    **dict.fromkeys(("accept_host_key", "clean", "full", "diff", "verify_commit"), _FLAG),
    **dict.fromkeys(_TEXTS.split(), _STRING),
    "playbook_name": {
        "type": "string",
        "deprecated": True,
        "deprecated_description": "Use 'playbook_names' instead.",
    },
    "playbook_names": {"type": "array", "items": _STRING},
}
_PLAY_TEXTS = (
    "playbook_name playbook_dir become_password_file connection_password_file vault_id vault_password_file"
    " module_path args extra_vars inventory scp_extra_args sftp_extra_args private_key connection module_name"
    " sleep tags skip_tags"
)
PLAY: dict[str, Any] = {
    **dict.fromkeys(_PLAY_TEXTS.split(), _STRING),
    **dict.fromkeys(("list_hosts", "syntax_check", "check", "diff"), _FLAG),
    **dict.fromkeys(("timeout", "background", "poll", "forks"), _COUNT),
}


def _read_options(value: object, path: str, _faults: list[Fault]) -> Options:
    """A map of options of a command, as it was written."""
    if not isinstance(value, dict):
        raise Undecodable(Fault(path, "a map is expected", "Write 'url: ...' below it"))
    return {str(name): each for name, each in value.items() if each is not None}


_ONE_PULL = {
    "type": "object",
    "oneOf": [{"required": ["url", "playbook_name"]}, {"required": ["url", "playbook_names"]}],
    "additionalProperties": False,
    "properties": PULL,
}


def _read_pulls(value: object, path: str, faults: list[Fault]) -> tuple[Options, ...]:
    """A list of pulls, or (deprecated) one."""
    if isinstance(value, dict):
        return (_read_options(value, path, faults),)
    return list_of(Kind({}, _read_options)).read(value, path, faults)


_PULLS: Kind[tuple[Options, ...]] = Kind(
    {"oneOf": [{"type": "array", "items": _ONE_PULL}, {**_ONE_PULL, "deprecated": True}]}, _read_pulls
)
_PLAYS: Kind[tuple[Options, ...]] = list_of(Kind({"type": "object", "properties": PLAY}, _read_options))
_ACTIONS = list_of(
    with_schema(list_of(TEXT), {"type": "array", "items": {"type": "string", "pattern": "^.*$"}})
)


class Repository(Keys):
    """A repository of the controller."""

    path: str = key("Where it is cloned to.", TEXT, default="", required=True)
    source: str = key("Where it is cloned from.", TEXT, default="", required=True)


class Controller(Keys):
    """The map below `setup_controller`."""

    repositories: tuple[Repository, ...] = key(
        "Repositories to clone.", list_of(record(Repository)), default=()
    )
    run_ansible: tuple[Options, ...] = key(
        "Play books to run: options of ansible-playbook.", _PLAYS, default=()
    )


class Galaxy(Keys):
    """The map below `galaxy`."""

    actions: tuple[tuple[str, ...], ...] = key("Commands, word by word.", _ACTIONS, default=(), required=True)


class AnsibleKeys(Keys):
    """The map below `ansible`."""

    install_method: str = key(
        "distro or pip.",
        with_schema(one_of("distro", "pip"), {"type": "string", "enum": ["distro", "pip"]}),
        default="distro",
    )
    run_user: str = key("Who runs ansible; root when it is not given.", TEXT, default="")
    ansible_config: str = key("ANSIBLE_CONFIG.", TEXT, default="")
    setup_controller: Controller | None = key(
        "Make this guest a controller.", record(Controller), default=None
    )
    galaxy: Galaxy | None = key("What ansible-galaxy shall fetch.", record(Galaxy), default=None)
    package_name: str = key("The package.", TEXT, default=DEFAULT_PACKAGE)
    pull: tuple[Options, ...] = key(
        "Options of ansible-pull; url and playbook_names are needed.", _PULLS, default=()
    )


class Config(Keys):
    """Keys of `ansible`."""

    ansible: AnsibleKeys | None = key("ansible.", record(AnsibleKeys), default=None)


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Install, galaxy, pull, then the controller's work."""
    keys = config.ansible
    if keys is None:
        return ()
    for number, pull in enumerate(keys.pull):
        if not pull.get("url") or not (pull.get("playbook_name") or pull.get("playbook_names")):
            raise ModuleFailed(f"ansible.pull[{number}]: url and playbook_names must be given")
    galaxy = keys.galaxy.actions if keys.galaxy is not None else ()
    return (
        *_install(keys, facts),
        *(_as_user(argv, keys, facts) for argv in galaxy if argv),
        *(_as_user(_pull_argv(pull), keys, facts) for pull in keys.pull),
        *(_controller(keys.setup_controller, keys, facts) if keys.setup_controller is not None else ()),
    )


def _install(keys: AnsibleKeys, facts: Facts) -> tuple[Action, ...]:
    if facts.which("ansible-pull") is not None:
        return ()
    if keys.install_method == "distro":
        return install((keys.package_name,), facts)
    tools = install(("python3-pip",), facts) if facts.which("pip3") is None else ()
    argv = ("python3", "-m", "pip", "install", *(("--user",) if keys.run_user else ()), keys.package_name)
    return (*tools, _as_user(argv, keys, facts, environment=(("PIP_BREAK_SYSTEM_PACKAGES", "1"),)))


def _as_user(
    argv: tuple[str, ...], keys: AnsibleKeys, facts: Facts, environment: tuple[tuple[str, str], ...] = ()
) -> RunCommand:
    """The command, with run_user's rights. Everything after `--` is the program's."""
    config = (("ANSIBLE_CONFIG", keys.ansible_config),) if keys.ansible_config else ()
    user = keys.run_user
    whole = ("runuser", "-u", user, "--", *argv) if user else argv
    account = facts.account(user or "root")
    home = account.home if account is not None else f"/home/{user}" if user else "/root"
    return RunCommand(
        whole, environment=(*config, *environment, ("HOME", home)), show=True, name=argv[0], opaque=True
    )


def _options(options: Options, leave_out: tuple[str, ...]) -> tuple[str, ...]:
    """`--name value` for each option, `--name` for those that are true."""
    words: list[str] = []
    for name, value in options.items():
        if name in leave_out or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    return tuple(words)


def _pull_argv(pull: Options) -> tuple[str, ...]:
    names = pull.get("playbook_names") or [pull["playbook_name"]]
    books = tuple(str(each) for each in names) if isinstance(names, (list, tuple)) else (str(names),)
    return ("ansible-pull", *_options(pull, ("playbook_name", "playbook_names")), *books)


def _controller(controller: Controller, keys: AnsibleKeys, facts: Facts) -> tuple[Action, ...]:
    clones = [
        _as_user(("git", "clone", each.source, each.path), keys, facts) for each in controller.repositories
    ]
    plays = []
    for play in controller.run_ansible:
        book = str(play.get("playbook_name", ""))
        argv = ("ansible-playbook", *_options(play, ("playbook_name", "playbook_dir", "args")), book)
        plays.append(_as_user(argv, keys, facts).replace(cwd=str(play.get("playbook_dir", ""))))
    return (*clones, *plays)


MODULE = Module("ansible", Config, plan)
