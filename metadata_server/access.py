"""Who read what: one record a request, without bodies, tokens or signatures (X-4, ID-4)."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One answered request. `time_s` is Unix time, `took_ms` ends with the last byte queued."""

    time_s: float
    instance_id: str | None
    mode: str
    method: str
    path: str
    status: int
    size: int
    took_ms: float
    user_agent: str

    def as_json(self) -> str:
        """One line; control characters are escaped and long texts cut (G11)."""
        return json.dumps(
            {
                "time": round(self.time_s, 3),
                "instance": self.instance_id,
                "mode": self.mode,
                "method": self.method[:16],
                "path": self.path[:1024],
                "status": self.status,
                "bytes": self.size,
                "ms": round(self.took_ms, 3),
                "user_agent": self.user_agent[:256],
            }
        )
