"""The agent's packages: what they hold, that they are the same every time; the zipapp runs."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from image_harness import agent
from image_harness.agent_packages import build, recipe
from image_harness.slim import slim

SOURCE = '''\
#!/usr/bin/python3
"""What a module is.

And more."""
import os  # why

def one():
    """Only this."""

class Two:
    """First."""
    name = "# no comment"
    # a comment
    def three(self): "inline"; return 3
'''


def test_slim_keeps_the_lines_and_the_program() -> None:
    lines = slim(SOURCE).splitlines()
    assert len(lines) == len(SOURCE.splitlines())
    assert lines[0] == "#!/usr/bin/python3"
    assert (lines[1], lines[4]) == ("'What a module is.'", "import os")
    assert lines[7] == "    ..."
    assert lines[10] == ""
    assert lines[11] == '    name = "# no comment"'
    found: dict[str, object] = {}
    exec(slim(SOURCE), found)
    assert found["Two"]().three() == 3  # type: ignore[operator]


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                body[:1] = []
    return ast.dump(tree, include_attributes=False)


def test_every_module_of_the_agent_is_the_same_program_when_slimmed() -> None:
    for name, path in agent.modules():
        if name.endswith(".py"):
            source = path.read_text()
            assert _without_docstrings(slim(source)) == _without_docstrings(source), name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every package, by form and family."""
    return {(each.form, each.family): each.path for each in build.build(tmp_path_factory.mktemp("made"))}


def test_packages_are_the_same_bytes_every_time(made: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    again = {(each.form, each.family): each.path for each in build.build(tmp_path)}
    assert set(made) == {
        ("deb", "debian"),
        ("deb", "ubuntu"),
        ("rpm", "fedora"),
        ("apk", "alpine"),
        ("pyz", ""),
    }
    assert [key for key in made if made[key].read_bytes() != again[key].read_bytes()] == []
    # Nor does the time of a checkout show in one.
    with tarfile.open(made["apk", "alpine"], ignore_zeros=True) as archive:
        assert {member.mtime for member in archive} <= {0, build.DEFAULT_EPOCH_S}


def test_the_deb_stands_in_for_cloud_init_as_policy_wants(made: dict[tuple[str, str], Path]) -> None:
    fields = ("Package", "Version", "Architecture", "Provides", "Conflicts", "Replaces", "Depends")
    path = made["deb", "debian"]
    done = subprocess.run(["dpkg-deb", "-f", str(path), *fields], capture_output=True, text=True, check=True)
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert found == {
        "Package": "guestling-agent", "Version": f"{agent.version()}-1", "Architecture": "all",
        "Provides": "cloud-init", "Conflicts": "cloud-init", "Replaces": "cloud-init",
        "Depends": "python3 (>= 3.9), python3-yaml",
    }  # fmt: skip
    done = subprocess.run(
        ["dpkg-deb", "-I", str(path), "conffiles"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "/etc/cloud/cloud.cfg"


def test_the_apk_carries_openrc_services_and_refuses_cloud_init(made: dict[tuple[str, str], Path]) -> None:
    with tarfile.open(made["apk", "alpine"], ignore_zeros=True) as archive:
        names = archive.getnames()
        information = archive.extractfile(".PKGINFO")
        assert information is not None
        lines = information.read().decode().splitlines()
    assert {"depend = !cloud-init", "depend = py3-yaml", "replaces = cloud-init"} <= set(lines)
    assert {"etc/init.d/cloud-init-local", "usr/lib/cloud-init/hook-hotplug", ".post-install"} <= set(names)
    assert not [name for name in names if "systemd" in name]


def test_each_package_is_below_one_mebibyte(tmp_path: Path) -> None:
    build.write_slimmed(tmp_path)
    for package in recipe.PACKAGES:
        items = [item for item in recipe.items(package, tmp_path) if item.kind != "link"]
        assert sum(Path(item.source).stat().st_size for item in items) < 1 << 20
        paths = [item.path for item in recipe.items(package, tmp_path)]
        assert len(paths) == len(set(paths))


def test_the_scripts_know_every_unit_that_is_to_be_enabled() -> None:
    units = {Path(link).name for link in agent.systemd_links()} | {"cloud-init-hotplugd.socket"}
    for name in ("deb.postinst", "deb.postrm", "rpm.post"):
        text = (recipe.SCRIPTS / name).read_text()
        assert [unit for unit in units if unit not in text] == [], name
    for script in recipe.SCRIPTS.iterdir():
        assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0, script.name


def test_the_zipapp_runs_the_agent(made: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    def run(*words: str, name: str = "agent.pyz") -> str:
        link = tmp_path / name
        if not link.exists():
            link.symlink_to(made["pyz", ""])
        argv = [sys.executable, str(link), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert run("--version") == f"cloud-init {agent.version()}\n"
    config = tmp_path / "config.yaml"
    config.write_text("#cloud-config\nhostname: web-1\n")
    assert "Valid" in run("schema", "-c", str(config))
    assert "cloud-id" in run("--help", name="cloud-id")


def test_the_command_tells_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from guestling.image_packages import FORMS
    from guestling.main import main

    assert FORMS == build.FORMS
    assert main(["image", "packages", "-o", str(tmp_path), "--form", "pyz", "--format", "json"]) == 0
    (told,) = json.loads(io.StringIO(capsys.readouterr().out).read())
    assert told["bytes"] == Path(told["path"]).stat().st_size
