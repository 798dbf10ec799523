"""Stock cloud-init reads a NoCloud seed over HTTP."""

import json
import sys
import time

from cloudinit import util  # type: ignore[import-not-found]  # in the client's environment

before = time.monotonic()
found = util.read_seeded(sys.argv[1], timeout=5, retries=2)
took_s = time.monotonic() - before
names = ("meta-data", "user-data", "vendor-data", "network-config")
shown = [value.decode() if isinstance(value, bytes) else value for value in found]
print(json.dumps({"took_s": took_s, **dict(zip(names, shown, strict=True))}))
