"""Merges and user data, compared with cloud-init itself (Debian sid's package, unpacked below .cache).

What differs on purpose stands in docs/decisions/0041 and 0045, and is not generated here.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from guest_agent import merge
from guest_agent.errors import AgentError
from guest_agent.parts import expand
from tests.contract.network import cloud_init
from tests.contract.network.tool_root import Unavailable

ANSWERS = Path(__file__).with_name("peer_answers.py")
CASES = 1500


@pytest.fixture(scope="session")
def peer() -> list[str]:
    """The command that answers as cloud-init; the package is fetched once."""
    try:
        python, packages = cloud_init._peer()
    except Unavailable as error:
        pytest.skip(str(error))
    return [str(python), str(ANSWERS), str(packages)]


def asked(peer: list[str], questions: list[dict[str, Any]]) -> list[Any]:
    answer = subprocess.run(
        peer, input=json.dumps(questions), capture_output=True, text=True, check=True, timeout=100
    )
    found = json.loads(answer.stdout)
    assert isinstance(found, list)
    return found


OPTIONS = {
    "dict": ["replace", "no_replace", "recurse_str", "recurse_list", "recurse_array", "allow_delete"],
    "list": ["append", "prepend", "no_replace", "replace", "recurse_dict", "recurse_list", "recurse_str"],
    "str": ["append"],
}


def some_value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if depth < 3 and kind < 0.3:
        return {dice.choice("abcd"): some_value(dice, depth + 1) for _ in range(dice.randint(0, 3))}
    if depth < 3 and kind < 0.55:
        return [some_value(dice, depth + 1) for _ in range(dice.randint(0, 3))]
    return dice.choice(["x", "yy", "", None, 1, True, 2.5])


def some_spec(dice: random.Random) -> Any:
    names = dice.sample(list(OPTIONS), dice.randint(1, 3))
    chosen = [
        (name, dice.sample(OPTIONS[name], dice.randint(0, min(3, len(OPTIONS[name]))))) for name in names
    ]
    form = dice.random()
    if form < 0.15:
        return [{"name": name, "settings": options} for name, options in chosen]
    if form < 0.3:
        return [[name, *options] for name, options in chosen]
    return "+".join(f"{name}({','.join(options)})" for name, options in chosen)


def some_parts(dice: random.Random) -> dict[str, Any]:
    parts = []
    for _ in range(dice.randint(2, 4)):
        value = {dice.choice("abcd"): some_value(dice, 1) for _ in range(dice.randint(1, 4))}
        if dice.random() < 0.7:
            value["merge_how"] = some_spec(dice)
        spec = some_spec(dice)
        parts.append(
            {"value": value, "header": spec if isinstance(spec, str) and dice.random() < 0.3 else ""}
        )
    return {"parts": parts}


def test_merges_come_out_as_in_cloud_init(peer: list[str]) -> None:
    dice = random.Random(20260101)
    questions = [some_parts(dice) for _ in range(CASES)]
    compared = 0
    for question, answer in zip(questions, asked(peer, questions), strict=True):
        if "fails" in answer:
            continue  # a merge that crashes there (a mapping onto a list, by index) keeps the old value here
        layers = [
            merge.Layer(f"part {number}", part["value"], header=part["header"])
            for number, part in enumerate(question["parts"])
        ]
        assert merge.merge_parts(layers).value == answer["parts"], question
        plain = [merge.Layer(layer.name, layer.value) for layer in layers]
        assert merge.merge_config(plain).value == answer["config"], question
        compared += 1
    assert compared > CASES * 0.9


BODIES = (
    "#cloud-config\nruncmd: [ls]\n", "#!/bin/sh\necho hi\n", "hello", "", "#cloud-boothook\nx\n",
    "  \n#!/bin/sh\n",
    "#cloud-config-archive\n- '#!/bin/sh'\n- {content: 'a: 1', filename: q, launch-index: 3}\n",
    "#cloud-config\nlaunch-index: 2\n", "#part-handler\n", "## template: jinja\n#cloud-config\n",
    "a\r\nb\r\n",
)  # fmt: skip
TYPES = (
    "text/cloud-config", "text/plain", "text/x-shellscript", "TEXT/X-Shellscript", "text/x-not-multipart",
    "text/cloud-boothook", "application/octet-stream", "text/cloud-config-archive", "application/x-gzip",
    "text/x-shellscript-per-boot", "junk", "text/jinja2",
)  # fmt: skip
PARAMETERS = (
    "",
    "",
    '; charset="utf-8"',
    '; name="n a.sh"',
    "; name=x",
    ";name*=utf-8''%41b",
    ';n*0="a";n*1=b',
)
NAMES = ("", "", '; filename="f.sh"', "; filename=a/b", "; filename*=UTF-8'en'%20x%20", '; filename="a; b"')


def some_leaf(dice: random.Random, end: str) -> str:
    headers = []
    if dice.random() < 0.85:
        headers.append(f"Content-Type: {dice.choice(TYPES)}{dice.choice(PARAMETERS)}")
    if dice.random() < 0.3:
        headers.append(f"Content-Disposition: attachment{dice.choice(NAMES)}")
    if dice.random() < 0.2:
        headers.append(f"Launch-Index: {dice.choice('12x')}")
    body = dice.choice(BODIES)
    if dice.random() < 0.25:
        raw = gzip.compress(body.encode()) if dice.random() < 0.4 else body.encode()
        body = base64.encodebytes(raw).decode()
        headers.append("Content-Transfer-Encoding: base64")
    return end.join([*headers, "", body])


def some_document(dice: random.Random, depth: int = 0, end: str = "\n") -> str:
    boundary = f"B{depth}"
    head = [f'Content-Type: multipart/mixed; boundary="{boundary}"', "", ""]
    text = end.join(["MIME-Version: 1.0", *head] if depth == 0 else head)
    for _ in range(dice.randint(0, 4)):
        inner = depth < 2 and dice.random() < 0.2
        part = some_document(dice, depth + 1, end) if inner else some_leaf(dice, end)
        text += f"--{boundary}{end}{part}{end}"
    return text + (f"--{boundary}--{end}" if dice.random() < 0.9 else "")


def some_blob(dice: random.Random) -> bytes:
    end = dice.choice(["\n", "\r\n"])
    text = some_document(dice, 0, end) if dice.random() < 0.85 else dice.choice(BODIES)
    return gzip.compress(text.encode()) if dice.random() < 0.1 else text.encode()


def test_user_data_comes_apart_as_in_cloud_init(peer: list[str]) -> None:
    dice = random.Random(20260102)
    blobs = [some_blob(dice) for _ in range(CASES)]
    questions = [{"user_data": base64.b64encode(blob).decode()} for blob in blobs]
    for blob, answer in zip(blobs, asked(peer, questions), strict=True):
        try:
            parts = expand(blob).parts
        except AgentError:
            assert answer == "fails", blob
            continue
        found = [[part.type, part.filename, base64.b64encode(part.payload).decode()] for part in parts]
        assert found == answer, blob
