"""Limits how much work of a kind is under way in one server, whichever of its processes does it.

A slot is a name in the kernel's abstract space of sockets (unix(7)), which one process holds at a time. No file is
made, and a process that dies gives its slot back.
"""

from __future__ import annotations

import os
import socket


class Slot:
    """One of the places of a kind of work, until it is given back."""

    def __init__(self, held: socket.socket) -> None:
        self._held = held

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()


def take(kind: str, count: int, server: int | None = None) -> Slot | None:
    """Take one of `count` slots. Returns None if all are taken.

    server: id of the process that the slots belong to. None: the parent of this process, which is Triton's.
    """
    for i in range(count):
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0sluice-slot-{server or os.getppid()}-{kind}-{i}")
        except OSError:
            held.close()
        else:
            return Slot(held)
    return None
