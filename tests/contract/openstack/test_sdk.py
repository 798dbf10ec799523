"""openstacksdk makes, waits, lists and deletes; every field that its classes read is there and typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawner.api.cloud import Cloud
from tests.contract.openstack.walk import walk

WALK = Path(__file__).with_name("sdk_walk.py")
ASKED = "only in requests"
GONE = "not in answers of the microversion that the SDK asks for"
NONE = "the API has no such field: the SDK's base class or another service reads it"
UNSET = "an answer has it only when it was set"
EXTENSION = "belongs to an extension that is not announced here"
# Resource -> fields that an answer may lack, and why. Whatever else is missing or of another type is a fault.
MAY_LACK: dict[str, dict[str, str]] = {
    "compute.AvailabilityZone": {NONE: "id"},
    "compute.Flavor": {NONE: "original_name", "an empty text before 2.75, as Nova has it": "swap"},
    "compute.Hypervisor": {
        GONE: "cpu_info current_workload disk_available_least free_disk_gb free_ram_mb local_gb local_gb_used"
        " memory_mb memory_mb_used running_vms vcpus vcpus_used",
        UNSET: "servers",
    },
    "compute.Keypair": {
        "Nova's list and its answer to a new one are shorter": "created_at deleted user_id",
        "told once, when Nova makes the key": "private_key",
    },
    "compute.Limits": {NONE: "id name"},
    "compute.QuotaSet": {
        GONE: "fixed_ips floating_ips networks security_group_rules security_groups",
        ASKED: "force",
        NONE: "name",
    },
    "compute.Server": {
        ASKED: "OS-SCH-HNT:scheduler_hints block_device_mapping_v2 flavorRef imageRef max_count min_count"
        " networks personality host",
        "told once, when the server is made": "adminPass",
        "of a server that failed": "fault",
    },
    "compute.ServerAction": {NONE: "id name", "one action has them, the list does not": "events"},
    "compute.ServerGroup": {GONE: "metadata policies"},
    "compute.ServerInterface": {NONE: "id name"},
    "identity.ApplicationCredential": {
        UNSET: "access_rules",
        "told once, when it is made": "secret",
        ASKED: "user",
    },
    "identity.Endpoint": {NONE: "name"},
    "identity.User": {UNSET: "federated", ASKED: "password"},
    "image.Image": {
        "a property: an image has it when somebody set it": "architecture auto_disk_config hw_boot_menu"
        " hw_cpu_cores hw_cpu_policy hw_cpu_sockets hw_cpu_thread_policy hw_cpu_threads hw_disk_bus"
        " hw_machine_type hw_qemu_guest_agent hw_rng_model hw_scsi_model hw_serial_port_count hw_video_model"
        " hw_video_ram hw_vif_model hw_vif_multiqueue_enabled hw_watchdog_action hypervisor_type"
        " img_config_drive instance_type_rxtx_factor instance_uuid kernel_id os_admin_user os_command_line"
        " os_distro os_require_quiesce os_secure_boot os_shutdown_timeout os_type os_version ramdisk_id"
        " vm_mode vmware_adaptertype vmware_ostype",
        "shown when Glance is told to, which it should not be": "direct_url locations",
        NONE: "metadata store url",
    },
    "network.Extension": {NONE: "id"},
    "network.FloatingIP": {ASKED: "subnet_id"},
    "network.Network": {EXTENSION: "pvlan segments vlan_qinq"},
    "network.Port": {EXTENSION: "pvlan_community pvlan_type trunk_details trusted"},
    "network.Quota": {
        EXTENSION: "healthmonitor l7policy listener loadbalancer pool router_route",
        ASKED: "check_limit",
        NONE: "name project_id tenant_id",
    },
    "network.SecurityGroupRule": {NONE: "name"},
    "network.Subnet": {ASKED: "prefixlen use_default_subnetpool"},
    "placement.ResourceProvider": {"another call has them": "aggregates usages"},
    "placement.ResourceProviderInventory": {NONE: "id name"},
}


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_field_that_openstacksdk_reads_is_there_and_typed(
    cloud: Cloud, client_directory: Path, tmp_path: Path
) -> None:
    walked = await walk(client_directory / "python", WALK, home=tmp_path)
    assert len(walked["calls"]) >= 60
    allowed = {
        kind: {name for names in reasons.values() for name in names.split()}
        for kind, reasons in MAY_LACK.items()
    }
    wrong = {
        f"{kind}.{name}": what
        for kind, found in walked["found"].items()
        for name, what in found.items()
        if name not in allowed.get(kind, set())
    }
    assert wrong == {}
    spare = {
        f"{kind}.{name}"
        for kind, names in allowed.items()
        for name in names
        if name not in walked["found"].get(kind, {})
    }
    assert spare == set(), "these are there now: take them out of MAY_LACK"
