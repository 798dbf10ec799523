"""`apk_configure`: write /etc/apk/repositories on Alpine. It runs no command. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import WriteFile
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, key, nullable, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

PATH = "/etc/apk/repositories"
DEFAULT_BASE = "https://dl-cdn.alpinelinux.org/alpine"


class AlpineRepo(Keys):
    """The map below `alpine_repo`."""

    base_url: str = key("The mirror.", TEXT, default=DEFAULT_BASE)
    community_enabled: bool = key("Add the community repository.", BOOL, default=False)
    testing_enabled: bool = key(
        "Add the testing repository, which exists for edge only.", BOOL, default=False
    )
    version: str = key("The release, such as v3.22 or edge.", TEXT, default="", required=True)


class RepoKeys(Keys):
    """The map below `apk_repos`."""

    preserve_repositories: bool = key("Leave the file as it is.", BOOL, default=False)
    alpine_repo: AlpineRepo | None = key(
        "Alpine's own repositories.", nullable(record(AlpineRepo, minProperties=1)), default=None
    )
    local_repo_base_url: str = key("A repository of one's own, put last.", TEXT, default="")


class Config(Keys):
    """Keys of `apk_configure`."""

    apk_repos: RepoKeys = key(
        "Package repositories of Alpine.", record(RepoKeys, minProperties=1), default=RepoKeys()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The file, when it is not so yet."""
    repos = config.apk_repos
    alpine = repos.alpine_repo
    if repos.preserve_repositories or alpine is None or not alpine.version:
        return ()
    base = alpine.base_url or DEFAULT_BASE
    lines = [
        "# Written by guestling from 'apk_repos' of the cloud-config, once per instance.",
        f"{base}/{alpine.version}/main",
        *([f"{base}/{alpine.version}/community"] if alpine.community_enabled else []),
        *([f"{base}/edge/testing"] if alpine.testing_enabled else []),
        *([f"{repos.local_repo_base_url}/{alpine.version}"] if repos.local_repo_base_url else []),
    ]
    content = "".join(f"{line}\n" for line in lines).encode()
    return () if facts.read_bytes(PATH) == content else (WriteFile(PATH, content),)


MODULE = Module("apk_configure", Config, plan)
