"""The process in which one custom part handler lives: `part_handler_child.py FILE QUESTIONS ANSWERS`.

Started by `part_handlers.py`; needs nothing of the agent. Reads a JSON line from the descriptor QUESTIONS,
answers one on ANSWERS, until there are no more. Source of the handler's interface: spec 2.2.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import sys


def load(path: str) -> object:
    """The handler's module. Raises whatever its code raises."""
    spec = importlib.util.spec_from_file_location("part_handler", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def types_of(module: object) -> dict[str, object]:
    """What the module says of itself."""
    listed = module.list_types()  # type: ignore[attr-defined]  # the handler's interface
    return {"types": [str(kind) for kind in listed], "frequency": getattr(module, "frequency", None)}


def handle(module: object, question: dict[str, object]) -> None:
    """Call the handler with as many arguments as its version takes."""
    version = int(getattr(module, "handler_version", 1))
    payload = base64.b64decode(str(question["payload"])).decode("utf-8", "surrogateescape")
    arguments: list[object] = [None, question["type"], question["filename"], payload]
    if version >= 2:
        arguments.append(question["frequency"])
    if version >= 3:
        arguments.append(question["headers"])
    module.handle_part(*arguments)  # type: ignore[attr-defined]  # the handler's interface


def main() -> None:
    """Answer until the questions end."""
    path, questions, answers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    module: object = None
    with open(questions, "rb") as asked, open(answers, "wb", buffering=0) as told:
        for line in asked:
            question = json.loads(line)
            answer: dict[str, object] = {}
            try:
                if question["do"] == "load":
                    module = load(path)
                    answer = types_of(module)
                else:
                    handle(module, question)
            except BaseException as error:  # noqa: BLE001  # the edge of the child: a SystemExit counts, too
                answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
            told.write(json.dumps(answer).encode("ascii") + b"\n")


if __name__ == "__main__":
    main()
