"""What may go wrong in the stages.

StageError
+-- ActionFailed        an action could not be carried out
|   +-- UnsafePath      a path that an ordinary user could have bent
|   +-- CommandFailed   a command ended with a status that was not expected
+-- LeftOut             not an error: a command was not needed, nothing was done
+-- ModuleFailed        a module ends with an error of its own words
"""

from __future__ import annotations


class StageError(Exception):
    """The root of the tree."""


class ActionFailed(StageError):
    """An action could not be carried out: what, where, why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


class UnsafePath(ActionFailed):
    """A step of the path is a link or directory that an ordinary user owns (GA-W02)."""


class CommandFailed(ActionFailed):
    """A command ended with a status that was not expected; carries the status and the tail of its output."""

    def __init__(self, what: str, status: int, tail: str) -> None:
        words = f"exit status {status}" if status >= 0 else f"ended by signal {-status}"
        last = tail.strip().splitlines()[-1:] or [""]
        super().__init__(what, f"{words}: {last[0]}" if last[0] else words)
        self.status = status
        self.tail = tail


class LeftOut(StageError):
    """A command was not needed, or only serves a default and is not installed: told, and no error."""


class ModuleFailed(StageError):
    """A module's plan found that it cannot go on; the text is what the user reads."""
