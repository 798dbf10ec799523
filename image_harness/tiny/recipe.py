"""What the tiny guest is made of: packages, the files kept of each, and the modes of its own files."""

from __future__ import annotations

SUITE = "bookworm"
KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
PYTHON = "python3.11"

# Package -> what is kept of it, as patterns of paths in a merged /usr; everything else of it is left out.
# Neither TLS nor SQLite nor curses for Python: nothing in this guest speaks to the world outside its host.
KEPT: dict[str, tuple[str, ...]] = {
    "busybox-static": ("usr/bin/busybox",),
    "libc6": (
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib/x86_64-linux-gnu/libm.so.6",
    ),
    f"{PYTHON}-minimal": (f"usr/bin/{PYTHON}",),
    f"lib{PYTHON}-minimal": (f"usr/lib/{PYTHON}/*",),
    f"lib{PYTHON}-stdlib": (f"usr/lib/{PYTHON}/*",),
    "python3-yaml": ("usr/lib/python3/dist-packages/*",),
    "python3-jinja2": ("usr/lib/python3/dist-packages/jinja2/*",),
    "python3-markupsafe": ("usr/lib/python3/dist-packages/markupsafe/*",),
    "passwd": (
        "usr/bin/passwd", "usr/sbin/useradd", "usr/sbin/usermod", "usr/sbin/userdel",
        "usr/sbin/groupadd", "usr/sbin/groupmod", "usr/sbin/groupdel", "usr/sbin/chpasswd",
        "usr/sbin/pwconv", "usr/sbin/grpconv",
    ),
    "openssh-client": ("usr/bin/ssh-keygen",),
    "libssl3": ("*/libcrypto.so.3",),
    "libexpat1": ("*/libexpat.so.1*",),
    "zlib1g": ("*/libz.so.1*",),
    "libbz2-1.0": ("*/libbz2.so.1*",),
    "liblzma5": ("*/liblzma.so.5*",),
    "libyaml-0-2": ("*/libyaml-0.so.2*",),
    "libcrypt1": ("*/libcrypt.so.1*",),
    "libpam0g": ("*/libpam.so.0*", "*/libpam_misc.so.0*"),
    "libselinux1": ("*/libselinux.so.1*",),
    "libpcre2-8-0": ("*/libpcre2-8.so.0*",),
    "libsemanage2": ("*/libsemanage.so.2*",),
    "libsepol2": ("*/libsepol.so.2*",),
    "libaudit1": ("*/libaudit.so.1*",),
    "libcap-ng0": ("*/libcap-ng.so.0*",),
}  # fmt: skip

# Parts of Python that a boot has no use for, below its library directory.
PYTHON_LEFT_OUT = (
    "__phello__", "_aix_support.py", "_bootsubprocess.py", "_osx_support.py", "_pydecimal.py",
    "_pyio.py", "_sysconfigdata_*", "aifc.py", "antigravity.py", "asynchat.py", "asyncore.py",
    "cProfile.py", "cgi*.py", "chunk.py", "colorsys.py", "ctypes", "curses", "dbm", "distutils",
    "doctest.py", "ensurepip", "ftplib.py", "idlelib", "imaplib.py", "lib2to3", "mailbox.py",
    "nntplib.py", "pdb.py", "poplib.py", "profile.py", "pstats.py", "pydoc.py", "pydoc_data",
    "smtpd.py", "sqlite3", "sunau.py", "telnetlib.py", "test", "this.py", "tkinter", "turtle.py",
    "turtledemo", "unittest", "venv", "wave.py", "webbrowser.py", "wsgiref", "xdrlib.py", "xmlrpc",
    "*.txt", "EXTERNALLY-MANAGED",
)  # fmt: skip

# Compiled parts of Python that are kept; the others need libraries that the guest does not carry, or are
# asked for by nobody.
PYTHON_EXTENSIONS = (
    "_asyncio", "_bz2", "_contextvars", "_crypt", "_decimal", "_json", "_lzma", "_multiprocessing",
    "_posixshmem", "_queue", "_typing", "_zoneinfo", "mmap", "resource", "termios",
)  # fmt: skip

# Loaded by /init in one go; what they depend on comes with them.
MODULES_AT_BOOT = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "virtio_rng")
# Loaded by the kernel when a drive is mounted.
MODULES_ON_DEMAND = (
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "nls_utf8",
    "sr_mod",
    "virtio_scsi",
)

# Loaded by /init in a guest that stays up.
MODULES_OF_POWER_BUTTON = ("button", "evdev")

MODULES = (*MODULES_AT_BOOT, *MODULES_ON_DEMAND, *MODULES_OF_POWER_BUTTON)

# For guests that work on images of others; they are not in the tiny guest itself, which they would slow down.
MODULES_OF_FILE_SYSTEMS = ("xfs", "btrfs")

# Busybox programs that would lie about the guest: it has no package manager, and /init is ours.
APPLETS_LEFT_OUT = ("busybox", "dpkg", "dpkg-deb", "rpm", "rpm2cpio", "init", "linuxrc", "passwd")

LINKS = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/bin/python3": PYTHON,
    "etc/mtab": "/proc/mounts",
    "var/run": "/run",
}  # fmt: skip

DIRECTORIES = {
    ".": 0o755, "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "mnt": 0o755, "srv": 0o755,
    "home": 0o755,
    "root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "var/log": 0o755, "var/lib": 0o755, "var/cache": 0o755,
    "etc/cloud/cloud.cfg.d": 0o755, "etc/ssh": 0o755, "etc/cloud/templates": 0o755, "etc/sudoers.d": 0o750,
    "etc/network/interfaces.d": 0o755, "etc/network/if-up.d": 0o755, "etc/network/if-down.d": 0o755,
    "etc/network/if-pre-up.d": 0o755, "etc/network/if-post-down.d": 0o755, "usr/local/bin": 0o755,
}  # fmt: skip

# Modes of files below root/ that are not plain 0644, and the group that owns them.
MODES = {
    "init": 0o755,
    "etc/shadow": 0o640,
    "etc/sudoers": 0o440,
    "etc/gshadow": 0o640,
    "usr/bin/bash": 0o755,
    "usr/local/sbin/chpasswd": 0o755,
    "etc/udhcpc/default.script": 0o755,
    "etc/acpi/PWRF/00000080": 0o755,
    "usr/share/guestling/tree": 0o755,
}
SHADOW_GROUP = 42
SHADOW_FILES = ("etc/shadow", "etc/gshadow")
