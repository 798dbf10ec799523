"""The `ec2-metadata` client from PyPI, which always asks for a session token first."""

import json

from ec2_metadata import ec2_metadata  # type: ignore[import-not-found]  # in the client's environment

NAMES = (
    "account_id", "ami_id", "ami_launch_index", "availability_zone", "instance_action", "instance_id",
    "instance_type", "mac", "private_hostname", "private_ipv4", "public_hostname", "public_ipv4", "region",
    "reservation_id", "security_groups", "user_data", "domain", "partition",
)  # fmt: skip

found = {name: getattr(ec2_metadata, name) for name in NAMES}
card = ec2_metadata.network_interfaces["fa:16:3e:12:34:56"]
found["card"] = {"ipv4s": card.private_ipv4s, "vpc": card.vpc_id, "number": card.device_number}
print(json.dumps(found, default=lambda value: value.decode()))
