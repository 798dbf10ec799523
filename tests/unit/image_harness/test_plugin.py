"""The pytest plugin without a guest: marks, what is refused, who shares a guest, what happens on failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from image_harness.errors import BootFailed, InvalidMark
from image_harness.guest import Guest
from image_harness.guest_mark import Scope, Wanted, parse, parse_budget, variants
from image_harness.guest_pool import Pool
from image_harness.progress import Source
from metadata_server import faults
from tests.unit.image_harness.test_guest import Here

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[3]
SETTINGS = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


def test_the_mark_gives_a_guest_in_words_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_bytes(b"#cloud-config\n")
    arguments = {
        "image": "debian-13",
        "user_data": "web.yaml",
        "source": "nocloud",
        "keys": ["ssh-ed25519 A"],
    }
    wanted = parse({**arguments, "scope": "session", "timeout_s": 9}, tmp_path)
    expected = Wanted("debian-13", b"#cloud-config\n", Source.NOCLOUD, keys=("ssh-ed25519 A",))
    assert (wanted.image, wanted.user_data, wanted.source, wanted.keys) == (
        expected.image,
        expected.user_data,
        expected.source,
        expected.keys,
    )
    assert (wanted.scope, wanted.timeout_s) == (Scope.SESSION, 9.0)
    assert parse({"user_data": "#cloud-config\n{}"}, tmp_path).user_data == b"#cloud-config\n{}"
    assert parse({"user_data": b"\0"}, tmp_path).user_data == b"\0"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"img": "x"}, r"guest\(img\): no such argument. Use some of image, user_data,"),
        ({"image": ""}, r"guest\(image\): '' is not a name"),
        ({"source": "ec2"}, r"guest\(source\): 'ec2' is none. Use metadata, config-drive, nocloud."),
        ({"scope": 1}, r"guest\(scope\): 1 is none. Use session, module, function."),
        ({"user_data": "none.yaml"}, r"guest\(user_data\): .*none.yaml: No such file or directory."),
        ({"user_data": 3}, r"guest\(user_data\): int is not user data"),
        ({"keys": "ssh-rsa A"}, r"guest\(keys\): 'ssh-rsa A' is not a list"),
        ({"timeout_s": 0}, r"guest\(timeout_s\): 0 is no time"),
        ({"timeout_s": True}, r"guest\(timeout_s\): True is no time"),
        ({"faults": "none.yaml"}, r"guest\(faults\): .*none.yaml: No such file or directory."),
        ({"faults": [{"path": "*"}]}, r"guest\(faults\): .*a rule that does nothing"),
        ({"template": 1}, r"guest\(template\): 1 is neither true nor false"),
        ({"faults": 3}, r"guest\(faults\): int is not a fault script"),
    ],
)
def test_bad_marks_are_named(arguments: dict[str, object], fault: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidMark, match=fault):
        parse(arguments, tmp_path)


def test_a_fault_script_is_a_file_text_or_rules(tmp_path: Path) -> None:
    rules = [{"path": "/openstack", "status": 503, "first": 2}]
    (tmp_path / "f.yaml").write_text("rules: [{path: /openstack, status: 503, first: 2}]\n")
    for given in (rules, "f.yaml", (tmp_path / "f.yaml").read_bytes()):
        script = parse({"faults": given}, tmp_path).faults
        assert script is not None
        struck = faults.parse(script, "x")
        assert [struck.next("i", "/openstack") is not None for _ in range(3)] == [True, True, False]


def test_a_matrix_is_every_combination_with_a_name() -> None:
    found = variants(
        [{"image": ["tiny", "debian-13"]}, {"user_data": {"big": "b.yaml"}, "faults": [[], None]}]
    )
    assert [name for name, _ in found] == [
        "tiny-big-faults0", "tiny-big-faults1", "debian-13-big-faults0", "debian-13-big-faults1"
    ]  # fmt: skip
    assert found[2][1] == {"image": "debian-13", "user_data": "b.yaml", "faults": []}
    with pytest.raises(InvalidMark, match=r"guest\(img\): no such argument"):
        variants([{"img": ["x"]}])
    nothing: list[object] = [[], {}, "tiny"]
    for empty in nothing:
        with pytest.raises(InvalidMark, match=r"guest\(image\): .* lists no values"):
            variants([{"image": empty}])


@pytest.mark.parametrize("budget", [5, {"final": "5"}, {3: 5}, {"final": True}])
def test_a_budget_that_is_none_is_named(budget: object) -> None:
    assert parse_budget({"final": 5}) == {"final": 5.0}
    with pytest.raises(InvalidMark, match=r"guest\(budget\): "):
        parse_budget(budget)


class _Fake:
    """In the place of a LiveGuest: counts what is done with it."""

    report = Path("/nowhere")

    def __init__(self, log: list[str], wanted: Wanted) -> None:
        self._log, self._wanted = log, wanted

    def start(self) -> Guest:
        self._log.append(f"start {self._wanted.name}")
        if self._wanted.name == "broken":
            raise BootFailed("broken: not up")
        return Guest(Here())

    def keep(self, *, disk: bool) -> None:
        self._log.append(f"keep {self._wanted.name}{' with its disk' if disk else ''}")

    def kept_in_words(self) -> str:
        return f"kept {self._wanted.name}"

    def close(self) -> None:
        self._log.append(f"close {self._wanted.name}")


def _pool(log: list[str]) -> Pool:
    return Pool(lambda wanted, _: _Fake(log, wanted))


def test_who_wants_the_same_gets_the_same_guest() -> None:
    log: list[str] = []
    pool = _pool(log)
    first = pool.get(Wanted(name="a"), "test_x")
    assert pool.get(Wanted(name="a"), "test_x") is first
    assert pool.get(Wanted(name="b"), "test_x") is not first
    assert pool.keep(first) == "kept a"
    pool.close(keep=True)
    assert log == ["start a", "start b", "keep a with its disk", "keep b", "close b", "keep a", "close a"]


def test_a_guest_that_did_not_come_up_is_ended_and_not_tried_again() -> None:
    log: list[str] = []
    pool = _pool(log)
    for _ in range(2):
        with pytest.raises(BootFailed):
            pool.get(Wanted(name="broken"), "test_x")
    pool.close()
    assert log == ["start broken", "close broken"]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makefile(".ini", pytest=SETTINGS)
    return pytester


def _run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "image_harness.plugin", "--strict-markers", *arguments)


def test_the_mark_and_the_fixture_are_known(project: pytest.Pytester) -> None:
    _run(project, "--markers").stdout.fnmatch_lines(["@pytest.mark.guest(image='tiny', *"])
    _run(project, "--fixtures").stdout.fnmatch_lines(["guest -- *", "    The guest that the mark `guest` *"])


def test_an_image_that_is_none_and_a_mark_that_is_none_are_errors_that_say_so(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.guest(image="nope")
        def test_image(guest): pass

        @pytest.mark.guest(source="nope")
        def test_source(guest): pass
        """
    )
    result = _run(project)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "*UnknownImage: nope: no such image. Known here: *",
            "*InvalidMark: guest(source): 'nope' is none. *",
        ]
    )


def test_the_nearest_mark_wins_and_the_others_add_up(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from image_harness.plugin import wanted_by

        pytestmark = pytest.mark.guest(name="web", source="nocloud")

        class TestThem:
            pytestmark = pytest.mark.guest(source="config-drive", image="debian-13")

            @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.guest(image="tiny"))])
            def test_one(self, request, x):
                wanted = wanted_by(request.node)
                assert (wanted.name, wanted.source.value, wanted.image) == ("web", "config-drive", "tiny")
        """
    )
    _run(project).assert_outcomes(passed=1)


def test_a_matrix_multiplies_tests_and_keeps_variants_together(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from image_harness.plugin import wanted_by

        pytestmark = pytest.mark.guest_matrix(source=["metadata", "nocloud"])
        SEEN = []

        @pytest.mark.guest(source="config-drive", name="web")
        @pytest.mark.usefixtures("_guest_variant")
        class TestThem:
            def test_one(self, request):
                SEEN.append(("one", wanted_by(request.node).source.value, wanted_by(request.node).name))

            def test_two(self, request):
                SEEN.append(("two", wanted_by(request.node).source.value, wanted_by(request.node).name))

        def test_seen():
            order = [("one", "metadata"), ("two", "metadata"), ("one", "nocloud"), ("two", "nocloud")]
            assert SEEN == [(test, source, "web") for test, source in order]
        """
    )
    result = _run(project, "-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*TestThem::test_one?metadata? PASSED*"])


def test_loading_the_plugin_costs_nothing() -> None:
    heavy = "('aiohttp', 'msgspec', 'spawner')"
    code = f"import sys, image_harness.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
