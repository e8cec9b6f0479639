"""Chooses TCP ports: finds free ones, names the holder of a taken one, and tells whether a server listens on its own.

If Triton finds its port taken, it dies while an older server goes on answering there. A launcher that only asks whether
something answers would hand out the wrong server.
"""

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from sluice.server.layout import StartError

PORTS = {"grpc": 8001, "http": 8000, "metrics": 8002}  # Triton's own
LISTEN = "0A"  # state column of /proc/net/tcp


def free(host: str, count: int) -> list[int]:
    """Return `count` different ports of `host` that nothing is bound to now. Raises OSError if `host` is not this
    machine's.
    """
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def trouble(host: str, port: int) -> str | None:
    """Return why `port` of `host` cannot be listened on, in a few words, or None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports in TIME_WAIT are free for servers
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                owner = holder(port)
                return "is already in use" + (f" by {owner}" if owner else "")
            return f"cannot be opened ({error.strerror})"
    return None


def _listeners(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on `port` of any address."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _sockets(pid: int) -> set[str]:
    """Return the inodes of the sockets that process `pid` has open; empty if this user may not look at the process."""
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(entry.path)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass
    return found


def listens(pid: int, port: int) -> bool:
    """Tell whether process `pid` itself listens on `port`."""
    return bool(_listeners(port) & _sockets(pid))


def holder(port: int) -> str | None:
    """Name the process that listens on `port`, as "process 123 (name)". Returns None if it cannot be seen."""
    inodes = _listeners(port)
    if not inodes:
        return None
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and inodes & _sockets(int(entry.name)):
            try:
                return f"process {entry.name} ({Path(entry.path, 'comm').read_text().strip()})"
            except OSError:
                return f"process {entry.name}"
    return None


def choose(wanted: str | Mapping[str, int], hosts: Mapping[str, str]) -> dict[str, int]:
    """Return a port per listener.

    wanted: "free", or port per listener; those that are missing are Triton's own, and 0 is any that is free.
    hosts:  address per listener that is offered.
    Raises StartError where an address is not this machine's, or a port cannot be had.
    """
    host = hosts["grpc"]
    for each, option in ((host, "--host"), (hosts["metrics"], "--metrics-host")):
        try:
            free(each, 1)
        except OSError as error:
            raise StartError(
                f"cannot listen on {each} ({error.strerror}); give an IPv4 address of this machine with {option}"
            ) from None
    if wanted == "free":
        return dict(zip(hosts, free(host, len(hosts)), strict=True))
    if isinstance(wanted, str) or set(wanted) - set(PORTS):
        raise StartError(f"ports must be 'free' or a mapping of {', '.join(PORTS)} to numbers, got {wanted!r}")
    if "http" in wanted and "http" not in hosts:
        raise StartError(
            "a port for HTTP is given but HTTP is not offered: a Triton older than 25.07 can be ended "
            "through it by any caller; ask for it on this machine with --http"
        )
    chosen = {name: port for name, port in {**PORTS, **wanted}.items() if name in hosts}
    for name, port in chosen.items():
        if not 0 <= port <= 65535:
            raise StartError(f"{name} port {port} is no port number; give one of 1 to 65535 with --{name}-port, 0: any")
    unset = [name for name, port in chosen.items() if port == 0]
    chosen.update(zip(unset, free(host, len(unset)), strict=True))
    if len(set(chosen.values())) < len(chosen):
        raise StartError(f"{', '.join(chosen)} need ports that differ, got {sorted(chosen.values())}")
    for name, port in chosen.items():
        why = trouble(hosts[name], port)
        if why:
            raise StartError(
                f"{name} port {port} on {hosts[name]} {why}; choose another with --{name}-port, or stop what runs there"
            )
    return chosen
