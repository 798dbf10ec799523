"""Python source without its docstrings and comments, for packages that shall be small.

Line numbers stay, so that a traceback from a guest can be read beside the full source.
"""

from __future__ import annotations

import ast
import io
import tokenize

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def slim(source: str) -> str:
    """The same program, line by line, without docstrings and comments; a first line `#!` stays."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    for node in ast.walk(ast.parse(source)):
        # The first line of a module's docstring may be shown by `--help`; a whole docstring is never needed.
        if isinstance(node, _DOCUMENTED) and (text := _docstring(node)) is not None:
            _blank(lines, text, keep_first=isinstance(node, ast.Module), alone=len(node.body) == 1)
    return "".join(lines)


def _docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> ast.Constant | None:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return first.value
    return None


def _blank(lines: list[str], text: ast.Constant, *, keep_first: bool, alone: bool) -> None:
    """Take a docstring's lines out. Where it was all there is, the body needs another statement."""
    start, end = text.lineno - 1, text.end_lineno or text.lineno
    before, after = (
        lines[start].encode()[: text.col_offset].decode(),
        lines[end - 1].encode()[text.end_col_offset :],
    )
    first = str(text.value).splitlines()[0] if str(text.value) else ""
    is_alone_on_its_lines = before.strip() == "" and after.strip() == b""
    if not keep_first and not alone and is_alone_on_its_lines:
        lines[start:end] = ["\n"] * (end - start)
        return
    kept = repr(first) if keep_first else "..."
    lines[start:end] = [f"{before}{kept}{after.decode()}", *["\n"] * (end - start - 1)]
