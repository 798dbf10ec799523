"""The datasources, in the order in which they are asked, and the walk over them (spec 1.5).

A source is a module with `detect(search)`, `read(search)` and `is_same_instance(search, id)`. The order
is this table and the configured list, never a race: a config drive beats a metadata server (GA-N02).
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.datasources.source_data import LOCAL, NETWORK, Search, SourceData
from guest_agent.errors import AgentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["DEFAULT_LIST", "LOCAL", "NETWORK", "SOURCES", "Search", "Source", "SourceData", "find"]


class Source(Value):
    """A source as one stage knows it: the name in `datasource_list`, the class name in logs, its module."""

    name: str
    class_name: str
    stage: str
    module: str


SOURCES = (
    Source("NoCloud", "DataSourceNoCloud", LOCAL, "nocloud"),
    Source("ConfigDrive", "DataSourceConfigDrive", LOCAL, "config_drive"),
    Source("OpenStack", "DataSourceOpenStackLocal", LOCAL, "openstack"),
    Source("Ec2", "DataSourceEc2Local", LOCAL, "ec2"),
    Source("NoCloud", "DataSourceNoCloudNet", NETWORK, "nocloud"),
    Source("OpenStack", "DataSourceOpenStack", NETWORK, "openstack"),
    Source("Ec2", "DataSourceEc2", NETWORK, "ec2"),
    Source("None", "DataSourceNone", NETWORK, "none"),
)

DEFAULT_LIST = ("NoCloud", "ConfigDrive", "OpenStack", "Ec2", "None")


def candidates(listed: Iterable[object], stage: str) -> tuple[Source, ...]:
    """The sources of a stage in the order of `datasource_list`; names count without case."""
    names = [str(name).lower() for name in listed]
    names = ["nocloud" if name == "nocloud-net" else name for name in names]
    chosen = [
        source
        for name in dict.fromkeys(names)
        for source in SOURCES
        if source.name.lower() == name and source.stage == stage
    ]
    return tuple(chosen)


def find(search: Search, on_search: Callable[[Source, str], None] | None = None) -> SourceData | None:
    """The first source of this stage that is there and can be read.

    A source that fails is a warning, and the next one is asked. `on_search(source, result)` is told
    `start`, then `found` or `nothing`, for the event log.
    """
    tell = on_search or (lambda _source, _result: None)
    listed = configured_list(search.config)
    for source in candidates(listed, search.stage):
        tell(source, "start")
        data = _asked(search, source, listed)
        tell(source, "nothing" if data is None else "found")
        if data is not None:
            return data
    return None


def configured_list(config: Mapping[str, object]) -> tuple[object, ...]:
    """`datasource_list` of the merged system configuration, else the default order."""
    listed = config.get("datasource_list")
    if isinstance(listed, list) and listed:
        return tuple("None" if name is None else name for name in listed)
    return DEFAULT_LIST


def is_same_instance(search: Search, name: str, instance_id: str) -> bool:
    """Whether the machine still is the instance of a cached source, without reading it again (spec 1.6)."""
    module = next((source.module for source in SOURCES if source.name == name), None)
    return module is not None and bool(_module(module).is_same_instance(search, instance_id))


def forced_name(search: Search) -> str:
    """The source that `ds=NAME` names, on the kernel command line or in the SMBIOS serial number."""
    for line in (search.command_line(), search.dmi("product_serial")):
        for word in line.split():
            if word.startswith("ds="):
                return word[3:].partition(";")[0].lower().replace("nocloud-net", "nocloud")
    return ""


def _asked(search: Search, source: Source, listed: tuple[object, ...]) -> SourceData | None:
    names = [str(name).lower() for name in listed]
    is_only = names in ([source.name.lower()], [source.name.lower(), "none"])
    module = _module(source.module)
    try:
        if is_only or forced_name(search) == source.name.lower() or module.detect(search):
            data = module.read(search)
            return data if isinstance(data, SourceData) else None
    except (AgentError, OSError) as error:
        search.warn(f"Getting data from {source.class_name} failed: {error}")
    return None


def _module(name: str):  # type: ignore[no-untyped-def]  # one of our modules, imported when it is asked
    return __import__(f"guest_agent.datasources.{name}", fromlist=["read"])
