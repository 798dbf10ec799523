"""Where effects live: only the files named here open, run, listen, sleep or look at the clock.

Each name on the list is a decision; a name that is no longer needed must go. Pure code is tested without
patching, which is what this list is for.
"""

from __future__ import annotations

from tests.architecture import source_tree as tree

# Packages whose files are pure unless named. spawner, image_harness and the command line deal with the
# world by trade; of them the parts are named that must stay pure.
EDGES: dict[str, frozenset[str]] = {
    "configdrive": frozenset({"directory_reader.py", "oracle.py", "source.py", "whole.py"}),
    "instance_metadata": frozenset(),
    "boot_stages": frozenset(
        {"apply.py", "commands.py", "facts.py", "files.py", "foresight.py", "paths.py", "runner.py"}
    ),
}
PURE_FILES = frozenset(
    {"spawner/compute/qemu/argv.py", "metadata_server/responder.py", "metadata_server/tokens.py"}
)


def test_only_the_named_files_have_effects() -> None:
    found = {
        package: frozenset(
            str(file.relative_to(tree.ROOT / package))
            for file in tree.source_files(package)
            if tree.effects_of(file)
        )
        for package in EDGES
    }
    assert found == EDGES


def test_the_pure_files_are_pure() -> None:
    effects = {name: found for name in PURE_FILES if (found := tree.effects_of(tree.ROOT / name))}
    assert effects == {}


def test_every_effect_is_seen(tmp_path: object) -> None:
    """The detector itself: a test that cannot fail would prove nothing."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(dir=tree.ROOT / "tests") as directory:
        file = Path(directory) / "sample.py"
        file.write_text("import os, time\nimport subprocess\nos.mkdir('x')\ntime.sleep(1)\nopen('y')\n")
        assert [line.partition(": ")[2] for line in tree.effects_of(file)] == [
            "import subprocess",
            "os.mkdir()",
            "time.sleep()",
            "open()",
        ]
