"""Our files beside those of stock cloud-init, document by document: equal but for what DEVIATIONS names.

The deviations are those of docs/decisions/0031; each line that only one side writes must be one of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from guest_agent.network import errors, parse, render
from tests.contract.network import cloud_init, documents
from tests.contract.network.tool_root import Unavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("network-tools")]

COUNT = 60
# distro, output, programs the guest has
OUTPUTS = (
    ("debian", "eni", ("ip",)),
    ("alpine", "eni", ()),
    ("ubuntu", "netplan", ()),
    ("debian", "networkd", ("ip", "systemctl")),
    ("fedora", "network-manager", ()),
    ("rhel", "sysconfig", ()),
)
# Lines that may be on one side only, by output.
DEVIATIONS = {
    "eni": (r"\| (dhcp|accept-ra) [01]$",),
    "netplan": (),
    "networkd": (r"\[Route\] Metric=", r"^\[DHCPv4\]( |$)", r"IPv6AcceptRA=yes$"),
    "network-manager": (
        r"\[ethernet\] (mtu|cloned-mac-address)=",
        r"\[ethernet\]$",
        r"\[ipv[46]\] (method=auto|may-fail=true)$",
    ),
    "sysconfig": (r"^MACADDR=",),
}
NETPLAN_FEATURES = frozenset({"ipv6-mtu", "dhcp-use-domains"})


def flat(path: str, text: str) -> Counter[str]:
    """The file as lines that do not depend on order: each with its section or stanza, YAML by key path."""
    if path.endswith(".yaml"):
        return Counter(_leaves("", yaml.safe_load(text)))
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;"]
    if path.endswith((".network", ".netdev", ".nmconnection")):
        return Counter(_with_heads(lines, lambda line: line.startswith("["), " "))
    if "/network/interfaces" in path:
        controls = [line.strip() for line in text.splitlines() if line.startswith("# control")]
        return Counter([*_with_heads(lines, lambda line: line.startswith("iface"), " | "), *controls])
    return Counter(lines)


def _leaves(path: str, value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _leaves(f"{path}.{key}", inside)
    else:
        yield f"{path}={value!r}"


def _with_heads(lines: list[str], is_head: object, sign: str) -> Iterator[str]:
    assert callable(is_head)
    head = ""
    for line in lines:
        if is_head(line):
            head = line
            yield line
        else:
            yield f"{head}{sign}{line}" if not line.startswith(("auto ", "allow-")) else line


def jobs() -> list[cloud_init.Job]:
    found = []
    for seed in range(COUNT):
        for make in (documents.v1, documents.v2):
            text = yaml.safe_dump(make(seed), sort_keys=False)
            for distro, output, have in OUTPUTS:
                found.append({
                    "name": f"{make.__name__}-{seed}", "text": text, "kind": "yaml", "nics": {},
                    "distro": distro, "output": output, "have": have,
                })  # fmt: skip
    return found


def differences(job: cloud_init.Job, theirs: dict[str, str]) -> list[str]:
    try:
        done = render(
            parse("yaml", yaml.safe_load(job["text"]), {}),
            job["output"],
            job["distro"],
            have_ip="ip" in job["have"],
            netplan_features=NETPLAN_FEATURES,
        )
    except errors.NetworkError as error:
        return [f"refused: {error}"]
    ours = {path: file.content.decode() for path, file in done.files.items()}
    wrong = [
        f"only {side}: {path}"
        for side, a, b in (("ours", ours, theirs), ("theirs", theirs, ours))
        for path in set(a) - set(b)
    ]
    for path in set(ours) & set(theirs):
        mine, other = flat(path, ours[path]), flat(path, theirs[path])
        for sign, lines in (("+", mine - other), ("-", other - mine)):
            allowed = DEVIATIONS[job["output"]]
            wrong += [
                f"{path}: {sign}{line}" for line in lines if not any(re.search(one, line) for one in allowed)
            ]
    return wrong


def test_ga_4_6_files_are_those_of_cloud_init_but_for_the_named_deviations() -> None:
    asked = jobs()
    try:
        answers = cloud_init.converted(asked)
    except Unavailable as reason:
        pytest.skip(str(reason))
    compared, wrong = 0, []
    for job, answer in zip(asked, answers, strict=True):
        if "files" in answer:  # where cloud-init fails on a valid document there is nothing to compare with
            compared += 1
            wrong += [f"{job['name']}/{job['output']}: {line}" for line in differences(job, answer["files"])]
    assert compared > len(asked) * 0.9
    assert wrong == [], "\n".join(wrong[:40])
