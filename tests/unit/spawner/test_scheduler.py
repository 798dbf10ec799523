"""The scheduler: each filter throws out what it should and says why; weighers rank."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner.scheduler import FILTERS, Host, Request, explain, judge, select

ROOMY = {"VCPU": 8, "MEMORY_MB": 8192, "DISK_GB": 100}
HOST = Host("host-1", "p-1", free=ROOMY, total=ROOMY, traits=frozenset({"HW_CPU_X86_AVX2"}))
REQUEST = Request({"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1})

FALLS = [
    ("ComputeFilter", replace(HOST, enabled=False, disabled_reason="for repair"), REQUEST, "for repair"),
    ("RequestedHostFilter", HOST, replace(REQUEST, host="host-9"), "host-9 was asked for by name"),
    ("RequestedHostFilter", HOST, replace(REQUEST, ignore_hosts=frozenset({"host-1"})), "failed before"),
    ("AvailabilityZoneFilter", HOST, replace(REQUEST, zone="west"), "in zone nova, west is asked for"),
    ("ImagePropertiesFilter", HOST, replace(REQUEST, image_architecture="aarch64"), "this is x86_64"),
    ("ImagePropertiesFilter", HOST, replace(REQUEST, image_hypervisor="xen"), "for xen, this is qemu"),
    ("TraitsFilter", HOST, replace(REQUEST, required_traits=frozenset({"CUSTOM_GPU"})), "lacks CUSTOM_GPU"),
    (
        "TraitsFilter",
        HOST,
        replace(REQUEST, forbidden_traits=frozenset({"HW_CPU_X86_AVX2"})),
        "has HW_CPU_X86_AVX2",
    ),
    (
        "ServerGroupAffinityFilter",
        HOST,
        replace(REQUEST, group_policy="affinity", group_hosts={"host-2": 1}),
        "the group is on host-2",
    ),
    (
        "ServerGroupAntiAffinityFilter",
        HOST,
        replace(REQUEST, group_policy="anti-affinity", group_hosts={"host-1": 1}),
        "1 of the group are here",
    ),
    ("ResourcesFilter", HOST, replace(REQUEST, resources={"VCPU": 9}), "VCPU: 9 needed, 8 free"),
]


@pytest.mark.parametrize(("name", "host", "request_", "reason"), FALLS)
def test_a_host_falls_to_the_filter_that_is_meant(
    name: str, host: Host, request_: Request, reason: str
) -> None:
    verdict = judge(host, request_)
    assert verdict.filter == name
    assert reason in verdict.reason
    assert judge(HOST, REQUEST).passed


def test_every_filter_has_a_case() -> None:
    assert {case[0] for case in FALLS} == {name for name, _ in FILTERS}


def test_the_emptier_host_is_better() -> None:
    full = replace(HOST, name="host-0", free={"VCPU": 1, "MEMORY_MB": 600, "DISK_GB": 5})
    assert [host.name for host in select(REQUEST, [full, HOST]).hosts] == ["host-1", "host-0"]


def test_equal_hosts_keep_the_order_of_their_names() -> None:
    hosts = [replace(HOST, name=name) for name in ("c", "a", "b")]
    assert [host.name for host in select(REQUEST, hosts).hosts] == ["a", "b", "c"]


@pytest.mark.parametrize(("policy", "first"), [("soft-affinity", "host-2"), ("soft-anti-affinity", "host-1")])
def test_soft_policies_only_rank(policy: str, first: str) -> None:
    hosts = [HOST, replace(HOST, name="host-2")]
    request = replace(REQUEST, group_policy=policy, group_hosts={"host-2": 2})
    assert select(request, hosts).hosts[0].name == first


def test_the_explanation_names_each_host() -> None:
    selection = select(replace(REQUEST, zone="west"), [HOST, replace(HOST, name="host-2", zone="west")])
    assert explain(selection).splitlines() == [
        "host-1: AvailabilityZoneFilter: in zone nova, west is asked for",
        "host-2: weight 3.100",
    ]
