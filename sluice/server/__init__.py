"""Starts the real Triton over both repositories, waits until it truly answers, watches it, leaves nothing behind.

`launch` starts it, `cli` is `sluice serve`; `layout` finds what it is started from, `tls` tries its certificates,
`passing` hands settings on to Triton, `keeper` ends it whoever dies first, `running` is the server that runs, `probe`
asks true questions, `watchdog` repeats them, `ports`, `trouble` and `release` are what their names say.
"""

from sluice.server.cli import command
from sluice.server.launch import Server, StartError, start

__all__ = ["Server", "StartError", "command", "start"]
