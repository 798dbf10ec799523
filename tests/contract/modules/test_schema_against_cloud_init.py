"""Our schema accepts and refuses what stock cloud-init's does, at the same paths.

The documents are made from the peer's own schema at test time: for each of its places values that fit and
values that do not. Nothing of the peer is kept.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boot_stages.cloud_config_schema import schema
from boot_stages.validate import faults_of

SCHEMA = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
# Ours on purpose: D14, and the names of modules in lists (ours are those we know).
NOT_COMPARED = ("cloud_init_modules", "cloud_config_modules", "cloud_final_modules")
POOL: tuple[Any, ...] = ("word", 5, -1, True, None, [], {}, ["a"], {"a": "b"})

JUDGE = """
import json, sys
from cloudinit.config.schema import SchemaValidationError, get_schema, validate_cloudconfig_schema
known = get_schema()
for line in sys.stdin:
    try:
        validate_cloudconfig_schema(json.loads(line), known, strict=True)
        paths = []
    except SchemaValidationError as error:
        paths = sorted({problem.path for problem in error.schema_errors})
    print(json.dumps(paths), flush=True)
"""


def values(node: dict[str, Any], whole: dict[str, Any], depth: int = 0) -> Iterator[Any]:
    """Values for a place of a schema: some fit, some do not."""
    if "$ref" in node:
        node = whole["$defs"][node["$ref"].rpartition("/")[2]]
    for word in ("oneOf", "anyOf", "allOf"):
        for inner in node.get(word, ()):
            yield from values({**{k: v for k, v in node.items() if k != word}, **inner}, whole, depth + 1)
    yield from node.get("enum", ()) if isinstance(node.get("enum"), list) else ()
    yield from POOL if depth < 9 else POOL[:4]
    if "pattern" in node or node.get("format") == "date":
        yield from ("10M", "+5", "1.5G", "a:b", "2026-01-31", "2026-02-31")
    items = node.get("items")
    if isinstance(items, dict) and depth < 9:
        for value in values(items, whole, depth + 1):
            yield [value]
        yield ["a", "a"]
        yield ["a", "b", "c", "d", "e", "f", "g"]
    yield from maps(node, whole, depth)


def maps(node: dict[str, Any], whole: dict[str, Any], depth: int) -> Iterator[Any]:
    """Maps: the least that fits, then one key after another with each of its values."""
    properties = node.get("properties", {})
    patterns = node.get("patternProperties", {})
    if not properties and not patterns:
        return
    least = {name: fitting(properties.get(name, {}), whole) for name in node.get("required", ())}
    for inner in node.get("oneOf", ()) or node.get("anyOf", ()):
        for name in inner.get("required", ()):
            least.setdefault(name, fitting(properties.get(name, {}), whole))
        break
    yield least
    yield {**least, "no_such_key": 1}
    for name in least:
        yield {other: value for other, value in least.items() if other != name}
    for name, inner in properties.items():
        for value in values(inner, whole, depth + 1):
            yield {**least, name: value}
    for inner in patterns.values():
        for value in values(inner, whole, depth + 1):
            yield {**least, "rsa_private": value}


def fitting(node: dict[str, Any], whole: dict[str, Any]) -> Any:
    """One value that fits, for most places."""
    if "$ref" in node:
        node = whole["$defs"][node["$ref"].rpartition("/")[2]]
    if isinstance(node.get("enum"), list):
        return node["enum"][0]
    for word in ("oneOf", "anyOf"):
        if node.get(word):
            return fitting(node[word][0], whole)
    kind = node.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        return [fitting(node.get("items", {}), whole)]
    if kind == "object":
        properties = node.get("properties", {})
        return {name: fitting(properties.get(name, {}), whole) for name in node.get("required", ())}
    return {"string": "word", "integer": 5, "number": 5, "boolean": True, "null": None}[kind]


def documents(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """One key a document, no document twice."""
    seen: dict[str, dict[str, Any]] = {}
    for part in whole["allOf"]:
        node = whole["$defs"][part["$ref"].rpartition("/")[2]]
        for name, inner in node.get("properties", {}).items():
            if name in NOT_COMPARED:
                continue
            for value in values(inner, whole):
                seen.setdefault(json.dumps({name: value}, sort_keys=True), {name: value})
    return list(seen.values())


def judged(root: Path, asked: list[dict[str, Any]]) -> list[list[str]]:
    """What stock cloud-init says: the paths of its faults, for each document."""
    answer = subprocess.run(
        ["chroot", str(root), "python3", "-c", JUDGE],
        input="".join(f"{json.dumps(document)}\n" for document in asked),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_same_verdicts_and_paths(cloud_init_root: Path) -> None:
    whole = json.loads((cloud_init_root / SCHEMA).read_text())
    asked = documents(whole)
    assert len(asked) > 3000
    differences = []
    for document, theirs in zip(asked, judged(cloud_init_root, asked), strict=True):
        ours = sorted({path for path, _what in faults_of(document, schema())})
        if ours != theirs:
            differences.append((document, theirs, ours))
    assert differences == []


@pytest.mark.root
def test_same_top_level_keys(cloud_init_root: Path) -> None:
    whole = json.loads((cloud_init_root / SCHEMA).read_text())
    assert set(schema()["properties"]) == set(whole["properties"])
