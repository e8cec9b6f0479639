"""Keeps one tritonserver: starts it, ends it with all its children, and removes what it left in shared memory.

The keeper is a small process between `sluice.server` and tritonserver (`python keeper.py SPEC`), so that the cleaning
happens whichever process dies first:

    tritonserver ends or is killed   its Python stubs are killed, its /dev/shm regions and its folder removed
    the keeper's parent dies         the same, after a graceful stop
    the keeper itself is killed      the kernel sends SIGTERM to tritonserver; the next start removes what is stale

SIGTERM or SIGINT asks tritonserver to finish its requests and stop; a second signal kills it. The keeper's exit code is
tritonserver's, or 128 + number if tritonserver died of a signal. The keeper imports only the standard library and
nothing of Sluice, so that it starts in hundredths of a second.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
ENVIRONMENTS = Path("/tmp")  # where Triton 2.51 makes python_env_*, whatever TMPDIR says
KEEPER = "keeper"  # file in a run's folder: the prefix of its keeper
KEPT_LOGS = 5  # of runs that ended by themselves
HEARS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def start_ticks(pid: int) -> int | None:
    """Return when process `pid` began, in clock ticks since boot, or None if there is none or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def pid_namespace() -> int:
    """Return the number of this process's id namespace. Containers may share /dev/shm without sharing process ids."""
    return os.stat("/proc/self/ns/pid").st_ino


def own_prefix() -> str:
    """Return the prefix of this process's /dev/shm regions. It names the owner, so that others can tell when the owner
    is dead.
    """
    return f"sluice_{os.getpid()}_{start_ticks(os.getpid())}_{pid_namespace()}_"


def regions(prefix: str) -> list[Path]:
    """List the regions in /dev/shm whose names begin with `prefix`."""
    try:
        return sorted(path for path in SHARED_MEMORY.iterdir() if path.name.startswith(prefix))
    except OSError:
        return []


def orphaned(name: str) -> bool:
    """Tell whether a name begins with the prefix of a dead process of this process-id namespace."""
    owner = re.match(r"sluice_(\d+)_(\d+)_(\d+)_", name)
    return bool(owner and int(owner[3]) == pid_namespace() and start_ticks(int(owner[1])) != int(owner[2]))


def stale_regions() -> list[Path]:
    """List the regions of dead keepers."""
    return [path for path in regions("sluice_") if orphaned(path.name)]


def stale_folders(place: Path) -> list[Path]:
    """List the folders of runs in `place` whose launcher and keeper are dead.

    Folders that hold nothing but a log were left to be read, so the newest few of them are not listed.
    """
    stale: list[tuple[float, Path]] = []
    logs: list[tuple[float, Path]] = []
    for path in place.glob("sluice_*"):
        with contextlib.suppress(OSError):
            held = sorted(each.name for each in path.iterdir())
            if orphaned(path.name) and (KEEPER not in held or orphaned((path / KEEPER).read_text())):
                (logs if len(held) == 1 and held[0].endswith(".log") else stale).append((path.stat().st_mtime, path))
    return [path for _, path in stale + sorted(logs, reverse=True)[KEPT_LOGS:]]


def stale_environments() -> list[Path]:
    """List the empty folders python_env_* of this user that no living tritonserver made.

    Each tritonserver makes one soon after its start.
    """
    now, up = time.time(), float(Path("/proc/uptime").read_text().split()[0])
    begun = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().strip() == "tritonserver" and (ticks := start_ticks(int(entry.name))):
                begun.append(now - up + ticks / os.sysconf("SC_CLK_TCK"))
    found = []
    for path in ENVIRONMENTS.glob("python_env_*"):
        with contextlib.suppress(OSError):
            told = path.stat()
            if told.st_uid == os.getuid() and not any(at - 2 < told.st_mtime < at + 120 for at in begun):
                found.append(path)
    return found


def remove(paths: list[Path]) -> None:
    """Remove files. A file that is gone already, or that belongs to another user, is left alone."""
    for path in paths:
        with contextlib.suppress(OSError):  # already gone, or another user's
            path.unlink()


def tidy(place: Path) -> None:
    """Remove everything that dead runs have left. place: folder that holds the runs' folders."""
    remove(stale_regions())
    for path in stale_folders(place):
        shutil.rmtree(path, ignore_errors=True)
    for path in stale_environments():
        with contextlib.suppress(OSError):  # not empty: somebody uses it
            path.rmdir()


def _in_child() -> None:
    """Prepare the child between fork and exec: let it die with the keeper, and hear signals again."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _kill_group(group: int) -> None:
    """Kill every process left in tritonserver's process group and reap those that became the keeper's children."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def keep(command: list[str], log: str, folder: str, grace: float, keep_log: bool) -> int:
    """Run `command` until it ends or the keeper is asked to end it. Returns its exit code.

    command:  tritonserver's command line; {prefix} in it becomes the shared-memory prefix.
    log:      file that receives stdout and stderr.
    folder:   removed at the end. If tritonserver ended by itself, the log in it stays to be read.
    grace:    seconds between the request to stop and the kill.
    keep_log: True never removes the log.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARS)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # stubs orphaned by a dead server come to us
    parent, prefix = os.getppid(), own_prefix()
    Path(folder, KEEPER).write_text(prefix)
    tidy(Path(folder).parent)
    with open(log, "ab") as output:
        server = subprocess.Popen(
            [word.replace("{prefix}", prefix) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=_in_child,
        )
    print(json.dumps({"pid": server.pid, "prefix": prefix}), flush=True)
    asked, deadline, orphaned = 0, float("inf"), False
    while server.poll() is None:
        got = signal.sigtimedwait(HEARS, 0.25)
        requests = int(got is not None and got.si_signo != signal.SIGCHLD)
        if not orphaned and os.getppid() != parent:
            orphaned = True
            requests += not asked
        for _ in range(requests):
            asked += 1
            if asked == 1:
                deadline = time.monotonic() + grace
                server.terminate()
            else:
                server.kill()
        if time.monotonic() > deadline:
            server.kill()
    _kill_group(server.pid)
    remove(regions(prefix))
    tidy(Path(folder).parent)
    if asked and not keep_log:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for entry in Path(folder).iterdir():
            if entry != Path(log):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(missing_ok=True)
    code = server.returncode
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(keep(**json.loads(sys.argv[1])))
