"""The one way in: any input document to a checked model."""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.network.check import check
from guest_agent.network.errors import Fault, InvalidNetwork
from guest_agent.network.reading import Findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.model import Network, Note


class Parsed(Value):
    """A checked document: `document` is it in version 1 or 2, `network` what it means.

    `lost_outside_netplan` and `refused_outside_netplan` count unless a version 2 document goes to
    netplan as it is.
    """

    document: Mapping[str, object]
    network: Network
    notes: tuple[Note, ...] = ()
    lost_outside_netplan: tuple[Note, ...] = ()
    refused_outside_netplan: tuple[Fault, ...] = ()


def parse(kind: str, document: object, nics: Mapping[str, str]) -> Parsed:
    """See `guest_agent.network.parse`."""
    findings = Findings()
    known = {mac.lower(): name for mac, name in nics.items()}
    plain = _as_yaml_document(kind, document, known, findings)
    findings.raise_faults()
    network = _model(plain, known, findings)
    findings.raise_faults()
    check(network, findings)
    findings.raise_faults()
    return Parsed(
        plain,
        network,
        tuple(findings.notes),
        tuple(findings.lost_outside_netplan),
        tuple(findings.refused_outside_netplan),
    )


def _as_yaml_document(
    kind: str, document: object, nics: Mapping[str, str], findings: Findings
) -> dict[str, object]:
    if kind == "network_data.json":
        from guest_agent.network import network_data

        return network_data.to_v1(document, nics, findings)
    if kind == "eni":
        from guest_agent.network import eni_input

        return eni_input.to_v1(str(document), findings)
    return _unwrapped(document)


def _unwrapped(document: object) -> dict[str, object]:
    inside = document["network"] if isinstance(document, dict) and "network" in document else document
    if not isinstance(inside, dict):
        raise InvalidNetwork(
            (Fault("network", "a map is expected", "Write 'version: 2' and interfaces below"),)
        )
    return inside


def _model(document: dict[str, object], nics: Mapping[str, str], findings: Findings) -> Network:
    version = document.get("version")
    if version == 1:
        from guest_agent.network import v1

        return v1.parse(document, findings)
    if version == 2:
        from guest_agent.network import v2

        return v2.parse(document, nics, findings)
    what = f"{version!r} is no version of the network config"
    raise InvalidNetwork((Fault("version", what, "Write 'version: 1' or 'version: 2'"),))
