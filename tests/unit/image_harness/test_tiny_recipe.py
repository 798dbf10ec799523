"""The tiny guest's own files have the modes that the recipe means them to have."""

from __future__ import annotations

from image_harness.tiny import base, recipe


def test_every_mode_is_of_a_file_that_is_there() -> None:
    assert sorted(recipe.MODES.keys() - {entry.path for entry in base.own_files()}) == []


def test_every_script_can_be_run() -> None:
    own = {path.relative_to(base.OWN_FILES).as_posix(): path for path in base.OWN_FILES.rglob("*")}
    scripts = [name for name, path in own.items() if path.is_file() and path.read_bytes()[:2] == b"#!"]
    assert len(scripts) > 3
    assert [name for name in scripts if not recipe.MODES.get(name, 0o644) & 0o111] == []
