"""Build, show, verify, extract, compare and convert config drives."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable

from guestling.output import add_format

_FILESYSTEMS = ("iso9660", "iso", "vfat", "dir")
_OUTPUTS = ("table", "json")
_DRIVE = "an image, a disk or a directory"


class _FormatOrFilesystem(argparse.Action):
    """`--format` of a command that writes a drive: a file system, or how to print; may be given for each."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 -- argparse's interface
        namespace: argparse.Namespace,
        value: object,
        option_string: str | None = None,  # noqa: ARG002 -- argparse's interface
    ) -> None:
        setattr(namespace, "format" if value in _OUTPUTS else "filesystem", value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands; each names the module and function that carries it out."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, text: str, carried_out_by: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(carried_out_by=carried_out_by)
        return added

    _build(command("build", "Build a drive: the same bytes every time.", "guestling.drive_build:build"))
    _convert(command("convert", "Write any drive in another format.", "guestling.drive_build:convert"))
    show = command("show", "Show what is on a drive.", "guestling.drive_read:show")
    verify = command("verify", "Say what a guest would trip over.", "guestling.drive_read:verify")
    extract = command("extract", "Unpack a drive into a new directory.", "guestling.drive_read:extract")
    diff = command("diff", "Say what differs; exit 1 if something does.", "guestling.drive_read:diff")
    for parser_of_one in (show, verify, extract):
        parser_of_one.add_argument("drive", help=_DRIVE)
    verify.add_argument("--lenient", action="store_true", help="a broken optional document is a warning")
    show.add_argument("path", nargs="?", help="print this file of the drive instead, byte for byte")
    extract.add_argument("-o", "--output", required=True, metavar="DIR", help="new, or empty")
    diff.add_argument("first", help=_DRIVE)
    diff.add_argument("second", help=_DRIVE)
    for reading in (show, verify, extract, diff):
        add_format(reading)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the sub-command. Returns 0 done, 1 what was asked for failed, 2 input error."""
    module, _, function = arguments.carried_out_by.partition(":")
    carry_out: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(module), function)
    return carry_out(arguments)


def _build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instance", nargs="?", help="an instance document, YAML or JSON")
    parser.add_argument(
        "--layout", choices=("openstack", "nocloud"), help="default: openstack, nocloud for plain files"
    )
    _writing(parser)
    openstack = parser.add_argument_group("OpenStack layout")
    openstack.add_argument(
        "--minimal", action="store_true", help="2012-08-10, 2018-08-27 and latest, no ec2/"
    )
    openstack.add_argument("--versions", metavar="V,V", help="only these versions, such as 2018-08-27,latest")
    openstack.add_argument("--no-ec2", action="store_true", help="leave ec2/ out")
    openstack.add_argument(
        "--fresh-seed", action="store_true", help="a new random_seed each time; the bytes then differ"
    )
    plain = parser.add_argument_group(
        "plain files instead of an instance document, as cloud-localds takes them"
    )
    plain.add_argument("--user-data", metavar="F", help="`-` is the standard input")
    plain.add_argument("--meta-data", metavar="F")
    plain.add_argument("-N", "--network-config", metavar="F")
    plain.add_argument("-V", "--vendor-data", metavar="F")
    plain.add_argument("-H", "--hostname", help="instead of --meta-data")
    plain.add_argument("-m", "--dsmode", choices=("local", "net"), help="instead of --meta-data")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("drive", help=_DRIVE)
    _writing(parser)


def _writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="`-` is the standard output")
    parser.add_argument(
        "--format",
        action=_FormatOrFilesystem,
        choices=(*_FILESYSTEMS, *_OUTPUTS),
        default="table",
        help="of the drive: iso9660 (default), vfat, dir; of what is printed: table (default), json",
    )
    parser.add_argument(
        "-f", "--filesystem", choices=_FILESYSTEMS, default="iso9660", help="same as --format"
    )
    parser.add_argument("--label", help="default: config-2, for NoCloud cidata")
    parser.add_argument("--size-mib", type=int, metavar="N", help="size of a vfat drive, 1 to 64 (default)")
    parser.add_argument("--gzip-base64", action="store_true", help="as one line of text, for Ironic")
