"""Trees and strategies that the tests of configdrive share."""

from __future__ import annotations

import json
import os

from hypothesis import settings
from hypothesis import strategies as st

META_DATA = json.dumps({"uuid": "8f0a9c1e-1111-4222-8333-444455556666", "hostname": "web-1"}).encode()
TREE = {
    "openstack/latest/meta_data.json": META_DATA,
    "openstack/latest/user_data": b"#cloud-config\nusers: []\n" * 150,
    "openstack/latest/vendor_data.json": b"{}",
    "openstack/2018-08-27/meta_data.json": META_DATA,
    "openstack/content/0000": bytes(range(256)) * 10,
    "openstack/content/0001": b"",
    "openstack/" + "n" * 200: b"a name too long for a directory record",
}

LAST_CHARACTER = 0x10FFFF
# More by flag: GUESTLING_TREES=10000. No deadline: a busy machine is no fault of a tree.
MANY = settings(max_examples=int(os.environ.get("GUESTLING_TREES", "100")), deadline=None)


def paths(highest: int) -> st.SearchStrategy[str]:
    """Paths that both formats can hold: FAT forbids some characters and a dot or space at the end.

    U+FFFF is its filling. 7z takes U+EF80 to U+EFFF for bytes that are no UTF-8.
    """
    characters = st.characters(
        codec="utf-8",
        max_codepoint=highest,
        exclude_categories=("Cc", "Cs"),
        exclude_characters='/"*:<>?\\|\uffff' + "".join(map(chr, range(0xEF80, 0xF000))),
    )
    names = st.text(characters, min_size=1, max_size=60)
    usable = names.filter(lambda name: name[-1] not in ". " and bool(name.strip(".")))
    return st.lists(usable, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn, *, at_least: int = 0, highest: int = LAST_CHARACTER) -> dict[str, bytes]:
    """Trees without a path that is also a directory, and without names that differ by case only."""
    tree = draw(st.dictionaries(paths(highest), st.binary(max_size=5000), min_size=at_least, max_size=12))
    kept: dict[str, bytes] = {}
    spellings: dict[str, str] = {}
    for path, content in tree.items():
        steps = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
        clashes = any(spellings.get(step.upper(), step) != step for step in steps)
        nests = any(step in kept for step in steps) or any(other.startswith(f"{path}/") for other in kept)
        if not clashes and not nests:
            spellings.update({step.upper(): step for step in steps})
            kept[path] = content
    return kept
