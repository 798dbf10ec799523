"""The configuration of a run: every source, highest first, put together with origins (spec 1.10, 2.6)."""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent import kernel_words, merge
from guest_agent.errors import AgentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from guest_agent.machine import Machine

ETC_CONFIG = "/etc/cloud/cloud.cfg"
ETC_CONFIG_DIRECTORY = "/etc/cloud/cloud.cfg.d"
RUN_CONFIG = "/run/cloud-init/cloud.cfg"
URL_CONFIG = "/etc/cloud/cloud.cfg.d/91_kernel_cmdline_url.cfg"
ENVIRONMENT = "CLOUD_CFG"
CLOUD_CONFIG = b"#cloud-config"

BUILT_IN: dict[object, object] = {
    "datasource_list": ["NoCloud", "ConfigDrive", "OpenStack", "Ec2", "None"],
    "def_log_file": "/var/log/cloud-init.log",
    "log_cfgs": [],
    "syslog_fix_perms": ["syslog:adm", "root:adm", "root:wheel", "root:root"],
    "system_info": {
        "distro": "ubuntu",
        "network": {"renderers": None},
        "paths": {"cloud_dir": "/var/lib/cloud", "templates_dir": "/etc/cloud/templates"},
    },
    "vendor_data": {"enabled": True, "prefix": []},
    "vendor_data2": {"enabled": True, "prefix": []},
}


class Configuration(Value):
    """The merged values with their origins, and (level, text) for each source that was left out."""

    merged: merge.Merged
    notes: tuple[tuple[str, str], ...]

    @property
    def values(self) -> Mapping[object, object]:
        """The configuration itself."""
        return self.merged.value


def system(machine: Machine, instance_data: Mapping[str, object] | None = None) -> Configuration:
    """What the image, the kernel command line and detection say: sources 7 to 11."""
    reader = _Reader(machine, instance_data)
    return reader.combined(reader.system_layers())


def whole(
    machine: Machine,
    *,
    files: Iterable[str] = (),
    environment: Mapping[str, str],
    cloud_configs: Iterable[tuple[str, merge.Merged]] = (),
    source_config: Mapping[object, object] | None = None,
    instance_data: Mapping[str, object] | None = None,
) -> Configuration:
    """All sources. `files` are those of `--file`; `cloud_configs` are (name, merged) highest first:
    user data, vendor data 2, vendor data; `source_config` is what the datasource adds."""
    reader = _Reader(machine, instance_data)

    def layers() -> Iterator[merge.Layer]:
        for path in (*reversed(tuple(files)), environment.get(ENVIRONMENT)):
            if path:
                yield from reader.file(path)
        for name, merged in cloud_configs:
            yield merge.Layer(name, merged.value, merged=merged)
        if source_config:
            yield merge.Layer("datasource", source_config)
        yield from reader.system_layers()

    return reader.combined(layers())


def store_url_config(machine: Machine) -> tuple[tuple[str, str], ...]:
    """Fetch what `cloud-config-url=` names and keep it as a config file, before anything else is read.

    A local path is not read again once the file exists. What went wrong comes back as (level, text).
    """
    line = machine.read_text("/proc/cmdline") or ""
    named = kernel_words.config_url(line)
    if named is None:
        return ()
    if named.is_old:
        return (("WARNING", "The kernel command line key `url` is not used. Use `cloud-config-url`"),)
    is_local = named.url.startswith(("/", "file://"))
    if is_local and machine.exists(URL_CONFIG):
        return ()
    try:
        if is_local:
            content = machine.read_bytes(named.url.removeprefix("file://"))
            if content is None:
                return (("WARNING", f"cloud-config-url: {named.url} cannot be read"),)
        else:
            from guest_agent.fetch import INCLUDE, web_for

            content = web_for(machine).body(named.url, INCLUDE.replace(deadline_s=120.0))
    except AgentError as error:
        return (("WARNING", f"cloud-config-url: {error.text}"),)
    if not content.startswith(CLOUD_CONFIG):
        return (("WARNING", f"cloud-config-url: {named.url} does not begin with #cloud-config; ignored"),)
    machine.write(URL_CONFIG, content, 0o600)
    return ()


# Files as they were read before in this process: one boot reads its configuration five times.
_LAYERS: dict[tuple[str, bytes], merge.Layer] = {}


class _Reader:
    """Reads config files; what cannot be used is noted and left out (spec 6)."""

    def __init__(self, machine: Machine, instance_data: Mapping[str, object] | None) -> None:
        self.machine = machine
        self.instance_data = instance_data
        self.notes: list[tuple[str, str]] = []

    def combined(self, layers: Iterable[merge.Layer]) -> Configuration:
        merged = merge.NOTHING
        for layer in layers:
            try:
                merged = merge.put_on(merged, layer, merge.CONFIG_RULE)
            except AgentError as error:
                self.notes.append(("WARNING", error.text))
        return Configuration(merged, tuple(self.notes))

    def system_layers(self) -> Iterator[merge.Layer]:
        text = kernel_words.cloud_config(self.machine.read_text("/proc/cmdline") or "")
        if text:
            yield from self.parsed(text.encode("utf-8", "surrogateescape"), "kernel command line")
        yield from self.file(RUN_CONFIG)
        for name in sorted(self.names_in(ETC_CONFIG_DIRECTORY), reverse=True):
            if name.endswith(".cfg"):
                yield from self.file(f"{ETC_CONFIG_DIRECTORY}/{name}")
        yield from self.file(ETC_CONFIG)
        yield merge.Layer("built-in", BUILT_IN)

    def names_in(self, directory: str) -> list[str]:
        import os

        try:
            return os.listdir(self.machine.path(directory))
        except OSError:
            return []

    def file(self, path: str) -> Iterator[merge.Layer]:
        content = self.machine.read_bytes(path)
        if content is None:
            if self.machine.exists(path):
                self.notes.append(("WARNING", f"{path}: it cannot be read; ignored"))
            return
        yield from self.parsed(content, path)

    def parsed(self, content: bytes, name: str) -> Iterator[merge.Layer]:
        from guest_agent import yaml_guard

        known = _LAYERS.get((name, content))
        if known is not None:
            yield known
            return
        try:
            text = self.rendered(content, name)
            if not text.strip():
                return
            loaded = yaml_guard.load_with_lines(text, name)
        except AgentError as error:
            self.notes.append(("WARNING", f"{error.text}; ignored"))
            return
        if isinstance(loaded.value, dict):
            if loaded.value:
                layer = merge.Layer(name, loaded.value, loaded.lines)
                if text is content:  # a template may give something else the next time
                    _LAYERS[name, content] = layer
                yield layer
        elif loaded.value is not None:
            self.notes.append(("WARNING", f"{name}: a mapping is expected at the top; ignored"))

    def rendered(self, content: bytes, name: str) -> bytes:
        """A file with the jinja header is used once there is instance data."""
        if not content.startswith(b"## template: jinja"):
            return content
        if self.instance_data is None:
            self.notes.append(("DEBUG", f"{name}: a template; not used before there is instance data"))
            return b""
        from guest_agent import templates

        rendered = templates.render(content, self.instance_data, name)
        if rendered.missing:
            self.notes.append(("WARNING", f"{name}: no value for {', '.join(rendered.missing)}"))
        return rendered.text
