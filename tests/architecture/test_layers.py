"""Who may import whom, which library stands where, and no circles. The table is in source_tree.LAYERS."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.architecture import source_tree as tree

# A library that is an edge of ours is imported below these paths alone, and below each of them.
LIBRARY_HOMES: dict[str, tuple[str, ...]] = {
    "aiohttp": (
        "image_harness/cloud.py",
        "metadata_server/admin.py",
        "metadata_server/app.py",
        "metadata_server/endpoint.py",
        "metadata_server/protocol.py",
        "metadata_server/vendor_data.py",
        "spawner/api/",
        "spawner/page/",
    ),
    "cryptography": ("spawner/api/compute_keypairs.py",),
    "libvirt": ("spawner/compute/libvirt/connection.py",),
    "libvirt_qemu": ("spawner/compute/libvirt/domains.py",),
    "netifaces": ("metadata_server/interfaces.py",),
    "oslo_utils": ("spawner/images.py",),
    "prometheus_client": ("metadata_server/metrics.py", "spawner/api/metrics.py"),
    "pycdlib": ("configdrive/oracle.py",),
    "qemu": ("spawner/compute/qemu/process.py",),
    "rich": ("guestling/screen.py",),
    "testinfra": ("image_harness/testinfra_backend.py",),
    "sqlalchemy": ("image_harness/cloud.py", "metadata_server/store.py", "spawner/"),
}
# What a guest carries may import: the standard library and these; jinja2 only inside a function.
GUEST_LIBRARIES = {"yaml": "at load", "jinja2": "when asked"}


def _ours(target: str) -> str | None:
    package = target.partition(".")[0]
    return package if package in tree.LAYERS else None


@pytest.mark.parametrize("package", sorted(tree.LAYERS))
def test_a_package_imports_only_the_layers_below_it(package: str) -> None:
    wrong = [
        f"{each.file.relative_to(tree.ROOT)}:{each.line}: {each.target}"
        for file in tree.source_files(package)
        for each in tree.imports_of(file)
        if _ours(each.target) not in {None, package, *tree.LAYERS[package], *_beside(file)}
    ]
    assert not wrong


def _beside(file: Path) -> tuple[str, ...]:
    """What is beside a file where it runs, though not where it lies."""
    return tree.GUEST_PACKAGES if str(file.relative_to(tree.ROOT)).startswith(tree.INSIDE) else ()


def test_the_host_imports_nothing_of_what_runs_in_the_helper_guest() -> None:
    wrong = [
        f"{file.relative_to(tree.ROOT)}: {each.target}"
        for package in tree.LAYERS
        for file in tree.source_files(package)
        for each in tree.imports_of(file)
        if each.target.startswith(tree.INSIDE.rstrip("/").replace("/", "."))
        and not str(file.relative_to(tree.ROOT)).startswith(tree.INSIDE)
    ]
    assert not wrong


def test_every_package_of_ours_has_a_layer() -> None:
    found = {path.parent.name for path in tree.ROOT.glob("*/__init__.py")}
    assert found - {"tests", "bench"} == set(tree.LAYERS)


def test_the_guest_takes_only_the_reader_of_configdrive() -> None:
    allowed = {tree.module_name(file) for file in _reader_closure()}
    wrong = [
        f"{each.file.relative_to(tree.ROOT)}:{each.line}: {each.target}"
        for file in tree.source_files("guest_agent")
        for each in tree.imports_of(file)
        if _ours(each.target) == "configdrive" and not any(each.target.startswith(name) for name in allowed)
    ]
    assert not wrong


def _reader_closure() -> set[Path]:
    """configdrive/reader.py and what it imports of its own package: these files go into a guest."""
    todo = [tree.ROOT / "configdrive/reader.py", tree.ROOT / "configdrive/__init__.py"]
    closure: set[Path] = set()
    while todo:
        file = todo.pop()
        if file in closure:
            continue
        closure.add(file)
        for each in tree.imports_of(file):
            path = tree.ROOT / (each.target.replace(".", "/") + ".py")
            if each.target.startswith("configdrive.") and path.exists():
                todo.append(path)
    return closure


def test_the_guest_side_needs_the_standard_library_and_pyyaml_alone() -> None:
    files = [file for package in tree.GUEST_PACKAGES for file in tree.source_files(package)]
    files += _reader_closure()
    wrong = []
    for file in files:
        for each in tree.imports_of(file):
            top = each.target.partition(".")[0]
            if tree.is_standard(top) or _ours(each.target):
                continue
            when = GUEST_LIBRARIES.get(top)
            if when is None or (when == "when asked" and each.at_load):
                wrong.append(f"{file.relative_to(tree.ROOT)}:{each.line}: {each.target}")
    assert not wrong


def test_instance_metadata_is_pure() -> None:
    effects = {
        str(file.relative_to(tree.ROOT)): found
        for file in tree.source_files("instance_metadata")
        if (found := tree.effects_of(file))
    }
    assert effects == {}


@pytest.mark.parametrize("library", sorted(LIBRARY_HOMES))
def test_a_library_is_imported_in_its_homes_alone(library: str) -> None:
    found = {
        str(each.file.relative_to(tree.ROOT))
        for package in tree.LAYERS
        for file in tree.source_files(package)
        for each in tree.imports_of(file)
        if each.target == library or each.target.startswith(f"{library}.")
    }
    homes = LIBRARY_HOMES[library]
    assert [name for name in sorted(found) if not name.startswith(homes)] == []
    assert [home for home in homes if not any(name.startswith(home) for name in found)] == []


def test_no_circle_of_imports_at_load() -> None:
    graph = {
        tree.module_name(file): {
            each.target for each in tree.imports_of(file) if each.at_load and _ours(each.target)
        }
        for package in tree.LAYERS
        for file in tree.source_files(package)
    }
    assert not list(_circles(graph))


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected parts of more than one module (Tarjan, without recursion limits to fear here)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []
    sys.setrecursionlimit(10_000)

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph.get(name, ()):
            if target not in graph:
                continue
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(part) > 1:
                circles.append(part)

    for name in graph:
        if name not in index:
            visit(name)
    return circles


def test_the_version_is_the_same_everywhere() -> None:
    import tomllib

    from boot_stages.version import VERSION

    for path in (tree.ROOT / "pyproject.toml", *tree.ROOT.glob("packaging/*/pyproject.toml")):
        assert tomllib.loads(path.read_text())["project"]["version"] == VERSION, path
