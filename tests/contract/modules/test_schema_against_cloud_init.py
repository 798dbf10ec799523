"""Our schema accepts and refuses what stock cloud-init's does, at the same paths.

The documents are made from the peer's own schema at test time: for each of its places values that fit and
values that do not. Nothing of the peer is kept.
"""

import copy
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boot_stages.cloud_config_schema import schema
from boot_stages.validate import deprecations_of, faults_of

SCHEMA = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
# Ours on purpose: D14, and the names of modules in lists (ours are those we know).
NOT_COMPARED = ("cloud_init_modules", "cloud_config_modules", "cloud_final_modules")
# cloud-init's `users_groups` says so in a boot, its schema does not.
OLD_ON_PURPOSE = {"user"}
MUTATIONS = 1500
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


# The same for what is told as deprecated, which cloud-init only writes into its log.
OLD = """
import json, logging, re, sys
from cloudinit.config.schema import get_schema, validate_cloudconfig_schema
known = get_schema()
told = []
logging.Logger.deprecated = lambda logger, text, *values: logger.warning(text, *values)
class Kept(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())
logging.getLogger().addHandler(Kept())
logging.getLogger().setLevel(logging.DEBUG)
for line in sys.stdin:
    told.clear()
    validate_cloudconfig_schema(json.loads(line), known, strict=False, log_deprecations=True)
    texts = [text.partition("provided: ")[2] for text in told if text.startswith("Deprecated cloud-config")]
    paths = {path for text in texts for path in re.findall(r"(?:^|, )([\\w./-]+): ", text)}
    print(json.dumps(sorted(paths)), flush=True)
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


def mutations(asked: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Documents of two to four keys that fit, changed in up to two places at any depth."""
    choose = random.Random(count)
    by_key: dict[str, list[dict[str, Any]]] = {}
    for document in asked:
        if not faults_of(document, schema()):
            by_key.setdefault(next(iter(document)), []).append(document)
    made: dict[str, dict[str, Any]] = {}
    while len(made) < count:
        whole: dict[str, Any] = {}
        for name in choose.sample(sorted(by_key), choose.randint(2, 4)):
            whole.update(copy.deepcopy(choose.choice(by_key[name])))
        for _ in range(choose.randint(0, 2)):
            mutate(whole, choose)
        made.setdefault(json.dumps(whole, sort_keys=True), whole)
    return list(made.values())


def mutate(value: Any, choose: random.Random) -> None:
    """Change one place below a map or a list: lose it, double it, wrap it, or put something else there."""
    while True:
        if isinstance(value, dict) and value:
            place: Any = choose.choice(sorted(value))
        elif isinstance(value, list) and value:
            place = choose.randrange(len(value))
        else:
            return
        inner = value[place]
        if isinstance(inner, (dict, list)) and inner and choose.random() < 0.7:
            value = inner
            continue
        break
    change = choose.choice(("lose", "wrap", "other", "other", "add"))
    if change == "lose":
        del value[place]
    elif change == "wrap":
        value[place] = [inner]
    elif change == "add" and isinstance(value, list):
        value.append(copy.deepcopy(inner))
    elif change == "add":
        value[f"{place}_"] = copy.deepcopy(inner)
    else:
        value[place] = copy.deepcopy(choose.choice(POOL))


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
    assert differences(cloud_init_root, asked) == []


def differences(root: Path, asked: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[str], list[str]]]:
    """The documents of which the two schemas name other paths: theirs, then ours.

    On purpose: of several unknown keys cloud-init names none, its path is empty; ours names each.
    """
    found = []
    for document, said in zip(asked, judged(root, asked), strict=True):
        unknown = set(document).difference(schema()["properties"])
        theirs = sorted({*said, *unknown} - {""}) if len(unknown) > 1 else said
        ours = sorted({path for path, _what in faults_of(document, schema())})
        if ours != theirs:
            found.append((document, theirs, ours))
    return found


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_same_verdicts_on_mutations(cloud_init_root: Path) -> None:
    """Whole documents, several keys each, spoilt at any depth; some of them are still good."""
    whole = json.loads((cloud_init_root / SCHEMA).read_text())
    asked = mutations(documents(whole), MUTATIONS)
    good = sum(1 for document in asked if not faults_of(document, schema()))
    assert 300 < good < MUTATIONS - 300
    assert differences(cloud_init_root, asked) == []


@pytest.mark.root
def test_same_values_are_called_deprecated(cloud_init_root: Path) -> None:
    """A value that the peer's schema takes and calls deprecated or changed is deprecated by ours."""
    whole = json.loads((cloud_init_root / SCHEMA).read_text())
    asked = [each for each in documents(whole) if not faults_of(each, schema())]
    old = told_as_old(cloud_init_root, asked)
    assert len([each for each in old if each]) > 40
    found = [
        (document, theirs, ours)
        for document, theirs in zip(asked, old, strict=True)
        if (ours := old_in_ours(document)) != theirs
    ]
    assert found == []


def old_in_ours(document: dict[str, Any]) -> list[str]:
    """The paths that ours calls deprecated, less those that it calls so on purpose."""
    return sorted({path for path, _text in deprecations_of(document, schema())} - OLD_ON_PURPOSE)


def test_the_differences_on_purpose_are_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/differences.md").read_text()
    for key in (*NOT_COMPARED, *OLD_ON_PURPOSE):
        assert f"| `{key}` |" in text, key


def told_as_old(root: Path, asked: list[dict[str, Any]]) -> list[list[str]]:
    """The paths that stock cloud-init tells as deprecated, for each document."""
    answer = subprocess.run(
        ["chroot", str(root), "python3", "-c", OLD],
        input="".join(f"{json.dumps(document)}\n" for document in asked),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.root
def test_same_top_level_keys(cloud_init_root: Path) -> None:
    whole = json.loads((cloud_init_root / SCHEMA).read_text())
    assert set(schema()["properties"]) == set(whole["properties"])
