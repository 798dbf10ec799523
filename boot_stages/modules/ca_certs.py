"""`ca_certs`: certificates that the guest shall trust, and whether it keeps the distribution's.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import RunCommand, WriteFile
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, key, list_of, record
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


class Store(Value):
    """Where a family keeps trusted certificates, its list of default ones, and what brings them in."""

    directory: str
    update: tuple[str, ...]
    defaults: str = ""


STORES = {
    "debian": Store(
        "/usr/local/share/ca-certificates", ("update-ca-certificates",), "/etc/ca-certificates.conf"
    ),
    "alpine": Store(
        "/usr/local/share/ca-certificates", ("update-ca-certificates",), "/etc/ca-certificates.conf"
    ),
    "redhat": Store("/usr/share/pki/ca-trust-source/anchors", ("update-ca-trust",)),
}


class CertificateKeys(Keys):
    """The map below `ca_certs`."""

    remove_defaults: bool = key(
        "Do not trust the distribution's certificates.", BOOL, default=False, old=("remove-defaults",)
    )
    trusted: tuple[str, ...] = key("Certificates to trust, in PEM.", list_of(TEXT, minItems=1), default=())


class Config(Keys):
    """Keys of `ca_certs`."""

    ca_certs: CertificateKeys = key(
        "Certificate authorities.",
        record(CertificateKeys, minProperties=1),
        default=CertificateKeys(),
        old=("ca-certs",),
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Write what is not there yet, then bring the store up to date if anything was."""
    keys = config.ca_certs
    store = STORES[facts.distro.family]
    actions = list(_without_defaults(store, facts)) if keys.remove_defaults else []
    for number, certificate in enumerate(keys.trusted, start=1):
        path = f"{store.directory}/cloud-init-ca-cert-{number}.crt"
        content = certificate.encode()
        if facts.read_bytes(path) != content:
            actions.append(WriteFile(path, content))
    return (*actions, RunCommand(store.update)) if actions else ()


def _without_defaults(store: Store, facts: Facts) -> tuple[Action, ...]:
    """Put `!` before each line of the list; families without such a list keep their certificates."""
    text = facts.read_text(store.defaults) if store.defaults else None
    if text is None:
        return ()
    lines = [line if not line or line[0] in "#!" else f"!{line}" for line in text.splitlines()]
    content = "".join(f"{line}\n" for line in lines)
    if content == text:
        return ()
    write: tuple[Action, ...] = (WriteFile(store.defaults, content.encode("utf-8", "surrogateescape")),)
    if facts.distro.family != "debian":
        return write
    answer = b"ca-certificates ca-certificates/trust_new_crts select no\n"
    return (*write, RunCommand(("debconf-set-selections", "-"), stdin=answer))


MODULE = Module("ca_certs", Config, plan)
