"""The read-only view of a guest that plans are made from.

Everything is read when it is asked for, because an earlier module may have changed it. Paths are the guest's;
a root other than `/` is a tree looked at from outside.
"""

from __future__ import annotations

import os
import stat
import time

from boot_stages.commands import Command
from boot_stages.paths import below
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from boot_stages.commands import Answer, Commands
    from boot_stages.distros import Distro

READ_LIMIT = 16 * 1024 * 1024
NOWHERE = "/dev/null/nowhere"


class Account(Value):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str


class Cloud(Value):
    """What the datasource said, as modules need it. `name` is the datasource's class name in lower case."""

    instance_id: str
    name: str = "none"
    text: str = "DataSourceNone"
    local_hostname: str = ""
    public_keys: tuple[str, ...] = ()
    random_seed: bytes = b""
    availability_zone: str = ""
    region: str = ""
    is_fallback: bool = False
    device_names: tuple[tuple[str, str], ...] = ()
    # Where an encrypted password may be left for the instance's owner; '' where the source has no such place.
    password_url: str = ""


# The letters of an instance id that is a good directory name as it stands (GA-S05).
PLAIN_ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
PLAIN_ID_LENGTH = 128


def instance_directory_name(instance_id: str) -> str:
    """The name of an instance's directory: its id with `/` as `_`; a hash of an id that no path may hold."""
    name = instance_id.replace("/", "_")
    if name.strip(".") and len(name) <= PLAIN_ID_LENGTH and frozenset(PLAIN_ID).issuperset(name):
        return name
    import hashlib

    return "id-" + hashlib.sha256(instance_id.encode("utf-8", "surrogateescape")).hexdigest()[:32]


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Clock(Value):
    """The time handed to plans: seconds since 1970, and seconds since boot."""

    epoch_s: float
    uptime_s: float

    def rfc_2822(self) -> str:
        """As `Sun, 22 Nov 2026 12:00:00 +0000`: in English and UTC, whatever the locale."""
        moment = time.gmtime(self.epoch_s)
        day = f"{DAYS[moment.tm_wday]}, {moment.tm_mday:02d} {MONTHS[moment.tm_mon - 1]} {moment.tm_year}"
        return f"{day} {time.strftime('%H:%M:%S', moment)} +0000"


class Facts:
    """A guest as it is now: files, accounts, programs, the distribution, and the answers to questions."""

    def __init__(
        self,
        root: str,
        cloud: Cloud,
        distro: Distro,
        commands: Commands,
        *,
        clock: Callable[[], Clock],
        random_bytes: Callable[[int], bytes],
        render_jinja: Callable[[str, Mapping[str, object]], str],
        system: Mapping[str, object],
        stage: str = "",
        module: str = "",
        was_cut: bool = False,
    ) -> None:
        self.root = root
        self.cloud = cloud
        self.distro = distro
        self.clock = clock
        self.random_bytes = random_bytes
        # Raises ValueError with what is wrong and where in the template.
        self.render_jinja = render_jinja
        # The merged cloud-config as a whole: for the few modules that look at another one's keys.
        self.system = system
        self._commands = commands
        self._stage = stage
        self._module = module
        # An earlier run of this module ended in its middle: what a program has half done is to be mended.
        self.was_cut = was_cut

    def for_module(self, stage: str, module: str, *, was_cut: bool = False) -> Facts:
        """The same view; questions asked through it are recorded under this stage and module."""
        return Facts(
            self.root,
            self.cloud,
            self.distro,
            self._commands,
            clock=self.clock,
            random_bytes=self.random_bytes,
            render_jinja=self.render_jinja,
            system=self.system,
            stage=stage,
            module=module,
            was_cut=was_cut,
        )

    @property
    def system_info(self) -> dict[str, object]:
        """What the image says of itself: `system_info` of its cloud.cfg."""
        info = self.system.get("system_info")
        return dict(info) if isinstance(info, dict) else {}

    @property
    def instance_directory(self) -> str:
        """Where this instance's own files are."""
        return f"/var/lib/cloud/instances/{instance_directory_name(self.cloud.instance_id)}"

    def _place(self, path: str) -> str:
        """Where a guest path is on this machine; a path that can be none leads to nothing."""
        try:
            return below(self.root, path)
        except OSError:
            return NOWHERE

    def read_bytes(self, path: str) -> bytes | None:
        """The first 16 MiB of a regular file, or None when there is none or it cannot be read."""
        try:
            descriptor = os.open(self._place(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            with os.fdopen(descriptor, "rb") as file:
                return file.read(READ_LIMIT)
        except OSError:
            return None

    def read_text(self, path: str) -> str | None:
        """`read_bytes` as UTF-8; bytes that are not are kept as surrogates."""
        content = self.read_bytes(path)
        return None if content is None else content.decode("utf-8", "surrogateescape")

    def exists(self, path: str) -> bool:
        """Whether there is anything at a path, a dangling link included."""
        return os.path.lexists(self.root.rstrip("/") + path) or os.path.exists(self._place(path))

    def is_file(self, path: str) -> bool:
        """Whether a path leads to a regular file."""
        return os.path.isfile(self._place(path))

    def is_character_device(self, path: str) -> bool:
        """Whether a path leads to a character device."""
        try:
            return stat.S_ISCHR(os.stat(self._place(path)).st_mode)
        except OSError:
            return False

    def is_directory(self, path: str) -> bool:
        """Whether a path leads to a directory."""
        return os.path.isdir(self._place(path))

    def is_executable(self, path: str) -> bool:
        """Whether a path leads to a regular file that its owner may execute."""
        try:
            found = os.stat(self._place(path))
        except OSError:
            return False
        return os.path.isfile(self._place(path)) and bool(found.st_mode & 0o100)

    def link_target(self, path: str) -> str | None:
        """Where a symbolic link points, or None."""
        head, _, last = path.rpartition("/")
        try:
            return os.readlink(f"{self._place(head or '/').rstrip('/')}/{last}")
        except OSError:
            return None

    def resolve(self, path: str) -> str:
        """The guest path that a path leads to, all links followed."""
        if self.root == "/":
            return os.path.realpath(path)
        place = self._place(path)
        return path if place == NOWHERE else place[len(self.root) :] or "/"

    def mode(self, path: str) -> int | None:
        """The permission bits of a path, or None."""
        try:
            return os.stat(self._place(path)).st_mode & 0o7777
        except OSError:
            return None

    def owner(self, path: str) -> tuple[int, int] | None:
        """The user and group number of a path, or None."""
        try:
            found = os.stat(self._place(path))
        except OSError:
            return None
        return found.st_uid, found.st_gid

    def free_bytes(self, path: str) -> int:
        """Free space of the file system that holds a path, or will hold it; 0 when it cannot be asked."""
        while path != "/" and not self.exists(path):
            path = path.rpartition("/")[0] or "/"
        try:
            found = os.statvfs(self._place(path))
        except OSError:
            return 0
        return found.f_frsize * found.f_bfree

    def names_in(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; none when it is absent."""
        try:
            return tuple(sorted(os.listdir(self._place(path))))
        except OSError:
            return ()

    def accounts(self) -> tuple[Account, ...]:
        """Every well-formed line of /etc/passwd."""
        lines = (line.split(":") for line in (self.read_text("/etc/passwd") or "").splitlines())
        return tuple(
            Account(name, int(uid), int(gid), gecos, home, shell)
            for name, _password, uid, gid, gecos, home, shell in (line for line in lines if len(line) == 7)
            if uid.isdigit() and gid.isdigit()
        )

    def account(self, name: str) -> Account | None:
        """The account of that name."""
        return next((account for account in self.accounts() if account.name == name), None)

    def group_members(self) -> dict[str, tuple[str, ...]]:
        """Group name to the members that /etc/group lists."""
        groups = {}
        for line in (self.read_text("/etc/group") or "").splitlines():
            fields = line.split(":")
            if len(fields) == 4:
                groups[fields[0]] = tuple(member for member in fields[3].split(",") if member)
        return groups

    def group_numbers(self) -> frozenset[int]:
        """The numbers of the groups that /etc/group lists."""
        fields = (line.split(":") for line in (self.read_text("/etc/group") or "").splitlines())
        return frozenset(int(each[2]) for each in fields if len(each) == 4 and each[2].isdigit())

    def shadow_field(self, user: str) -> str | None:
        """The password field of /etc/shadow, or None when there is no such line."""
        for line in (self.read_text("/etc/shadow") or "").splitlines():
            fields = line.split(":")
            if len(fields) > 1 and fields[0] == user:
                return fields[1]
        return None

    def kernel_command_line(self) -> str:
        """/proc/cmdline without its newline."""
        return (self.read_text("/proc/cmdline") or "").strip()

    def which(self, name: str) -> str | None:
        """The path of a program, or None."""
        return self._commands.which(name)

    def ask(
        self, *argv: str, environment: tuple[tuple[str, str], ...] = (), timeout_s: float = 60.0
    ) -> Answer:
        """Run a command that changes nothing and give its answer (exit status 127 when it is missing)."""
        return self._commands.run(
            Command(
                argv,
                environment=environment,
                timeout_s=timeout_s,
                stage=self._stage,
                module=self._module,
                question=True,
            )
        )
