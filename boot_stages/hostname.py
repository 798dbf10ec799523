"""Which names a guest shall have, from the config and from what the cloud said.

Read by the host name modules, /etc/hosts, and the agent's early host name. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.distros import Distro
    from boot_stages.facts import Cloud


class Names(Value):
    """The short name, the fully qualified one, and whether they come from the cloud alone."""

    hostname: str
    fqdn: str
    is_from_cloud: bool


def wanted_names(hostname: str, fqdn: str, cloud: Cloud) -> Names:
    """`fqdn` and `hostname` of the config first, then the metadata's local-hostname."""
    if fqdn or "." in hostname:
        whole = fqdn or hostname
        short = hostname if hostname and fqdn else whole.partition(".")[0]
        return Names(short, whole, is_from_cloud=False)
    cloud_short, cloud_domain = _cloud_names(cloud.local_hostname)
    whole = f"{cloud_short}.{cloud_domain}" if cloud_domain else cloud_short
    if hostname:
        # The fqdn stays the cloud's, whatever its first label is: cloud-init does so, too.
        return Names(hostname, whole or hostname, is_from_cloud=False)
    return Names(cloud_short, whole, is_from_cloud=True)


def _cloud_names(local_hostname: str) -> tuple[str, str]:
    """Short name and domain of the metadata's name; an IPv4 address becomes `ip-a-b-c-d`."""
    parts = local_hostname.split(".")
    if len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts):
        return "ip-" + "-".join(parts), ""
    short, _, domain = local_hostname.partition(".")
    return short, domain


def hostname_file(old: str | None, name: str) -> bytes:
    """The content of /etc/hostname: comments stay, the name is replaced."""
    kept = [line for line in (old or "").splitlines() if line.startswith("#")]
    return "\n".join([*kept, name, ""]).encode("utf-8", "surrogateescape")


def read_hostname(text: str | None) -> str:
    """The name that a host name file holds, or ""."""
    lines = (line.partition("#")[0].strip() for line in (text or "").splitlines())
    return next((line for line in lines if line), "")


def chosen_name(names: Names, prefer_fqdn: bool | None, distro: Distro) -> str:
    """Which of the two names becomes the host name: the config's choice, else the distribution's."""
    prefer = distro.prefer_fqdn if prefer_fqdn is None else prefer_fqdn
    return names.fqdn if prefer and names.fqdn else names.hostname
