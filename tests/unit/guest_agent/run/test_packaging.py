"""What is installed: units, generator, settings, and a closure that needs PyYAML alone."""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from boot_stages import registry

ROOT = Path(__file__).parents[4]
PACKAGING = ROOT / "packaging/agent"
GENERATOR = PACKAGING / "systemd/cloud-init-generator"
STAGES = {
    "cloud-init-local.service": "local",
    "cloud-init-network.service": "network",
    "cloud-config.service": "config",
    "cloud-final.service": "final",
}
CONDITIONS = [
    "ConditionPathExists=!/etc/cloud/cloud-init.disabled",
    "ConditionKernelCommandLine=!cloud-init=disabled",
    "ConditionEnvironment=!KERNEL_CMDLINE=cloud-init=disabled",
]


@pytest.mark.parametrize(("unit", "stage"), STAGES.items())
def test_each_stage_has_a_unit_that_hands_over(unit: str, stage: str) -> None:
    lines = (PACKAGING / "systemd" / unit).read_text().splitlines()
    assert f"ExecStart=/usr/lib/cloud-init/hand-over {stage}" in lines
    assert {"Type=oneshot", "RemainAfterExit=yes", "WantedBy=cloud-init.target", *CONDITIONS} <= set(lines)


@pytest.mark.parametrize("unit", ["cloud-init-main.service", "cloud-final.service"])
def test_ga_w12_what_a_script_does_to_the_guest_is_no_reason_to_stop_the_agent(unit: str) -> None:
    """In both: a unit that finds no process of all stages runs its scripts itself."""
    lines = (PACKAGING / "systemd" / unit).read_text().splitlines()
    assert {"OOMPolicy=continue", "TasksMax=50%"} <= set(lines)


def test_every_service_can_be_switched_off_in_three_ways() -> None:
    for unit in (PACKAGING / "systemd").glob("*.service"):
        assert set(CONDITIONS) <= set(unit.read_text().splitlines()), unit.name


def test_no_family_orders_a_unit_in_a_circle() -> None:
    """Before sysinit.target and after NetworkManager, which comes after it, cannot both be."""
    for family in ("debian", "ubuntu", "redhat"):
        for unit in STAGES:
            drop_in = PACKAGING / "systemd" / family / f"{unit}.d" / "10-family.conf"
            text = (PACKAGING / "systemd" / unit).read_text() + (
                drop_in.read_text() if drop_in.exists() else ""
            )
            assert not ("Before=sysinit.target" in text and "After=NetworkManager" in text), (family, unit)


@pytest.mark.parametrize(
    ("answer", "enabled", "linked"),
    [(0, True, True), (1, False, False), (2, False, False), (64, None, False)],
)
def test_the_generator_leaves_exactly_one_marker(
    tmp_path: Path, answer: int, enabled: bool | None, linked: bool
) -> None:
    identify = tmp_path / "ds-identify"
    identify.write_text(f"#!/bin/sh\necho found things\nexit {answer}\n")
    identify.chmod(0o755)
    run = tmp_path / "root/run/cloud-init"
    if enabled is not None:
        run.mkdir(parents=True)
        (run / ("disabled" if enabled else "enabled")).touch()
    early = tmp_path / "early"
    done = subprocess.run(
        ["sh", str(GENERATOR), str(tmp_path / "normal"), str(early), str(tmp_path / "late")],
        env={**os.environ, "CLOUD_INIT_ROOT": str(tmp_path / "root"), "DS_IDENTIFY": str(identify)},
        check=False,
        timeout=30,
    )
    assert done.returncode == 0
    link = early / "multi-user.target.wants/cloud-init.target"
    assert link.is_symlink() is linked
    assert (run / "enabled").exists() is (enabled is True)
    assert (run / "disabled").exists() is (enabled is False)
    assert "found things" in (run / "cloud-init-generator.log").read_text()


@pytest.mark.parametrize("family", ["debian", "ubuntu", "fedora", "alpine"])
def test_the_settings_name_modules_that_are_there(family: str) -> None:
    settings = yaml.safe_load((PACKAGING / f"cloud.cfg/{family}.cfg").read_text())
    listed = [name for key in settings if key.startswith("cloud_") for name in settings[key]]
    assert [name for name in listed if registry.entry(name) is None] == []
    assert len(set(listed)) == len(listed) > 25
    assert settings["system_info"]["distro"] == family


def test_every_shell_program_parses() -> None:
    programs = [GENERATOR, PACKAGING / "systemd/hand-over", PACKAGING / "bin/hook-hotplug"]
    for program in [*programs, *(PACKAGING / "openrc").iterdir()]:
        assert subprocess.run(["sh", "-n", str(program)], check=False).returncode == 0, program
        assert os.access(program, os.X_OK), program


def test_units_parse() -> None:
    for unit in (PACKAGING / "systemd").glob("*.*"):
        parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys of units have capitals
        parser.read_string(unit.read_text())
        assert "Unit" in parser, unit.name


def test_the_wheel_holds_what_the_config_drive_reader_imports() -> None:
    project = tomllib.loads((PACKAGING / "pyproject.toml").read_text())
    hook = ast.parse((PACKAGING / "hatch_build.py").read_text())
    (included,) = (
        ast.literal_eval(node.value)
        for node in hook.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONFIGDRIVE"
    )
    assert set(included) == {"__init__", *_imported("reader")}
    assert project["project"]["dependencies"] == ["pyyaml>=5.4"]


def _imported(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """A module of configdrive and those it imports, at load or later."""
    found = {name}
    for node in ast.walk(ast.parse((ROOT / f"configdrive/{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("configdrive"):
            names = [*(node.module or "").split(".")[1:2], *(alias.name for alias in node.names)]
            for inner in names:
                if (ROOT / f"configdrive/{inner}.py").exists() and inner not in {*seen, *found}:
                    found |= _imported(inner, frozenset({*seen, *found}))
    return found
