"""The list of changed files on the console: read whole or not at all, compared path by path."""

from image_harness import changes

CONSOLE = (
    b"noise\r\n"
    b'GUESTLING-CHANGED {"path":"/etc/hostname","type":"regular file",'
    b'"mode":"644","owner":"0:0","content":"ab"}\r\n'
    b"[   4.1] a kernel message\r\n"
    b'GUESTLING-CHANGED {"path":"/etc/\\"x\\\\","type":"symbolic link",'
    b'"mode":"777","owner":"0:0","content":"t"}\r\n'
    b"GUESTLING-CHANGES 2\r\n"
)


def test_every_file_is_found_among_other_lines() -> None:
    files = changes.parse(CONSOLE)
    assert files is not None
    assert set(files) == {"/etc/hostname", '/etc/"x\\'}
    assert files["/etc/hostname"] == changes.Changed("/etc/hostname", "regular file", "644", "0:0", "ab")


def test_a_list_that_is_not_whole_is_none() -> None:
    assert changes.parse(CONSOLE.replace(b"CHANGES 2", b"CHANGES 3")) is None
    assert changes.parse(CONSOLE.replace(b"GUESTLING-CHANGES 2", b"")) is None
    assert changes.parse(CONSOLE.replace(b'"mode":"644",', b"")) is None
    assert changes.parse(b"") is None


def test_differences_name_the_path_and_both_sides() -> None:
    files = changes.parse(CONSOLE) or {}
    other = {**files, "/new": changes.Changed("/new", "directory", "755", "0:0", "")}
    del other["/etc/hostname"]
    assert changes.differences(files, other) == [
        "/etc/hostname: regular file 644 0:0 ab | absent",
        "/new: absent | directory 755 0:0 ",
    ]
    assert changes.differences(files, other, except_for=[r"/etc/.*", "/new"]) == []
    assert changes.differences(files, other, except_for=["/ne"]) != [], "a pattern matches whole paths"
    assert changes.differences(files, files) == []


def test_content_may_differ_where_mode_and_owner_may_not() -> None:
    file = changes.Changed("/run/x", "regular file", "644", "0:0", "aa")
    other_content = {"/run/x": changes.Changed("/run/x", "regular file", "644", "0:0", "bb")}
    other_mode = {"/run/x": changes.Changed("/run/x", "regular file", "600", "0:0", "aa")}
    ours = {"/run/x": file}
    assert changes.differences(ours, other_content) != []
    assert changes.differences(ours, other_content, except_content_of=["/run/.*"]) == []
    assert changes.differences(ours, other_mode, except_content_of=["/run/.*"]) != []
    assert changes.differences(ours, {}, except_content_of=["/run/.*"]) != []
