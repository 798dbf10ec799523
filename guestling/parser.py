"""How every command reads its arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse, with usage errors as one line that names the remedy."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


class ParserOfWords(Parser):
    """With a default for `words`: those are what nothing else takes, for somebody else to read.

    Behind the first `--` they may look like options of ours. argparse would leave those unread too, but which
    `--` of several it takes out differs between its versions; and it has done with words before an option.
    """

    def parse_known_args(  # type: ignore[override] # argparse's overloads differ in the namespace alone
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's."""
        given = list(args or ())
        if self.get_default("words") is None:
            return super().parse_known_args(given, namespace)
        ours = given[: given.index("--")] if "--" in given else given
        found, unknown = super().parse_known_args(ours, namespace)
        if options := [word for word in unknown if word.startswith("-")]:
            return found, options
        found.words = [*unknown, *given[len(ours) + 1 :]]
        return found, []
