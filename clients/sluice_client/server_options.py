"""The options of a command that say which server it asks, and how it is reached."""

from __future__ import annotations

import argparse
from typing import Any

from .client import Sluice
from .connection import Tls, header

__all__ = ["add", "client"]


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="gRPC address, grpcs://HOST:PORT with TLS (default: $SLUICE_URL, else 127.0.0.1:8001)",
    )
    group.add_argument(
        "--tls", action="store_true", help="use TLS, as each of the next four does (default: $SLUICE_TLS)"
    )
    group.add_argument("--ca", metavar="FILE", help="who signed the server's certificate (default: $SLUICE_CA)")
    group.add_argument("--cert", metavar="FILE", help="our own certificate, for mutual TLS (default: $SLUICE_CERT)")
    group.add_argument("--key", metavar="FILE", help="the key of that certificate (default: $SLUICE_KEY)")
    group.add_argument(
        "--server-name",
        metavar="NAME",
        help="name in the server's certificate, if not that of --server (default: $SLUICE_SERVER_NAME)",
    )
    group.add_argument(
        "--header",
        action="append",
        metavar="NAME=VALUE",
        help="send this with every call; may be repeated. Keys are better in $SLUICE_HEADERS, one a line: "
        "others on this machine can read a command line",
    )


def client(args: argparse.Namespace, **more: Any) -> Sluice:
    """The client that the options ask for."""
    given = {"ca": args.ca, "cert": args.cert, "key": args.key, "server_name": args.server_name}
    tls = Tls.from_environment(**given) if args.tls or any(given.values()) else None
    return Sluice(args.server, tls=tls, headers=dict(map(header, args.header or ())), timeout=args.timeout, **more)
