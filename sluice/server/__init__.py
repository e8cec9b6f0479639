"""Starts the real Triton over both repositories, waits until it truly answers, watches it, leaves nothing behind.

`settings` says how a server is started, `launch` starts it, and `cli` is `sluice serve`. `layout` finds what it is
started from, `tls` tries its certificates, `passing` hands settings on to Triton, `keeper` ends it whoever dies first,
and `running` is the server that runs. `probe` asks true questions and `watchdog` repeats them. `root` and `export` are
the place of the engines and `sluice export`; `ports`, `triton_log` and `release` are what their names say.
"""

from sluice.server.cli import command
from sluice.server.launch import Server, Settings, StartError, start

__all__ = ["Server", "Settings", "StartError", "command", "start"]
