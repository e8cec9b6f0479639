"""The options that say which server a command asks and how it is reached, and the client that they make."""

from __future__ import annotations

import argparse
from typing import Any

from ..client import Sluice
from ..transport.connection import Tls, checked_headers, header
from .settings import FILES, Settings

__all__ = ["add", "client", "settings"]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command's parser."""
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="gRPC address of the server, grpcs://HOST:PORT for TLS (default: $SLUICE_URL, else 127.0.0.1:8001)",
    )
    group.add_argument(
        "--tls",
        action="store_true",
        default=None,
        help="use TLS; each of the next four options does so, too (default: $SLUICE_TLS)",
    )
    group.add_argument(
        "--ca",
        metavar="FILE",
        help="certificate of the authority that signed the server's certificate (default: $SLUICE_CA)",
    )
    group.add_argument(
        "--cert", metavar="FILE", help="the client's own certificate, for mutual TLS (default: $SLUICE_CERT)"
    )
    group.add_argument("--key", metavar="FILE", help="key of the client's certificate (default: $SLUICE_KEY)")
    group.add_argument(
        "--server-name",
        metavar="NAME",
        help="name in the server's certificate, if it differs from --server (default: $SLUICE_SERVER_NAME)",
    )
    group.add_argument(
        "--header",
        action="append",
        metavar="NAME=VALUE",
        help="send this header with every call; may be repeated. Others on this machine can read a command line, so "
        "put keys into $SLUICE_HEADERS, one per line, or into a settings file",
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        help="settings file (TOML), read before ~/.config/sluice/sluice.toml, for settings that no option and no "
        "variable gives: server, tls, ca, cert, key, server_name, timeout, batch, in_flight, quiet, and a table "
        "[headers]",
    )


def settings(args: argparse.Namespace) -> Settings:
    """Return the settings of options, environment and files. Raises InvalidRequest for a file that cannot be used."""
    options = {name: getattr(args, name) for name in ("server", "tls", *FILES, "server_name")}
    given = checked_headers(map(header, args.header)) if args.header else None
    return Settings.of(options | {"headers": given}, args.config)


def client(args: argparse.Namespace, **more: Any) -> Sluice:
    """Return the client that options, environment and files describe. more: further arguments of `Sluice`."""
    said: Settings = args.settings
    server, wanted = said.get("server"), said.tls()
    scheme = "" if server is None else server.value.strip().partition("://")[0]
    asked = wanted if wanted is not None and wanted.value else None
    # An address without TLS wins over a TLS setting of the environment or a file; an option for TLS contradicts it.
    plain = scheme == "grpc" and not (asked and asked.origin.startswith("--"))
    tls = None
    if scheme == "grpcs" or (asked and not plain):
        files = {name: said.get(name) for name in (*FILES, "server_name")}
        tls = Tls(**{name: setting.value for name, setting in files.items() if setting is not None})
    headers = {name: setting.value for name, setting in said.headers().items()}
    address = None if server is None else server.value
    return Sluice(address, tls=tls, headers=headers, timeout=args.timeout, **more)
