"""Stock cloud-init's EC2 source: crawls as on Amazon, with a session token where one is asked for."""

import json
import sys
import time

from cloudinit import distros, helpers  # type: ignore[import-not-found]  # in the client's environment
from cloudinit.sources import DataSourceEc2 as Source  # type: ignore[import-not-found]  # in the client's environment

directory = sys.argv[1]
paths = helpers.Paths({"cloud_dir": directory, "run_dir": directory})
distro = distros.fetch("debian")("debian", {}, paths)
found = Source.DataSourceEc2({"datasource": {"Ec2": {"strict_id": False}}}, distro, paths)
found._cloud_name = Source.CloudNames.AWS
before = time.monotonic()
if not found.wait_for_metadata_service():
    sys.exit("cloud-init found no metadata service")
data = found.crawl_metadata()
took_s = time.monotonic() - before
print(json.dumps({"took_s": took_s, **data}, default=lambda value: value.decode("latin-1")))
