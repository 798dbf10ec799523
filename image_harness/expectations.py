"""What a guest shall be like, as a YAML file for who does not write Python, and whether it is.

result: {status: done, modules: {runcmd: {result: SUCCESS, max_seconds: 5}}}
files:
  /etc/hostname: {content: "web\\n", mode: "0644", owner: root}
  /etc/nologin: {exists: false}
users:
  alice: {groups: [sudo], shell: /bin/bash}
commands:
  - {run: systemctl is-system-running, stdout: "running\\n"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from image_harness.errors import GuestBroken, InvalidExpectations
from image_harness.guest import File, Guest, User
from image_harness.guest_facts import Package, Port, Service

Holds = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Check:
    """How one key is looked up, of which type what is expected must be, and when it holds."""

    type: type[object] | tuple[type[object], ...]
    look: Callable[[Any], object]
    holds: Holds = lambda found, wanted: bool(found == wanted)


@dataclass(frozen=True)
class Expectation:
    """One statement of the file. `place` is its key path; `find` gives what is looked at."""

    place: str
    check: Check
    find: Callable[[Guest], object]
    wanted: object

    def failure(self, guest: Guest) -> str | None:
        """What is otherwise in the guest, in words; None when it is as expected."""
        try:
            found = self.check.look(self.find(guest))
        except (OSError, KeyError, UnicodeDecodeError, GuestBroken) as error:
            return f"{self.place}: {self.wanted!r} is expected, but: {error}"
        if self.check.holds(found, self.wanted):
            return None
        return f"{self.place}: {self.wanted!r} is expected, it is {found!r}"


def _is_mode(found: int, wanted: str | int) -> bool:
    """YAML reads 0644 as the number it means, and "0644" as text."""
    return found == (int(wanted, 8) if isinstance(wanted, str) else wanted)


def _all_in(found: frozenset[str], wanted: list[str]) -> bool:
    return found >= set(wanted)


FILE = {
    "exists": Check(bool, lambda file: file.exists),
    "content": Check(str, lambda file: file.content),
    "contains": Check(str, lambda file: file.content, lambda found, wanted: wanted in found),
    "sha256": Check(str, lambda file: file.sha256),
    "mode": Check((str, int), lambda file: file.mode, _is_mode),
    "owner": Check(str, lambda file: file.owner),
    "group": Check(str, lambda file: file.group),
    "target": Check(str, lambda file: file.target),
}
USER = {
    "exists": Check(bool, lambda user: user.exists),
    "groups": Check(list, lambda user: user.groups, _all_in),
    "uid": Check(int, lambda user: user.uid),
    "home": Check(str, lambda user: user.home),
    "shell": Check(str, lambda user: user.shell),
    "can_use_password": Check(bool, lambda user: user.can_use_password),
}
COMMAND = {
    "status": Check(int, lambda answer: answer.status),
    "stdout": Check(str, lambda answer: answer.stdout),
    "contains": Check(str, lambda answer: answer.stdout, lambda found, wanted: wanted in found),
}
RESULT = {
    "status": Check(str, lambda result: result.status),
    "datasource": Check(str, lambda result: result.datasource),
}
MODULE = {
    "result": Check(str, lambda module: module.result),
    "max_seconds": Check((int, float), lambda module: module.seconds, lambda found, most: found <= most),
}
SERVICE = {
    "exists": Check(bool, lambda service: service.exists),
    "is_active": Check(bool, lambda service: service.is_active),
    "is_enabled": Check(bool, lambda service: service.is_enabled),
    "result": Check(str, lambda service: service.result),
}
PACKAGE = {
    "is_installed": Check(bool, lambda package: package.is_installed),
    "version": Check(str, lambda package: package.version),
}
PORT = {
    "is_listening": Check(bool, lambda port: port.is_listening),
    "addresses": Check(list, lambda port: port.addresses, _all_in),
}
BUDGET = Check((int, float), lambda seconds: seconds, lambda found, most: found <= most)
SECTIONS = ("result", "files", "users", "services", "packages", "ports", "commands", "budget")


def parse(document: bytes, source: str) -> tuple[Expectation, ...]:
    """The statements of a file, in its order by section. Raises InvalidExpectations with all faults."""
    try:
        tree = yaml.load(document, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise InvalidExpectations([f"{source}: not YAML: {error}. Mend it."]) from error
    faults: list[str] = []
    found = tuple(_parsed(tree, faults)) if isinstance(tree, dict) else ()
    if not found and not faults:
        faults.append(f"nothing is expected. Give some of {', '.join(SECTIONS)}")
    if faults:
        raise InvalidExpectations([f"{source}: {fault}." for fault in faults])
    return found


def failures(guest: Guest, expectations: tuple[Expectation, ...]) -> tuple[str, ...]:
    """What in the guest is not as expected, one line each."""
    found = (expectation.failure(guest) for expectation in expectations)
    return tuple(failure for failure in found if failure is not None)


def _parsed(tree: Mapping[object, Any], faults: list[str]) -> Iterator[Expectation]:
    faults += [f"{key}: no such section. Use {', '.join(SECTIONS)}" for key in tree if key not in SECTIONS]
    result = _mapping(tree.get("result"), "result", faults)
    modules = _mapping(result.get("modules"), "result.modules", faults)
    own = {key: value for key, value in result.items() if key != "modules"}
    yield from _keys("result", own, RESULT, lambda guest: guest.result, faults)
    for name, keys in modules.items():
        yield from _keys(f"result.modules.{name}", keys, MODULE, _module(str(name)), faults)
    for name, keys in _mapping(tree.get("files"), "files", faults).items():
        if not str(name).startswith("/"):
            faults.append(f"files.{name}: not an absolute path. Begin it with /")
        yield from _keys(f"files.{name}", keys, FILE, _file(str(name)), faults)
    for name, keys in _mapping(tree.get("users"), "users", faults).items():
        yield from _keys(f"users.{name}", keys, USER, _user(str(name)), faults)
    for name, keys in _mapping(tree.get("services"), "services", faults).items():
        yield from _keys(f"services.{name}", keys, SERVICE, _service(str(name)), faults)
    for name, keys in _mapping(tree.get("packages"), "packages", faults).items():
        yield from _keys(f"packages.{name}", keys, PACKAGE, _package(str(name)), faults)
    for number, keys in _mapping(tree.get("ports"), "ports", faults).items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
            faults.append(f"ports.{number}: not a port. Give a number from 1 to 65535")
        else:
            yield from _keys(f"ports.{number}", keys, PORT, _port(number), faults)
    yield from _commands(tree.get("commands") or [], faults)
    for name, most_s in _mapping(tree.get("budget"), "budget", faults).items():
        checks = {str(name): BUDGET}
        yield from _keys("budget", {str(name): most_s}, checks, _seconds(str(name)), faults)


def _commands(commands: object, faults: list[str]) -> Iterator[Expectation]:
    """Each is carried out once for each thing that is expected of it; without any, its status must be 0."""
    if not isinstance(commands, list):
        faults.append("commands: a list is expected. Begin each with '- run: '")
        return
    for number, keys in enumerate(commands):
        place = f"commands[{number}]"
        line = keys.get("run") if isinstance(keys, dict) else None
        if not isinstance(line, str):
            faults.append(f"{place}.run: a command is expected. Write it as text")
            continue
        expected = {key: value for key, value in keys.items() if key != "run"}
        yield from _keys(place, {"status": 0, **expected}, COMMAND, _command(line), faults)


def _keys(
    place: str, keys: object, checks: Mapping[str, Check], find: Callable[[Guest], object], faults: list[str]
) -> Iterator[Expectation]:
    for key, wanted in _mapping(keys, place, faults).items():
        check = checks.get(str(key))
        if check is None:
            faults.append(f"{place}.{key}: no such key. Use {', '.join(checks)}")
        elif not isinstance(wanted, check.type) or (isinstance(wanted, bool) and check.type is not bool):
            faults.append(f"{place}.{key}: {wanted!r} is of another type. Give what the guest would show")
        else:
            yield Expectation(f"{place}.{key}", check, find, wanted)


def _mapping(value: object, place: str, faults: list[str]) -> Mapping[object, object]:
    if isinstance(value, dict):
        return value
    if value is not None:
        faults.append(f"{place}: keys with values are expected. Write them as 'key: value'")
    return {}


def _file(path: str) -> Callable[[Guest], File]:
    return lambda guest: guest.file(path)


def _user(name: str) -> Callable[[Guest], User]:
    return lambda guest: guest.user(name)


def _service(name: str) -> Callable[[Guest], Service]:
    return lambda guest: guest.service(name)


def _package(name: str) -> Callable[[Guest], Package]:
    return lambda guest: guest.package(name)


def _port(number: int) -> Callable[[Guest], Port]:
    return lambda guest: guest.port(number)


def _seconds(name: str) -> Callable[[Guest], float]:
    return lambda guest: round(guest.timeline.seconds(name), 3)


def _module(name: str) -> Callable[[Guest], object]:
    return lambda guest: guest.result.module(name)


def _command(line: str) -> Callable[[Guest], object]:
    return lambda guest: guest.run(line)
