"""None: the source of last resort, which always matches and knows nothing but what the image says."""

from __future__ import annotations

from guest_agent.datasources.source_data import SourceData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.datasources.source_data import Search

INSTANCE_ID = "iid-datasource-none"


def detect(_search: Search) -> bool:
    """It always matches."""
    return True


def is_same_instance(_search: Search, _instance_id: str) -> bool:
    """There is no cheap check: search again."""
    return False


def read(search: Search) -> SourceData:
    """What `datasource: None:` of the configuration holds: `userdata_raw` and `metadata`."""
    settings = search.settings("None")
    given = settings.get("metadata")
    metadata = dict(given) if isinstance(given, dict) else {}
    metadata["instance-id"] = INSTANCE_ID
    return SourceData(
        name="None",
        class_name="DataSourceNone",
        text="DataSourceNone",
        instance_id=INSTANCE_ID,
        metadata=metadata,
        user_data=settings.get("userdata_raw", ""),
        local_hostname=str(metadata.get("local-hostname") or ""),
        platform="none",
        cloud_name="none",
        subplatform="config",
        is_fallback=True,
    )
