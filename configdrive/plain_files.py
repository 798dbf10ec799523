"""A NoCloud tree from plain files, as `cloud-localds` makes one."""

from __future__ import annotations

import json

DEFAULT_INSTANCE_ID = "iid-local01"  # as cloud-localds


def nocloud_tree(
    user_data: bytes,
    meta_data: bytes | None = None,
    network_config: bytes | None = None,
    vendor_data: bytes | None = None,
    *,
    hostname: str | None = None,
    dsmode: str | None = None,
) -> dict[str, bytes]:
    """File name -> content. Without `meta_data` one is made, with an instance-id, `hostname` and `dsmode`.

    `user-data` and `meta-data` are always there: cloud-init skips a drive without one of them.
    """
    given = {"instance-id": DEFAULT_INSTANCE_ID, "local-hostname": hostname, "dsmode": dsmode}
    made = json.dumps({key: value for key, value in given.items() if value}, indent=0).encode() + b"\n"
    files = {
        "user-data": user_data,
        "meta-data": made if meta_data is None else meta_data,
        "network-config": network_config,
        "vendor-data": vendor_data,
    }
    return {name: content for name, content in files.items() if content is not None}
