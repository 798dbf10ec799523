"""Every config module, in one table: frequency, keys, activation, distributions.

The table is what a boot reads to decide whether a module is due; the module's own file (its `Config` and its
`plan`) is imported only when it is. A test holds `keys` equal to what the module's Config declares, finds a
file that is not in the table, and a row without a file. Source: guest-agent.md 3.2.
"""

from __future__ import annotations

from boot_stages.module import ALWAYS, PER_INSTANCE
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.module import Module

ALPINE = ("alpine",)
DEBIAN = ("debian",)
REDHAT = ("redhat",)


class Entry(Value):
    """One module: the top-level keys it reads, and which of them must be there for it to run at all.

    `activated_by` empty means that it always runs; `families` empty means every distribution family.
    """

    name: str
    frequency: str = PER_INSTANCE
    keys: tuple[str, ...] = ()
    activated_by: tuple[str, ...] = ()
    families: tuple[str, ...] = ()

    def load(self) -> Module:
        """Import the module's file and give its MODULE."""
        import importlib

        module: Module = importlib.import_module(f"boot_stages.modules.{self.name}").MODULE
        return module


def _acts(name: str, *keys: str, frequency: str = PER_INSTANCE, families: tuple[str, ...] = ()) -> Entry:
    """A module that runs only when one of its keys is in the config."""
    return Entry(name, frequency, keys, keys, families)


MODULES: tuple[Entry, ...] = (
    _acts("bootcmd", "bootcmd", frequency=ALWAYS),
    _acts("write_files", "write_files"),
    Entry(
        "set_hostname",
        keys=(
            "hostname",
            "fqdn",
            "preserve_hostname",
            "prefer_fqdn_over_hostname",
            "create_hostname_file",
        ),
    ),
    Entry("users_groups", keys=("groups", "users", "user")),
    _acts("runcmd", "runcmd"),
    _acts("write_files_deferred", "write_files"),
    Entry("scripts_user"),
    Entry("final_message", ALWAYS, ("final_message",)),
)

BY_NAME = {entry.name: entry for entry in MODULES}


def entry(name: str) -> Entry | None:
    """The module a stage list names: dashes equal underscores, `cc_` and `.py` are optional."""
    plain = name.replace("-", "_").removeprefix("cc_").removesuffix(".py")
    return BY_NAME.get(plain)
