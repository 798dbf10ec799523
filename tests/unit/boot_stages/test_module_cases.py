"""Golden cases of the config modules: fixtures/modules/<name>/*.json, one test for each file.

A case is {"config": cloud-config, "facts": {"files", "distro", "have", "replies", "cloud"}} and what comes of
it: "plan" (the actions), "faults" (what had to be left out), or "error" (the module refuses).
`GUESTLING_GOLDEN=rewrite` (`./dev golden`) writes what came; read the diff before committing it.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from boot_stages.actions import to_json
from boot_stages.errors import StageError
from boot_stages.registry import MODULES, entry
from boot_stages.runner import plan_module
from boot_stages.schema import Undecodable

CASES = Path(__file__).parents[3] / "fixtures" / "modules"
FILES = sorted(CASES.glob("*/*.json"))
REWRITE = os.environ.get("GUESTLING_GOLDEN") == "rewrite"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_case(path: Any, make_guest: Any) -> None:
    case = json.loads(path.read_text())
    found = outcome(path.parent.name, case, make_guest)
    if REWRITE:
        kept = {name: case[name] for name in ("why", "config", "facts") if name in case}
        path.write_text(json.dumps({**kept, **found}, indent=1, ensure_ascii=False) + "\n")
        return
    assert found == {name: case[name] for name in ("plan", "faults", "error") if name in case}


def outcome(name: str, case: Any, make_guest: Any) -> Any:
    module = entry(name)
    assert module is not None, f"fixtures/modules/{name}: there is no such module"
    facts = {"system": case["config"], **case.get("facts", {})}
    try:
        plan, faults = plan_module(module, case["config"], make_guest(**facts).facts)
    except (StageError, Undecodable) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    found: dict[str, Any] = {"plan": [to_json(action) for action in plan]}
    if faults:
        found["faults"] = [str(fault) for fault in faults]
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_module_has_cases_and_one_that_must_fail(module: Any) -> None:
    names = [path.stem for path in FILES if path.parent.name == module.name]
    assert names, f"fixtures/modules/{module.name}/ holds no case"
    if module.keys:
        assert any(name.startswith("bad_") for name in names), f"{module.name} has no bad_*.json"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.stem.startswith("bad_")],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_bad_case_says_what_is_wrong(path: Any) -> None:
    case = json.loads(path.read_text())
    reports = [
        action["text"]
        for action in case.get("plan", ())
        if action["do"] == "Fail" or (action["do"] == "Report" and action["level"] in {"WARNING", "ERROR"})
    ]
    assert case.get("error") or case.get("faults") or reports
