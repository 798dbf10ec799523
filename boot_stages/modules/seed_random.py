"""`seed_random`: give the kernel randomness from the config and from the cloud, then run a command for more.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

import zlib

from boot_stages.actions import AppendFile, Fail, FeedDevice, RunCommand, warn
from boot_stages.errors import ModuleFailed
from boot_stages.file_items import CONTENT, decode
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, key, list_of, one_of, record
from boot_stages.value import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


class SeedKeys(Keys):
    """The map below `random_seed`."""

    file: str = key("Where the seed is written.", TEXT, default="/dev/urandom")
    data: bytes = key("The seed.", CONTENT, default=b"")
    encoding: str = key("How `data` is encoded.", one_of("raw", "base64", "b64", "gzip", "gz"), default="raw")
    command: tuple[str, ...] = key(
        "A command for more; it finds the file's name in RANDOM_SEED_FILE.", list_of(TEXT), default=()
    )
    command_required: bool = key("Fail when the command is not installed.", BOOL, default=False)


class Config(Keys):
    """Keys of `seed_random`."""

    random_seed: SeedKeys = key("Randomness for the kernel's pool.", record(SeedKeys), default=SeedKeys())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The data, the cloud's seed behind it, then the command."""
    seed = config.random_seed
    try:
        data = seed.data if seed.encoding == "raw" else decode(seed.data, seed.encoding)
    except (ValueError, zlib.error) as error:
        raise ModuleFailed(f"random_seed.data is not {seed.encoding}: {error}") from error
    return (*_feed(data + facts.cloud.random_seed, seed.file, facts), *_command(seed, facts))


def _feed(data: bytes, path: str, facts: Facts) -> tuple[Action, ...]:
    if not data:
        return ()
    if facts.is_character_device(path):
        return (FeedDevice(path, Secret(data)),)
    return (AppendFile(path, Secret(data), 0o600),)


def _command(seed: SeedKeys, facts: Facts) -> tuple[Action, ...]:
    if not seed.command:
        if seed.command_required:
            return (Fail("random_seed.command_required is true, and there is no command"),)
        return ()
    if facts.which(seed.command[0]) is None:
        if not seed.command_required:
            return ()
        text = f"random_seed.command: {seed.command[0]} is not installed. Install it, or leave it out"
        return (warn(text), Fail(text))
    environment = (("RANDOM_SEED_FILE", seed.file),)
    return (RunCommand(seed.command, environment=environment, show=True, opaque=True),)


MODULE = Module("seed_random", Config, plan)
