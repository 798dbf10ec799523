"""Log records of guest code, without the standard `logging`: that costs every boot 15 modules and 8 ms.

`logger("runner")` gives the usual methods with %-style arguments; each record goes to every function in
`SINKS`. Without a sink nothing is kept, so that host code can use the stages as a library.
See docs/decisions/0050-log-records-of-our-own.md.
"""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# DEPRECATED is cloud-init's own level, between WARNING and ERROR. Source: guest-agent.md 5.8.
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "DEPRECATED": 35, "ERROR": 40, "CRITICAL": 50}


class Record(Value):
    """One event: its level, which part of the code says it, and the text."""

    level: str
    name: str
    text: str


SINKS: list[Callable[[Record], None]] = []


class Logger:
    """Says things under one name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def log(self, level: str, text: str, *arguments: object) -> None:
        """One record; `text % arguments` is only made when somebody listens."""
        if not SINKS:
            return
        record = Record(level, self.name, text % arguments if arguments else text)
        for sink in tuple(SINKS):
            sink(record)

    def debug(self, text: str, *arguments: object) -> None:
        """What happened, for whoever reads the log."""
        self.log("DEBUG", text, *arguments)

    def info(self, text: str, *arguments: object) -> None:
        """What was chosen, or why nothing was done."""
        self.log("INFO", text, *arguments)

    def warning(self, text: str, *arguments: object) -> None:
        """Something did not work and the boot goes on; `status` becomes degraded."""
        self.log("WARNING", text, *arguments)

    def deprecated(self, text: str, *arguments: object) -> None:
        """An old spelling that still works; `status` becomes degraded."""
        self.log("DEPRECATED", text, *arguments)

    def error(self, text: str, *arguments: object) -> None:
        """Something that should have worked did not."""
        self.log("ERROR", text, *arguments)

    def traceback(self, text: str, *arguments: object) -> None:
        """At DEBUG: the text and the stack of the exception being handled."""
        import traceback

        self.log("DEBUG", "%s\n%s", text % arguments if arguments else text, traceback.format_exc().rstrip())


def logger(name: str) -> Logger:
    """The logger of one part of the code; its name becomes the file name in the log's lines."""
    return Logger(name)
