"""The module that docs/how-to/write-a-module.md shows works as it says."""

import json
import re
from pathlib import Path
from typing import Any

from boot_stages.actions import to_json

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "write-a-module.md"


def test_the_example_plans_what_its_case_says(make_guest: Any) -> None:
    text = PAGE.read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (case_text,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"__name__": "boot_stages.modules.motd"}
    exec(compile(source, str(PAGE), "exec"), names)
    module, case = names["MODULE"], json.loads(case_text)
    guest = make_guest(**case["facts"])
    plan = module.plan(module.config.read(case["config"], "", []), guest.facts)
    assert [to_json(action) for action in plan] == [
        {"do": "WriteFile", "path": "/etc/motd", "content": "hello\n"}
    ]
    for action in plan:
        guest.effects.apply(action)
    assert module.plan(module.config.read(case["config"], "", []), guest.facts) == ()
