"""One boot as the agent sees it: the four stages, each framed by lock, log, status and events.

Read `STEPS` for what a stage does; `init_stages.py` and `module_stages.py` do it. A failure inside a stage is
recorded and the next stage still gets its turn. Source: guest-agent.md 1.6, 5.8, 6.
"""

from __future__ import annotations

from boot_stages.errors import StageError
from boot_stages.log import logger
from boot_stages.runner import FAILED, SUCCESS, WARNED
from boot_stages.stages import CONFIG, FINAL, LOCAL, NETWORK
from boot_stages.version import VERSION
from guest_agent import limits, listeners, output, stop, yaml_guard
from guest_agent.known_documents import KnownDocuments
from guest_agent.log import Log
from guest_agent.report import Reporter, Status
from guest_agent.state import INSTANCE_LINK, KNOWN_DOCUMENTS, AnotherAgent, Lock, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from boot_stages.distros import Distro
    from boot_stages.facts import Facts
    from boot_stages.registry import Unread
    from boot_stages.stages import Stage
    from guest_agent.config import Configuration
    from guest_agent.datasources.source_data import SourceData
    from guest_agent.machine import Machine
    from guest_agent.merge import Merged
    from guest_agent.network_apply import Applied

LOG = logger("main")

# The words of the event that frames a stage, as cloud-init has them, and its key in `output:`.
DESCRIPTIONS = {
    LOCAL.key: "searching for local datasources",
    NETWORK.key: "searching for network datasources",
    CONFIG.key: "running modules for config",
    FINAL.key: "running modules for final",
}
PASSWORD_PATH = "openstack/latest/password"  # noqa: S105  # a path
OUTPUT_MODES = {LOCAL.key: "init", NETWORK.key: "init", CONFIG.key: "config", FINAL.key: "final"}


class Boot:
    """One agent process: what it was started with, and what it has learnt so far."""

    def __init__(
        self,
        machine: Machine,
        *,
        is_verbose: bool = False,
        force: bool = False,
        files: Sequence[str] = (),
        brings_up_network: bool = False,
        is_one_of_four: bool = False,
    ) -> None:
        self.machine = machine
        self.force = force
        self.files = tuple(files)
        # Nobody else starts the network between the stages: they follow each other in a guest without init.
        self.brings_up_network = brings_up_network
        # The other stages are other processes: what this one learnt must be kept at its end.
        self.is_one_of_four = is_one_of_four
        stored = machine.read_bytes(f"{INSTANCE_LINK}/{KNOWN_DOCUMENTS.path}")
        self.known = yaml_guard.KNOWN[-1] = KnownDocuments(stored)
        self.state = State(machine)
        self.log = Log(machine, is_verbose=is_verbose)
        self.reporter = Reporter(machine, listeners.built_in(machine))
        self.configuration: Configuration | None = None
        self.source: SourceData | None = None
        self.is_new = False
        self.cloud_configs: tuple[tuple[str, Merged], ...] | None = None
        self.applied_network: Applied | None = None
        self._errors: dict[str, list[str]] = {}
        self._reporting: object = None

    @property
    def config(self) -> dict[str, Any]:
        """The merged configuration; empty before it is read."""
        return {} if self.configuration is None else dict(self.configuration.values)  # type: ignore[arg-type]  # keys of a config are texts

    @property
    def limits(self) -> limits.Limits:
        """How much outside data may cost; what is wrong with the setting is said when the config is read."""
        return limits.from_config(self.config)[0]

    @property
    def instance_directory(self) -> str:
        """Where this instance's own files are. Only with a source."""
        if self.source is None:
            raise NoSource("this")
        return self.state.directory(self.source.instance_id)

    def first_error(self, stage: Stage) -> str:
        """What went wrong first in a stage, or ""."""
        return next(iter(self._errors.get(stage.key, ())), "")

    def run(self, stage: Stage) -> int:
        """Run one stage; the number of its errors, which is its exit status. Raises stop.Stopped."""
        end_log = self.log.start()
        try:
            with Lock(self.machine):
                return self._framed(stage)
        except AnotherAgent as error:
            self.machine.output.warn(str(error))
            return 1
        finally:
            end_log()

    def fail(self, stage: Stage, error: str) -> None:
        """A stage that could not begin: its error is recorded all the same."""
        status = Status(self.machine)
        clock = self.machine.clock()
        status.begin(stage.key, clock.uptime_s)
        self._errors[stage.key] = [error]
        status.end(stage.key, clock.uptime_s, datasource=None, errors=[error], recoverable={})

    def _framed(self, stage: Stage) -> int:
        status = Status(self.machine)
        if stage is LOCAL:
            status.forget()
        status.begin(stage.key, self.machine.clock().uptime_s)
        errors: list[str] = []
        try:
            errors = self._carried_out(stage)
        except stop.Stopped:
            self._ended(stage, status, [])
            raise
        except Exception as error:  # noqa: BLE001 - a failed stage must not end the boot: the next one has its turn
            LOG.traceback("failed stage %s", stage.key)
            self.machine.output.warn(f"failed run of stage {stage.key}: {error}")
            errors = [str(error)]
        self._ended(stage, status, errors)
        return len(status.v1[stage.key]["errors"])

    def _carried_out(self, stage: Stage) -> list[str]:
        from guest_agent.init_stages import STEPS

        self.read_config(stage)
        clock = self.machine.clock()
        self.machine.output.say(
            f"Cloud-init v. {VERSION} running '{stage.console}' at {clock.rfc_2822()}."
            f" Up {clock.uptime_s:.2f} seconds."
        )
        self.reporter.start(stage.event, DESCRIPTIONS[stage.key])
        return STEPS[stage.key](self)

    def _ended(self, stage: Stage, status: Status, errors: list[str]) -> None:
        """Write what happened, tell it, and after the last stage say how the whole boot went."""
        recoverable = self.log.recoverable_errors()
        self._errors[stage.key] = errors
        result = FAILED if errors else WARNED if recoverable else SUCCESS
        summary = errors[0] if errors else next((texts[0] for texts in recoverable.values()), "")
        self.reporter.finish(stage.event, DESCRIPTIONS[stage.key], result, summary)
        status.end(
            stage.key,
            self.machine.clock().uptime_s,
            datasource=self.source.text if self.source is not None else None,
            errors=errors,
            recoverable=recoverable,
        )
        if stage is FINAL:
            status.finish()
            instance_id = self.source.instance_id if self.source is not None else ""
            self.reporter.boot_result(status, VERSION, instance_id, status.verdict(), self.unread_keys())
        if stage is FINAL or self.is_one_of_four:
            self._keep_known()

    def _keep_known(self) -> None:
        """Have the next boot know the documents of this one; without it that boot only takes longer."""
        if not self.known.is_changed or self.source is None:
            return
        path = f"{self.instance_directory}/{KNOWN_DOCUMENTS.path}"
        try:
            self.machine.write(path, self.known.as_bytes(), KNOWN_DOCUMENTS.mode)
        except (OSError, StageError) as error:
            LOG.debug("the documents of this boot are not kept: %s", error)

    def unread_keys(self) -> tuple[Unread, ...]:
        """The keys of user data and vendor data that no module of the lists reads in this guest."""
        from boot_stages.registry import unread
        from boot_stages.runner import listed_names

        given = self.cloud_configs if self.cloud_configs is not None else self.stored_cloud_configs()
        keys = [str(key) for _name, merged in given for key in merged.value]
        if not keys:
            return ()
        return unread(
            keys, listed_names(self.config), self.distro(), self.config.get("unverified_modules", ())
        )

    def read_config(self, stage: Stage) -> None:
        """Read the configuration as it now is, open the log, send the output where it says."""
        from guest_agent import config

        notes: tuple[tuple[str, str], ...] = ()
        if stage is LOCAL:
            notes = config.store_url_config(self.machine)
        self.use_config(notes)
        stdout, stderr = output.ways_of(self.config, OUTPUT_MODES[stage.key])
        if self.machine.is_live:
            self.machine.output.redirect(stdout, stderr, self.machine.root)

    def use_config(
        self,
        notes: Sequence[tuple[str, str]] = (),
        stored: tuple[tuple[str, Merged], ...] | None = None,
    ) -> None:
        """Put all sources of configuration together, those of the instance too once it is known.

        `stored`: what `stored_cloud_configs` gave, where it is loaded already.
        """
        import os

        from guest_agent import config

        before = () if self.configuration is None else self.configuration.notes
        cloud_configs = self.cloud_configs if self.cloud_configs is not None else stored
        if cloud_configs is None:
            cloud_configs = self.stored_cloud_configs()
        self.configuration = config.whole(
            self.machine, files=self.files, environment=os.environ, cloud_configs=cloud_configs
        )
        self.log.open(self.config)
        for level, text in (*notes, *self.configuration.notes):
            if (level, text) not in before:
                LOG.log(level, "%s", text)
        self._listen()

    def _listen(self) -> None:
        """Tell whom the configuration names, from when it names them: user data and vendor data come late."""
        wanted = self.config.get("reporting")
        if wanted != self._reporting:
            self._reporting = wanted
            self.reporter.use(listeners.configured(self.machine, self.config))

    def stored_cloud_configs(self) -> tuple[tuple[str, Merged], ...]:
        """What an earlier process merged from user data and vendor data, highest first."""
        if self.source is None:
            return ()
        from guest_agent.consume import load_cloud_configs

        return load_cloud_configs(self.machine, self.instance_directory)

    def distro(self) -> Distro:
        """The distribution: as os-release says, else as the image's config says."""
        from boot_stages.distros import DISTROS, distro_of, parse_os_release

        release = parse_os_release(self.machine.read_text("/etc/os-release") or "")
        info = self.config.get("system_info")
        named = info.get("distro") if isinstance(info, dict) else None
        if not release:
            return next((distro for distro in DISTROS if distro.name == named), DISTROS[0])
        return distro_of(release)

    def facts(self) -> Facts:
        """The read-only view that modules plan from. Only with a source."""
        from boot_stages.facts import Cloud, Facts

        source = self.source
        if source is None:
            raise NoSource("this")
        cloud = Cloud(
            source.instance_id,
            source.name.lower(),
            source.text,
            local_hostname=source.local_hostname,
            public_keys=source.public_keys,
            random_seed=source.random_seed,
            availability_zone=source.availability_zone,
            region=source.region,
            is_fallback=source.is_fallback,
            device_names=source.device_names,
            password_url=self._password_url(source),
        )
        return Facts(
            self.machine.root,
            cloud,
            self.distro(),
            self.machine.commands,
            clock=self.machine.clock,
            random_bytes=self.machine.random_bytes,
            render_jinja=_render_jinja,
            system=self.config,
        )

    def _password_url(self, source: SourceData) -> str:
        """Where OpenStack keeps an instance's password; '' for other sources, or when not wanted."""
        table = self.config.get("datasource")
        settings = table.get("OpenStack") if isinstance(table, dict) else None
        is_wanted = not (isinstance(settings, dict) and settings.get("post_password") is False)
        if source.name != "OpenStack" or not source.seed.startswith("http") or not is_wanted:
            return ""
        return f"{source.seed}/{PASSWORD_PATH}"


class NoSource(Exception):
    """A stage that needs instance data came before there was any."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"Can not apply stage {stage}, no datasource found! Likely bad things to come!")


def _render_jinja(template: str, names: Mapping[str, object]) -> str:
    from guest_agent.templates import render_text

    return render_text(template, names)
