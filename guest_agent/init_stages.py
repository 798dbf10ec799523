"""What the local and the network stage do, step by step, and the table of all four.

local: find a source without a network, become its instance, name the guest, write the network config.
network: find a source over the network if there is none yet, fetch and consume user data, run the modules.
Source: guest-agent.md 1.6.
"""

from __future__ import annotations

from boot_stages.log import logger
from boot_stages.runner import SUCCESS, plan_module
from boot_stages.stages import CONFIG, FINAL, LOCAL, NETWORK
from guest_agent import instance_data, module_stages
from guest_agent.datasources.source_data import from_document, to_document
from guest_agent.state import (
    BOOT_FINISHED,
    CACHE,
    CLOUD,
    INSTANCE_LINK,
    MANUAL_CLEAN,
    RUN_INSTANCE_ID,
    RUN_SKIP_NETWORK,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guest_agent.boot import Boot
    from guest_agent.datasources import Source
    from guest_agent.datasources.source_data import Search, SourceData
    from guest_agent.user_data import Consumption

LOG = logger("stages")

NO_SOURCE = "No instance datasource found."
# Cloud-config keys that may need a network before the config stage. Source: guest-agent.md 1.6.
NEEDS_NETWORK = ("bootcmd", "mounts")


def local(boot: Boot) -> list[str]:
    """The local stage; its errors."""
    boot.state.make_directories()
    boot.machine.remove(f"{INSTANCE_LINK}/{BOOT_FINISHED.path}")
    boot.source = _find(boot, LOCAL.key, trusts_cache=_is_manual(boot))
    if boot.source is None:
        LOG.debug("No local datasource found")
        _apply_network(boot, bring_up=False)
        return []
    _become(boot)
    _recall(boot)
    try:
        _name_early(boot)
        _apply_network(boot, bring_up=False)
    finally:
        boot.state.settle(boot.source.instance_id)
    if not _needs_network(boot.source):
        boot.machine.write(RUN_SKIP_NETWORK.path, "")
    if boot.source.dsmode != "local":
        return []
    LOG.debug("%s is to run in the local stage", boot.source.text)
    return _with_user_data(boot, LOCAL.event)


def network(boot: Boot) -> list[str]:
    """The network stage; its errors."""
    _bring_up_what_waits(boot)
    _wait_for_network(boot)
    _show_network(boot)
    is_met_here = boot.source is None
    if is_met_here:
        boot.source = _found_before(boot) or _find(boot, NETWORK.key, trusts_cache=True)
    if boot.source is None:
        LOG.warning("No instance datasource found! Likely bad things to come!")
        _apply_network(boot, bring_up=True)
        return [] if boot.force else [NO_SOURCE]
    if boot.source.dsmode == "local":
        LOG.debug("%s was completed in the local stage", boot.source.text)
        return []
    _become(boot)
    if is_met_here:
        _recall(boot)
    try:
        _apply_network(boot, bring_up=not _is_activation_disabled(boot))
    finally:
        boot.state.settle(boot.source.instance_id)
    return _with_user_data(boot, NETWORK.event)


def config(boot: Boot) -> list[str]:
    """The config stage; its errors."""
    return _modules_only(boot, "config", CONFIG.key)


def final(boot: Boot) -> list[str]:
    """The final stage; its errors."""
    return _modules_only(boot, "final", FINAL.key)


STEPS: dict[str, Callable[[Boot], list[str]]] = {
    LOCAL.key: local,
    NETWORK.key: network,
    CONFIG.key: config,
    FINAL.key: final,
}


def _modules_only(boot: Boot, name: str, key: str) -> list[str]:
    if boot.source is None:
        boot.source = from_cache(boot)
        if boot.source is None:
            from guest_agent.boot import NoSource

            raise NoSource(name)
        boot.use_config()
    return module_stages.run(boot, key)


# Finding the source.


def _is_manual(boot: Boot) -> bool:
    """Whether a cache is believed without a check: the image or the administrator says so."""
    if boot.config.get("manual_cache_clean") is True:
        return True
    return boot.machine.exists(f"{INSTANCE_LINK}/{MANUAL_CLEAN.path}")


def from_cache(boot: Boot) -> SourceData | None:
    """The source of this instance as an earlier stage or boot kept it."""
    document = boot.state.load_cache()
    if document is None:
        return None
    try:
        return from_document(document)
    except (TypeError, ValueError, KeyError) as error:
        LOG.warning("the cached datasource cannot be used (%s); it is read anew", error)
        return None


def _find(boot: Boot, key: str, *, trusts_cache: bool) -> SourceData | None:
    """The cached source if it is still ours, else a search among the sources of this stage."""
    from guest_agent import datasources

    cached = from_cache(boot)
    search = _search(boot, key)
    if cached is not None:
        if trusts_cache or _is_still_ours(boot, search, cached):
            LOG.debug("restored from cache: %s", cached.text)
            _tell_search(boot, key, "check-cache", "attempting to read from cache", "restored from cache")
            return cached
        boot.machine.remove(INSTANCE_LINK)
    found: SourceData | None = datasources.find(search, _events(boot, key))
    if found is not None:
        LOG.debug("Loaded datasource %s - %s", found.class_name, found.text)
    return found


def _found_before(boot: Boot) -> SourceData | None:
    """The source of the local stage of this boot, when a file system mounted since then hides its cache."""
    machine = boot.machine
    if not machine.exists(RUN_INSTANCE_ID.path) or machine.exists(f"{INSTANCE_LINK}/{CACHE.path}"):
        return None
    LOG.warning("%s is not what the local stage had: mount it earlier. Its sources are asked again", CLOUD)
    return _find(boot, LOCAL.key, trusts_cache=False)


def _is_still_ours(boot: Boot, search: Search, cached: SourceData) -> bool:
    """An earlier stage of this very boot found it, or the source's own cheap check agrees."""
    from guest_agent import datasources

    if (boot.machine.read_text(RUN_INSTANCE_ID.path) or "").strip() == cached.instance_id:
        return True
    return datasources.is_same_instance(search, cached.name, cached.instance_id)


def _search(boot: Boot, key: str) -> Search:
    from guest_agent.datasources import LOCAL as LOCAL_SOURCES
    from guest_agent.datasources import NETWORK as NETWORK_SOURCES
    from guest_agent.datasources import Search as SearchOf

    stage = LOCAL_SOURCES if key == LOCAL.key else NETWORK_SOURCES
    return SearchOf(boot.machine, boot.config, stage, warn=lambda text: LOG.warning("%s", text))


def _events(boot: Boot, key: str) -> Callable[[Source, str], None]:
    """Tell the search of each source as an event."""
    stage = "init-local" if key == LOCAL.key else "init-network"

    def tell(source: Source, result: str) -> None:
        name = f"{stage}/search-{source.class_name.replace('DataSource', '')}"
        mode = "local" if key == LOCAL.key else "network"
        description = f"searching for {mode} data from {source.class_name}"
        if result == "start":
            boot.reporter.start(name, description)
        else:
            words = "found" if result == "found" else "no"
            boot.reporter.finish(name, f"{words} {mode} data from {source.class_name}")

    return tell


def _tell_search(boot: Boot, key: str, name: str, begin: str, end: str) -> None:
    stage = "init-local" if key == LOCAL.key else "init-network"
    boot.reporter.start(f"{stage}/{name}", begin)
    boot.reporter.finish(f"{stage}/{name}", end)


def refresh(boot: Boot) -> SourceData | None:
    """Read the source of this instance again (hotplug); the cached one when it does not answer."""
    from guest_agent import datasources

    cached = boot.source
    found: SourceData | None = datasources.find(_search(boot, NETWORK.key)) or datasources.find(
        _search(boot, LOCAL.key)
    )
    if found is None or cached is None or found.instance_id != cached.instance_id:
        return cached
    boot.source = found
    boot.state.save_cache(found.instance_id, to_document(found))
    return found


# Becoming the instance.


def _become(boot: Boot) -> None:
    """Link, ids, cache and instance data of the source."""
    source = boot.source
    if source is None:
        return
    # New in the stage that first saw it: the next one finds the id in data/instance-id.
    boot.is_new = boot.state.adopt(source.instance_id, f"{source.class_name}: {source.text}")
    boot.state.save_cache(source.instance_id, to_document(source))
    if boot.config.get("manual_cache_clean") is True:
        boot.machine.write(f"{boot.instance_directory}/{MANUAL_CLEAN.path}", "")
    info = instance_data.system_info(boot.machine)
    instance_data.write(boot.machine, instance_data.document(source, boot.config, info))
    if boot.is_new:
        _write_injected(boot, source)


def _recall(boot: Boot) -> None:
    """Have what an instance that was here before said in its user data count before that is read again.

    The host name above all: the source may have another one. Source: guest-agent.md 1.6.
    """
    if boot.is_new:
        return
    stored = boot.stored_cloud_configs()
    if stored:
        boot.use_config(stored=stored)


def _name_early(boot: Boot) -> None:
    """Set the host name before the network asks for it; a failure is a warning."""
    from boot_stages.errors import StageError
    from boot_stages.registry import entry
    from boot_stages.schema import Undecodable

    source = boot.source
    found = entry("set_hostname")
    if source is None or found is None:
        return
    if not source.local_hostname and not {"hostname", "fqdn"} & set(boot.config):
        return
    effects = boot.machine.effects()
    effects.stage, effects.module = "init-local", "set_hostname"
    try:
        plan, _faults = plan_module(found, boot.config, boot.facts())
        for action in plan:
            effects.apply(action)
    except (StageError, Undecodable) as error:
        LOG.warning("cannot set the host name: %s", error)


# The network.


def _apply_network(boot: Boot, *, bring_up: bool) -> None:
    """Write the network config if it is due. Raises when the config cannot be followed."""
    from guest_agent import network_apply

    source = boot.source
    directory = boot.instance_directory if source is not None else ""
    applied = network_apply.apply(
        boot.machine,
        boot.config,
        boot.distro().name,
        source,
        directory,
        is_new=boot.is_new or source is None,
        bring_up=bring_up,
    )
    if applied is not None:
        boot.applied_network = applied


def _is_activation_disabled(boot: Boot) -> bool:
    return boot.config.get("disable_network_activation") is True


def _bring_up_what_waits(boot: Boot) -> None:
    """Bring the network up here where no init system does it between the stages."""
    from guest_agent import network_apply

    applied = boot.applied_network
    if applied is None or not boot.brings_up_network or _is_activation_disabled(boot):
        return
    network_apply.run(boot.machine, applied.commands)
    boot.applied_network = applied.replace(commands=())


def _wait_for_network(boot: Boot) -> None:
    """Wait for the network where user data may need it, and where there is a program that waits."""
    from guest_agent import network_apply

    if not boot.machine.exists(RUN_SKIP_NETWORK.path):
        network_apply.wait_online(boot.machine, boot.config, boot.distro().name)


def _show_network(boot: Boot) -> None:
    """Tell the people at the console which addresses there are."""
    from guest_agent import net_info

    for line in net_info.tables(boot.machine):
        boot.machine.output.say(line)


def _needs_network(source: SourceData) -> bool:
    """Whether user data may need a network before its modules run. Source: guest-agent.md 1.6."""
    blobs = (source.user_data, source.vendor_data, source.vendor_data2)
    return any(_may_fetch(blob) or _may_post(blob, source) for blob in blobs)


def _may_post(blob: object, source: SourceData) -> bool:
    """A random password is left with OpenStack, encrypted: that needs the network as well."""
    text = blob.encode("utf-8", "surrogateescape") if isinstance(blob, str) else blob
    return source.name == "OpenStack" and isinstance(text, bytes) and b"chpasswd" in text


def _may_fetch(blob: object) -> bool:
    """Everything but an empty document or a plain cloud-config of harmless keys may."""
    from guest_agent import yaml_guard
    from guest_agent.errors import AgentError

    if not blob:
        return False
    if not isinstance(blob, (bytes, str)):
        return True
    text = blob.encode("utf-8", "surrogateescape") if isinstance(blob, str) else blob
    if not text.lstrip().startswith(b"#cloud-config\n"):
        return True
    try:
        document = yaml_guard.load(text, "user-data")
    except AgentError:
        return True
    if not isinstance(document, dict) or any(key in document for key in NEEDS_NETWORK):
        return True
    seed = document.get("random_seed")
    if isinstance(seed, dict) and "command" in seed:
        return True
    files = document.get("write_files")
    return isinstance(files, list) and any(_is_remote(item) for item in files)


def _is_remote(item: object) -> bool:
    source = item.get("source") if isinstance(item, dict) else None
    uri = source.get("uri") if isinstance(source, dict) else None
    return isinstance(uri, str) and not uri.startswith(("/", "file:"))


# User data, and the first modules.


def _with_user_data(boot: Boot, event: str) -> list[str]:
    """Fetch, name the guest, consume, check, and run the first list of modules. Raises UserDataUnusable."""
    from guest_agent.consume import Consumer

    source = boot.source
    if source is None:
        return []
    consumer = Consumer(boot.machine, boot.instance_directory, source.instance_id, boot.config, boot.limits)
    journal = boot.state.journal(source.instance_id)
    consumer.keep_raw(source)
    fetched = consumer.fetch(source)
    _name_early(boot)
    name, description = f"{event}/consume-user-data", "reading and applying user-data"
    boot.reporter.start(name, description)
    is_first_run = not journal.is_done("consume_data")
    consumed = consumer.consume(fetched, source, is_first_run=is_first_run)
    if is_first_run:
        journal.end_named("consume_data")
    boot.reporter.finish(name, description, SUCCESS)
    boot.cloud_configs = tuple(
        (each, consumed[each].config)
        for each in ("user-data", "vendor-data2", "vendor-data")
        if each in consumed
    )
    boot.use_config()
    instance_data.write_combined(boot.machine, boot.config)
    _check_schema(consumed)
    for unread in boot.unread_keys():
        LOG.info("no module reads the key %s: %s", unread.key, unread.why)
    errors = [error for each in fetched.expansions.values() for error in each.errors]
    return [*errors, *module_stages.run(boot, NETWORK.key)]


def _write_injected(boot: Boot, source: SourceData) -> None:
    """`files[]` of OpenStack's metadata, on the first boot of an instance."""
    from boot_stages.actions import WriteFile
    from boot_stages.errors import StageError

    effects = boot.machine.effects()
    for file in source.files:
        try:
            effects.apply(WriteFile(file.path, file.content, 0o660))
        except StageError as error:
            LOG.warning("cannot write the injected file %s: %s", file.path, error)


def _check_schema(consumed: Mapping[str, Consumption]) -> None:
    """One warning for a config that the schema does not allow; nothing is dropped because of it."""
    if not any(each.config.value for each in consumed.values()):
        return
    from guest_agent import schema_check

    for each in consumed.values():
        schema_check.at_boot(each.config)
