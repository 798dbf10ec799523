"""The reference pages of the modules, made from their declarations: modules.md and a page for each.

`./dev golden` writes them, a test holds the committed ones equal. A guest never imports this.
"""

from __future__ import annotations

import sys

from boot_stages.reference_examples import EXAMPLES
from boot_stages.registry import MODULES, Later
from boot_stages.stages import DEFAULT_MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from boot_stages.registry import Entry
    from boot_stages.schema import Key, Schema

MADE = "<!-- Made by `./dev golden` from the module; change that instead. -->"
INTRODUCTION = """\
The built-in order; an image's cloud.cfg usually has its own lists. A module whose keys are not set is not
even imported, where the table of `boot_stages/registry.py` says that a key activates it.

How each is tested (tests/contract/modules, tests/contract/agent); the keys of every module are held against
stock cloud-init's schema as well:

- cases: golden plans (fixtures/modules), Fedora, RHEL and Ubuntu by recorded commands.
- chroot: the plan is carried out by the real tools in Debian 12 and 13, and all that has changed is in the
  plan (fixtures/effects).
- Alpine: the same in a root of Alpine 3.23 (fixtures/alpine).
- program: the program that the module serves takes what it wrote (fixtures/programs).
- disk: real partitions, file systems, mounts and swap on loop devices (fixtures/disks).
- side by side: stock cloud-init does the same in a copy of the same guest (fixtures/differential).
"""
STAGES = {"cloud_init_modules": "network", "cloud_config_modules": "config", "cloud_final_modules": "final"}


def stage_of(name: str) -> str:
    """In which stage a module runs by default."""
    return next(STAGES[key] for key, names in DEFAULT_MODULES.items() if name in names)


def families_of(entry: Entry) -> str:
    """The distributions of a module, in words."""
    return ", ".join(entry.families) or "all"


def table(tested: Mapping[str, Sequence[str]]) -> str:
    """Every module in the order in which a boot runs them, with how it is tested."""
    rows = [
        "| Module | Stage | Frequency | Distributions | Keys | Tested by |",
        "|---|---|---|---|---|---|",
    ]
    by_name = {entry.name: entry for entry in MODULES}
    for names in DEFAULT_MODULES.values():
        rows.extend(_row(by_name[name], ", ".join(tested.get(name, ()))) for name in names)
    return f"# Config modules\n\n{MADE}\n\n{INTRODUCTION}\n" + "\n".join(rows) + "\n"


def _row(entry: Entry, tested: str) -> str:
    name = entry.name if isinstance(entry, Later) else f"[{entry.name}](modules/{entry.name}.md)"
    keys = ", ".join(f"`{key}`" for key in entry.keys) or "-"
    if isinstance(entry, Later):
        tested = "not supported: a warning says so"
    words = (name, stage_of(entry.name), entry.frequency, families_of(entry), keys, tested)
    return "| " + " | ".join(words) + " |"


def page(entry: Entry) -> str:
    """The page of one module."""
    entry.load()
    return "\n".join(
        [
            f"# {entry.name}",
            "",
            MADE,
            "",
            _about(entry),
            "",
            *_facts(entry),
            "",
            "## Example",
            "",
            "```yaml",
            f"#cloud-config\n{EXAMPLES[entry.name]}```",
            "",
            "## Keys",
            "",
            *_keys(entry),
            "",
        ]
    )


def _about(entry: Entry) -> str:
    """The module's own words, without its name in front and its source behind."""
    words = " ".join((sys.modules[f"boot_stages.modules.{entry.name}"].__doc__ or "").split())
    words = words.partition(": ")[2].partition(" Source: ")[0]
    return words[:1].upper() + words[1:]


def _facts(entry: Entry) -> list[str]:
    runs = "when one of these keys is set: " + ", ".join(f"`{key}`" for key in entry.activated_by)
    return [
        f"- Stage: {stage_of(entry.name)}",
        f"- Frequency: {entry.frequency}",
        f"- Distributions: {families_of(entry)}",
        f"- Runs: {runs if entry.activated_by else 'always'}",
    ]


def _keys(entry: Entry) -> list[str]:
    config = entry.load().config
    if not config.KEYS:
        return ["This module reads no keys."]
    rows = ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    for key in config.KEYS:
        rows.append(_key_row(key))
        if key.deprecated:
            continue
        rows.extend(_below(key.spellings()[0], key.kind.schema()))
    return rows


def _key_row(key: Key) -> str:
    first, *others = key.spellings()
    also = f" Also spelled {', '.join(f'`{name}`' for name in others)}." if others else ""
    old = f" Deprecated: {key.deprecated}" if key.deprecated else ""
    cells = (words_of(key.kind.schema()), _default(key.value), key.text + also + old)
    return f"| `{first}` | " + " | ".join(_cell(cell) for cell in cells) + " |"


def _default(value: object) -> str:
    """A default as it would be written; `-` where there is none worth writing."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple) and value and all(isinstance(each, str) for each in value):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, (int, str)) and value != "":
        return f"`{value}`" if len(str(value)) < 60 else "see the meaning"
    return "-"


def _below(path: str, schema: Schema) -> Iterator[str]:
    """Rows for the keys of a map, of the items of a list, or of named maps below a key."""
    if isinstance(schema.get("items"), dict):
        yield from _below(f"{path}[]", schema["items"])
    for inner in schema.get("patternProperties", {}).values():
        yield from _below(f"{path}.NAME", inner)
    for alternative in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if isinstance(alternative, dict) and (alternative.get("properties") or alternative.get("items")):
            yield from _below(path, alternative)
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        if inner.get("deprecated") and name not in required:
            continue
        meaning = inner.get("description", "") + (" Required." if name in required else "")
        default = _default(inner.get("default", ""))
        yield f"| `{path}.{name}` | {_cell(words_of(inner))} | {_cell(default)} | {_cell(meaning)} |"
        yield from _below(f"{path}.{name}", inner)


def words_of(schema: Schema) -> str:
    """A JSON schema as people say it: `text`, `list of text`, `true or false`."""
    if "enum" in schema:
        return " or ".join(
            f"`{str(word).lower() if isinstance(word, bool) else word}`" for word in schema["enum"]
        )
    for word in ("oneOf", "anyOf"):
        if word in schema and not schema.get("properties"):
            parts = dict.fromkeys(words_of(each) for each in schema[word])
            return " or ".join(part for part in parts if part != "anything") or "anything"
    kinds = schema.get("type", "anything")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_kind(kind, schema) for kind in kinds)


def _kind(kind: str, schema: Schema) -> str:
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list of {words_of(schema['items'])}"
    words = {
        "string": "text",
        "integer": "number",
        "boolean": "true or false",
        "array": "list",
        "object": "map",
        "null": "null",
    }
    return words.get(kind, kind)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def pages(tested: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """File name, seen from docs/reference, to content; `tested` says for each module how."""
    made = {"modules.md": table(tested)}
    for entry in MODULES:
        if not isinstance(entry, Later):
            made[f"modules/{entry.name}.md"] = page(entry)
    return made
