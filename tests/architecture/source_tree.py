"""What the architecture tests know about the source: files, their imports, the calls that are effects."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

# Package -> what it may import of ours. The picture is in docs/why/architecture.md.
LAYERS: dict[str, frozenset[str]] = {
    "instance_metadata": frozenset(),
    "boot_stages": frozenset(),
    "metadata_server": frozenset({"instance_metadata"}),
    "configdrive": frozenset({"instance_metadata"}),
    "guest_agent": frozenset({"boot_stages", "configdrive"}),
    "spawner": frozenset({"configdrive", "metadata_server", "instance_metadata"}),
    "image_harness": frozenset({"spawner", "configdrive", "metadata_server", "instance_metadata"}),
    "guestling": frozenset(
        {
            "instance_metadata",
            "metadata_server",
            "configdrive",
            "boot_stages",
            "guest_agent",
            "spawner",
            "image_harness",
        }
    ),
}
GUEST_PACKAGES = ("boot_stages", "guest_agent")
# Files of the harness that run in the helper guest, beside the agent: nothing on the host imports them.
INSIDE = "image_harness/helper/inside/"


class Import(NamedTuple):
    """One import statement: who, what, whether it is carried out when the file is loaded."""

    file: Path
    target: str
    line: int
    at_load: bool


@cache
def source_files(package: str) -> tuple[Path, ...]:
    """The Python files of a package, sorted."""
    return tuple(sorted((ROOT / package).rglob("*.py")))


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text(), str(file))


def module_name(file: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(file: Path) -> tuple[Import, ...]:
    """Every import of a file but those that only type checkers see."""
    return tuple(_walk(file, parsed(file).body, at_load=True))


def _walk(file: Path, body: list[ast.stmt], *, at_load: bool) -> Iterator[Import]:
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield Import(file, alias.name, statement.lineno, at_load)
        elif isinstance(statement, ast.ImportFrom):
            yield from _from(file, statement, at_load)
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _walk(file, statement.orelse, at_load=at_load)
        else:
            inner = at_load and not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
            for field in ("body", "orelse", "finalbody"):
                yield from _walk(file, getattr(statement, field, []), at_load=inner)
            for handler in getattr(statement, "handlers", []):
                yield from _walk(file, handler.body, at_load=inner)


def _from(file: Path, statement: ast.ImportFrom, at_load: bool) -> Iterator[Import]:
    base = statement.module or ""
    if statement.level:
        parents = module_name(file).split(".")
        keep = len(parents) - statement.level + (1 if file.name == "__init__.py" else 0)
        base = ".".join([*parents[:keep], *([base] if base else [])])
    for alias in statement.names:
        inner = ROOT / base.replace(".", "/") / f"{alias.name}.py"
        package = ROOT / base.replace(".", "/") / alias.name / "__init__.py"
        whole = f"{base}.{alias.name}" if inner.exists() or package.exists() else base
        yield Import(file, whole, statement.lineno, at_load)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def is_standard(name: str) -> bool:
    """Whether a module is of Python's standard library; `_sha2` is since 3.12."""
    return name.partition(".")[0] in {*sys.stdlib_module_names, "_sha2"}


# Modules whose import means that a file reaches outside: programs, networks, clocks, chance, files.
EFFECT_MODULES = frozenset(
    {
        "aiohttp",
        "asyncio",
        "fcntl",
        "http.client",
        "http.server",
        "multiprocessing",
        "random",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "sqlalchemy",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "urllib.request",
    }
)
EFFECT_CALLS = {
    "os": frozenset(
        {
            "chmod",
            "chown",
            "execve",
            "fork",
            "kill",
            "killpg",
            "link",
            "listdir",
            "makedirs",
            "mkdir",
            "open",
            "posix_spawn",
            "remove",
            "rename",
            "replace",
            "rmdir",
            "scandir",
            "symlink",
            "system",
            "unlink",
            "urandom",
            "write",
        }
    ),
    "time": frozenset({"monotonic", "perf_counter", "sleep", "time", "time_ns"}),
}


def effects_of(file: Path) -> list[str]:
    """The effects in a file, as `line: what`; an empty list means that the file is pure."""
    found = [
        f"{each.line}: import {each.target}"
        for each in imports_of(file)
        if any(each.target == name or each.target.startswith(f"{name}.") for name in EFFECT_MODULES)
    ]
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Call):
            found += _effect_of_call(node)
    return found


def _effect_of_call(node: ast.Call) -> list[str]:
    function = node.func
    if isinstance(function, ast.Name) and function.id == "open":
        return [f"{node.lineno}: open()"]
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        owner, name = function.value.id, function.attr
        if name in EFFECT_CALLS.get(owner, frozenset()):
            return [f"{node.lineno}: {owner}.{name}()"]
    if isinstance(function, ast.Attribute) and function.attr in {
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "iterdir",
        "unlink",
    }:
        owner = ast.unparse(function.value)
        # Facts are the read-only view of a guest: asking them is what plans are made of.
        if "facts" not in owner:
            return [f"{node.lineno}: {owner}.{function.attr}()"]
    return []
