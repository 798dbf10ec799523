"""Commands as one sh script: quoting, and a status that tells of every item."""

import subprocess

import pytest

from boot_stages.shell_script import checked_script, shell_script


def run(script: bytes) -> tuple[int, str, str]:
    done = subprocess.run(["/bin/sh", "-s"], input=script, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("word", ["it's", 'a "b"', "$HOME", "a b", "", "a\nb", "`id`"])
def test_words_reach_the_program_as_they_are(word: str) -> None:
    assert run(shell_script((("printf", "%s", word),)))[1] == word


def test_only_the_last_item_counts_in_the_plain_script() -> None:
    assert run(shell_script(("false", "true")))[0] == 0


@pytest.mark.parametrize(
    ("items", "status", "said"),
    [
        (("true", "true"), 0, ""),
        (("false", "true"), 1, "runcmd: item 1 failed with exit status 1\n"),
        (("true", ("sh", "-c", "exit 7"), "true"), 1, "runcmd: item 2 failed with exit status 7\n"),
        (("for x in 1 2; do", "echo $x >/dev/null", "done"), 0, ""),
        (("cat <<END >/dev/null\ntext\nEND",), 0, ""),
        (("exit 3", "true"), 3, ""),
    ],
)
def test_any_failed_item_counts_in_the_checked_script(
    items: tuple[str | tuple[str, ...], ...], status: int, said: str
) -> None:
    assert run(checked_script(items))[::2] == (status, said)


def test_all_items_are_run_and_see_the_status_before_them() -> None:
    assert run(checked_script(("false", "echo $?", "echo after")))[1] == "1\nafter\n"
