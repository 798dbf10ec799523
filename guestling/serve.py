"""Serve instance metadata: OpenStack, EC2 (with IMDSv2) and NoCloud over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from instance_metadata.secret import Secret
    from metadata_server.app import Settings
    from metadata_server.limiter import Rate
    from metadata_server.listener import Listener
    from metadata_server.service import Config

MODES = ("source-ip", "mac", "socket", "proxy", "lb", "path")
LISTEN_KEYS = ("identity", "instance", "network")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; docs/reference/metadata.md describes them."""
    parser.add_argument(
        "--instances", required=True, metavar="FILE|DIR|URL", help="instance documents, or a store"
    )
    parser.add_argument(
        "--listen",
        action="append",
        metavar="ADDR:PORT|unix:PATH[,identity=MODE][,instance=UUID][,network=NAME]",
        help="where to listen; may be given several times",
    )
    parser.add_argument(
        "--identity", choices=MODES, default="source-ip", help="how guests are known (source-ip)"
    )
    parser.add_argument(
        "--check", action="store_true", help="read the documents, report faults, serve nothing"
    )
    _add_trust(parser.add_argument_group("trust"))
    _add_documents(parser.add_argument_group("documents"))
    _add_process(parser.add_argument_group("process"))
    output.add_format(parser)


def _add_trust(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--secret-file", type=Path, help="shared secrets for proxy and lb, one a line")
    group.add_argument(
        "--trusted-proxy", action="append", default=[], metavar="NETWORK", help="believe its X-Forwarded-For"
    )
    group.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="a further Host that is allowed"
    )
    group.add_argument(
        "--neutron-safe", action="store_true", help="send only statuses that Neutron's agent knows"
    )
    group.add_argument("--token-key-file", type=Path, help="IMDSv2 keys, one a line, the first one signs")
    group.add_argument(
        "--tokens-everywhere", action="store_true", help="tokens for the OpenStack tree as well"
    )
    group.add_argument("--rate-limit", metavar="PER_SECOND:BURST", help="requests of one instance (off)")


def _add_documents(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--ec2-profile", choices=("nova", "aws"), default="nova")
    group.add_argument("--no-ec2", action="store_true", help="leave the EC2 tree out")
    group.add_argument("--nocloud", action="store_true", help="serve /nocloud/ as well")
    group.add_argument("--legacy-methods", action="store_true", help="treat any method as GET, as Nova does")
    group.add_argument("--vendor-data", type=Path, metavar="JSON", help="static vendor data of all instances")
    group.add_argument("--vendor-data-target", action="append", default=[], metavar="NAME@URL")
    group.add_argument("--vendor-data-fatal", action="store_true", help="503 when a target fails")
    group.add_argument(
        "--vendor-data-allow", action="append", default=[], metavar="NETWORK", help="local targets"
    )
    group.add_argument("--vendor-data-merge", action="store_true", help="lift a `cloud-init` key to the top")
    group.add_argument("--max-user-data", type=int, metavar="BYTES", help="limit of user data (49149)")
    group.add_argument(
        "--sign-identity",
        type=Path,
        metavar="DIR",
        help="sign identity documents with the test key kept here",
    )
    group.add_argument("--reports", action="store_true", help="let guests POST to x_report")
    group.add_argument("--faults", type=Path, metavar="FILE", help="misbehave as this script says")


def _add_process(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that share the addresses"
    )
    group.add_argument("--loop", choices=("auto", "asyncio", "uvloop"), default="auto")
    group.add_argument("--state", type=Path, metavar="DIR", help="keep guests' passwords here")
    group.add_argument("--admin", metavar="unix:PATH", help="health, metrics, documents")
    group.add_argument(
        "--access-log", type=Path, metavar="FILE", help="a JSON line for each request, '-' for stdout"
    )
    group.add_argument("--server-name", metavar="TEXT", help="the Server header (none; EC2ws for aws)")
    group.add_argument("--user", help="become this user after binding")
    group.add_argument("--stay-root", action="store_true", help="run as root on purpose")


def run(arguments: argparse.Namespace) -> int:
    """Serve until TERM; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)

    def carry_out() -> int:
        config = _config(arguments)
        if arguments.check:
            return _check(config, arguments.format)
        return _serve(config, arguments)

    return _status(carry_out)


def _status(carry_out: Callable[[], int]) -> int:
    """What it gives; 2 when something was asked for wrongly, 1 when it cannot be done; the reason is told."""
    from instance_metadata.errors import InvalidInstance
    from metadata_server.errors import BadListener, MetadataServerError

    try:
        return carry_out()
    except (BadListener, InvalidInstance) as fault:
        output.complain(f"guestling serve: {fault}")
        return 2
    except MetadataServerError as failure:
        output.complain(f"guestling serve: {failure}")
        return 1


def _check(config: Config, form: str) -> int:
    from metadata_server import service

    documents, count = service.check(config)
    faults = documents.all_faults()
    if form == "json":
        output.print_json({"instances": count, "faults": [str(fault) for fault in faults]})
    else:
        output.complain(*faults)
        output.print_pairs({"good instances": count, "faults": len(faults)})
    return 1 if faults else 0


def _serve(config: Config, arguments: argparse.Namespace) -> int:
    from metadata_server import workers

    def ready(addresses: tuple[str, ...]) -> None:
        if arguments.format == "json":
            output.print_json({"listening": list(addresses), "workers": arguments.workers})
        else:
            print(f"listening on {', '.join(addresses)}")
        sys.stdout.flush()

    if arguments.workers == 1:
        return _work(config, arguments, 0, ready)
    return workers.run(arguments.workers, lambda number, tell: _work(config, arguments, number, tell), ready)


def _work(
    config: Config, arguments: argparse.Namespace, number: int, ready: Callable[[tuple[str, ...]], None]
) -> int:
    """One process that serves: with several, a failure ends it with a status of its own."""
    from dataclasses import replace

    from metadata_server.service import Service

    if config.admin is not None and arguments.workers > 1:
        config = replace(config, admin=f"{config.admin}.{number + 1}")

    async def serve() -> None:
        await Service(config).run(ready)

    def carry_out() -> int:
        _loop_runner(arguments.loop)(serve())
        return 0

    return _status(carry_out)


def _loop_runner(wanted: str) -> Callable[[Coroutine[None, None, None]], None]:
    """`run` of uvloop where it is installed, else of asyncio."""
    import asyncio

    if wanted != "asyncio":
        try:
            import uvloop
        except ImportError:
            if wanted == "uvloop":
                from metadata_server.errors import BadListener

                raise BadListener("--loop uvloop: it is not installed. Install guestling[speed].") from None
        else:
            return uvloop.run
    return asyncio.run


def _config(arguments: argparse.Namespace) -> Config:
    from metadata_server.service import Config
    from metadata_server.tokens import since_boot_s
    from metadata_server.vendor_data import Rules, parse_targets

    return Config(
        instances=arguments.instances,
        listeners=_listeners(arguments),
        settings=_settings(arguments),
        state=arguments.state,
        token_keys=_token_keys(arguments),
        # Keys in a file are other servers' too, and ours after a reboot: they have the wall clock in common.
        token_time=since_boot_s if arguments.token_key_file is None else time.time,
        admin=arguments.admin,
        access_log=arguments.access_log,
        vendor_data=arguments.vendor_data,
        targets=parse_targets(tuple(arguments.vendor_data_target)),
        vendor_rules=Rules(
            failure_is_fatal=arguments.vendor_data_fatal, allowed=tuple(arguments.vendor_data_allow)
        ),
        max_user_data=arguments.max_user_data or 49_149,
        faults=arguments.faults,
        sign_identity=arguments.sign_identity,
        user=arguments.user,
        stay_root=arguments.stay_root,
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    from metadata_server.app import Settings
    from metadata_server.pages import Options

    profiles = {"openstack"} | ({"nocloud"} if arguments.nocloud else set())
    profiles |= set() if arguments.no_ec2 else {"ec2"}
    options = Options(
        ec2_profile=arguments.ec2_profile,
        lift_cloud_init=arguments.vendor_data_merge,
        profiles=frozenset(profiles),
    )
    return Settings(
        options=options,
        rate=_rate(arguments.rate_limit),
        server_name=arguments.server_name or ("EC2ws" if arguments.ec2_profile == "aws" else None),
        legacy_methods=arguments.legacy_methods,
        tokens_everywhere=arguments.tokens_everywhere,
        reports=arguments.reports,
        reuse_port=arguments.workers > 1,
    )


def _rate(text: str | None) -> Rate | None:
    from metadata_server.errors import BadListener
    from metadata_server.limiter import Rate

    if text is None:
        return None
    per_s, colon, burst = text.partition(":")
    if not (colon and per_s.isdigit() and burst.isdigit() and int(per_s) and int(burst)):
        raise BadListener(f"--rate-limit {text}: not a rate. Write PER_SECOND:BURST, such as 100:400.")
    return Rate(float(per_s), int(burst))


def _lines(path: Path) -> tuple[str, ...]:
    from metadata_server.errors import BadListener

    try:
        return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise BadListener(f"{path}: cannot be read. Make it a readable text file.") from error


def _token_keys(arguments: argparse.Namespace) -> tuple[bytes, ...]:
    """Keys from the file; without one, a random key that all workers share."""
    if arguments.token_key_file is not None:
        return tuple(line.encode() for line in _lines(arguments.token_key_file))
    return (os.urandom(32),)


def _from_systemd(arguments: argparse.Namespace, secrets: tuple[Secret, ...]) -> Iterator[Listener]:
    """The sockets that systemd opened for us (LISTEN_FDS), named in its unit file."""
    from metadata_server.binding import SYSTEMD_FIRST_FD, inherited_address
    from metadata_server.listener import Listener, Mode

    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return
    for fd in range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(os.environ.get("LISTEN_FDS", "0"))):
        yield Listener(
            inherited_address(fd),
            Mode(arguments.identity),
            secrets=secrets,
            trusted_proxies=tuple(arguments.trusted_proxy),
            hosts=tuple(arguments.host),
            neutron_safe=arguments.neutron_safe,
            fd=fd,
        )


def _listeners(arguments: argparse.Namespace) -> tuple[Listener, ...]:
    from instance_metadata.secret import Secret
    from metadata_server.errors import BadListener
    from metadata_server.listener import Listener, Mode

    secrets = (
        () if arguments.secret_file is None else tuple(Secret(line) for line in _lines(arguments.secret_file))
    )
    listeners = list(_from_systemd(arguments, secrets))
    if listeners and not arguments.listen:
        return tuple(listeners)
    for text in arguments.listen or ("127.0.0.1:8775",):
        address, *pairs = text.split(",")
        given = dict(pair.partition("=")[::2] for pair in pairs)
        if set(given) - set(LISTEN_KEYS):
            raise BadListener(f"--listen {text}: unknown option. Use {', '.join(LISTEN_KEYS)}.")
        mode = given.get("identity", arguments.identity)
        if mode not in MODES:
            raise BadListener(f"--listen {text}: unknown mode. Use one of {', '.join(MODES)}.")
        listeners.append(
            Listener(
                address,
                Mode(mode),
                instance_id=given.get("instance"),
                network=given.get("network", ""),
                secrets=secrets,
                trusted_proxies=tuple(arguments.trusted_proxy),
                hosts=tuple(arguments.host),
                neutron_safe=arguments.neutron_safe,
            )
        )
    return tuple(listeners)
