"""A script that walks through our API under the Python of a foreign client."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any


async def walk(python: Path, script: Path, *arguments: str, home: Path) -> Any:
    """What the script has printed, a document of JSON; `home` has the cloud's clouds.yaml."""
    process = await asyncio.create_subprocess_exec(
        *(str(python), str(script), *arguments),
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "OS_CLOUD": "guestling"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    return json.loads(output)
