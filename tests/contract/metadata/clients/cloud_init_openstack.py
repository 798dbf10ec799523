"""Stock cloud-init's OpenStack source, with its own addresses: what it made of our answers, as JSON."""

import json
import sys
import time

from cloudinit import distros, helpers  # type: ignore[import-not-found]  # in the client's environment
from cloudinit.sources import DataSourceOpenStack as Source  # type: ignore[import-not-found]  # in the client's environment
from cloudinit.sources.helpers import ec2  # type: ignore[import-not-found]  # in the client's environment

directory = sys.argv[1]
paths = helpers.Paths({"cloud_dir": directory, "run_dir": directory})
distro = distros.fetch("debian")("debian", {}, paths)
found = Source.DataSourceOpenStack({}, distro, paths)
before = time.monotonic()
if not found.wait_for_metadata_service():
    sys.exit("cloud-init found no metadata service")
data = Source.read_metadata_service(found.metadata_address, retries=1, timeout=5)
took_s = time.monotonic() - before
data["ec2-metadata"] = ec2.get_instance_metadata("latest", "http://169.254.169.254", timeout=5, retries=1)
print(json.dumps({"took_s": took_s, **data}, default=lambda value: value.decode("latin-1")))
