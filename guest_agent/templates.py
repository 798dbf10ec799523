"""Jinja templates, rendered where they can do no harm: sandboxed, in a child with little memory and time.

jinja2 is imported in the child alone, so that the agent stays small. The basic language (`$name`) is in
`boot_stages.templates`. Source of the rules: spec 2.3; of the limits: fault catalogue, GA-P10.
"""

from __future__ import annotations

import re

from boot_stages.plain_json import read_json, write_json
from guest_agent.errors import BadTemplate
from guest_agent.limits import DEFAULT, Limits
from guest_agent.user_data import Rendered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Environment

HEADER = re.compile(r"[ \t\r\n\ufeff]*##\s*template:\s*jinja[^\n]*(\n|\Z)", re.IGNORECASE)
MISSING = "CI_MISSING_JINJA_VAR/"
# What jinja's lexer takes for operators: such a key is reachable through an alias with `_`.
OPERATORS = re.compile(r"//|\*\*|[-+/*~%\[\](){}=!<>.:|,;]")
VERSIONED = re.compile(r"v\d+$")
GRACE_S = 2.0


def render(
    template: bytes, instance_data: Mapping[str, object], place: str, limits: Limits = DEFAULT
) -> Rendered:
    """The template with `## template: jinja` as first line, rendered. Raises BadTemplate."""
    text = template.decode("utf-8", "surrogateescape")
    header = HEADER.match(text)
    body = text[header.end() :] if header else text
    first_line = text[: header.end()].count("\n") if header else 0
    return _in_child(body, names(instance_data), place, first_line, limits)


def render_text(template: str, variables: Mapping[str, object]) -> str:
    """A template of the image or a module, with these variables alone. Raises ValueError."""
    header = HEADER.match(template)
    body = template[header.end() :] if header else template
    try:
        return _in_child(body, variables, "template", 1 if header else 0, DEFAULT).text.decode("utf-8")
    except BadTemplate as error:
        raise ValueError(error.text) from error


def names(data: Mapping[str, object]) -> dict[str, object]:
    """Instance data as templates see them: `v1` keys at the top as well, aliases, base64 decoded (D9)."""
    listed = data.get("base64_encoded_keys")
    encoded = frozenset(str(path) for path in listed) if isinstance(listed, list) else frozenset()
    return _names(data, "", encoded)


def _names(data: Mapping[str, object], prefix: str, encoded: frozenset[str]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key in sorted(data, key=str):
        value, path = data[key], f"{prefix}{key}"
        if path in encoded and isinstance(value, str):
            value = _decoded(value)
        result[key] = _names(value, f"{path}/", encoded) if isinstance(value, dict) else value
        if isinstance(value, dict) and VERSIONED.match(str(key)):
            result.update(_names(value, f"{path}/", encoded))
        alias = OPERATORS.sub("_", str(key))
        if alias != key:
            result[alias] = result[key]
    return result


def _decoded(value: str) -> str:
    import binascii

    try:
        return binascii.a2b_base64(value).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return value


def _in_child(
    body: str, variables: Mapping[str, object], place: str, first_line: int, limits: Limits
) -> Rendered:
    from guest_agent.child import ChildFailed, run_limited

    def work() -> bytes:
        text, missing = _rendered(body, variables)
        if len(text) > limits.template_output_bytes:
            raise _TooLong(f"more than {limits.template_output_bytes} bytes (template_output_bytes)")
        return write_json([text, missing]).encode("ascii")

    def words(error: BaseException) -> str:
        return _worded(error, first_line)

    try:
        answer = run_limited(
            work,
            words,
            memory_bytes=limits.template_memory_bytes,
            cpu_s=limits.template_cpu_s,
            wall_s=limits.template_cpu_s * 3,
            # JSON writes a character as up to six bytes
            output_bytes=limits.template_output_bytes * 6 + 65536,
        )
    except ChildFailed as error:
        raise BadTemplate(f"{place}: {error}") from error
    text, missing = read_json(answer)
    return Rendered(text.encode("utf-8", "surrogateescape"), tuple(missing))


class _TooLong(Exception):
    """The template makes more text than it may."""


def _rendered(body: str, variables: Mapping[str, object]) -> tuple[str, list[str]]:
    missing: list[str] = []
    environment = _environment(missing.append)
    # As cloud-init has it: a last newline stays, also behind a block, which eats the one after it.
    end = "\n" if body.endswith("\n") else ""
    text = environment.from_string(body).render(dict(variables)) + end
    return text, list(dict.fromkeys(missing))


def _environment(miss: Callable[[str], None]) -> Environment:
    from jinja2 import DebugUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import SandboxedEnvironment

    class Missing(DebugUndefined):
        """Prints a placeholder and says so; arithmetic and attributes on it are mistakes."""

        def __str__(self) -> str:
            if self._undefined_exception is SecurityError:
                self._fail_with_undefined_error()
            miss(str(self._undefined_name))
            return f"{MISSING}{self._undefined_name}"

        def __sub__(self, other: object) -> str:  # type: ignore[override]  # says more than jinja does
            name, wanted = self._undefined_name, str(other).replace(MISSING, "")
            raise TypeError(f"{name}-{wanted} is a subtraction. Perhaps {name}_{wanted} was meant")

    return SandboxedEnvironment(
        undefined=Missing,
        trim_blocks=True,
        extensions=["jinja2.ext.do"],
    )


def _worded(error: BaseException, first_line: int) -> str:
    """What is wrong and in which line of the part. (The template's values stay out: they may be secret.)"""
    if isinstance(error, ModuleNotFoundError):
        return "jinja2 is not installed in this image. Install python3-jinja2"
    if isinstance(error, MemoryError):
        return "the template needs more memory than allowed (template_memory_bytes)"
    line = getattr(error, "lineno", None) or _line_of(error)
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return f"line {line + first_line}: {text}" if isinstance(line, int) else text


def _line_of(error: BaseException) -> int | None:
    """The template's line in which the error arose."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def is_available() -> bool:
    """Whether jinja2 can be imported; looks for it without importing it."""
    from importlib.util import find_spec

    return find_spec("jinja2") is not None


def header_removed(text: str) -> str:
    """The text after its `## template: jinja` line."""
    header = HEADER.match(text)
    return text[header.end() :] if header else text
