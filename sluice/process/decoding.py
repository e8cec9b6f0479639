"""Decodes pictures of strangers where they can do no harm.

A small file may mean minutes of work or gigabytes of memory, and a decoder that has begun cannot be stopped from within
its process. So a picture that is not sure to be light (`sluice.image_headers`) is decoded by a separate process. That
process has limits of time and memory, and is killed when they are spent or when the caller has gone. A light picture,
as nearly all pictures of cameras are, is decoded on the spot; that takes less time than telling another process.

A process is started for the first heavy picture, kept for the next ones, and ends by itself if none comes for
`decoding_process.IDLE` seconds. All processes of one server share PLACES to decode in, so that their memory together is
bounded as well.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sluice import image_headers
from sluice.errors import Cancelled, InvalidArgument, Unavailable
from sluice.process import callers, decoding_process, slots

Given = ParamSpec("Given")
Made = TypeVar("Made")

PLACES = max(2, len(os.sched_getaffinity(0)))  # heavy pictures of one server that are decoded at a time
MEMORY = 5 << 28  # bytes that decoding one may take: 64 million pixels with transparency take 1.1e9
SECONDS = 10.0  # of computing, which a loaded machine does not shorten
PATIENCE = 120.0  # seconds by the clock, for what waits and does not compute
LOOK = 0.05  # seconds between two looks at whether the caller is still there


async def run(
    work: Callable[Concatenate[bytes, Given], Made], data: bytes, *args: Given.args, **kwargs: Given.kwargs
) -> Made:
    """Return work(data, *args), which decodes an encoded picture.

    work: a function of a module, called here or in another process. Its arguments and its result can be pickled.
    Raises what `work` raises; InvalidArgument for a picture that takes too much time or memory; Cancelled as soon as
    the caller has gone (`sluice.process.callers`).
    """
    callers.check()
    header = image_headers.read(data)
    if header is None or header.light:
        return work(data, *args, **kwargs)
    return await _decoders().run(work, data, args, kwargs)


async def aside(
    work: Callable[Concatenate[bytes, Given], Made], data: bytes, *args: Given.args, **kwargs: Given.kwargs
) -> Made:
    """Return what `run` returns. For a process that does much else at once: a thread decodes light pictures."""
    header = image_headers.read(data)
    if header is None or header.light:
        return await asyncio.to_thread(work, data, *args, **kwargs)
    return await run(work, data, *args, **kwargs)


class Decoders:
    """The decoding processes of this process, and the threads that talk with them."""

    def __init__(self, count: int, memory: int = MEMORY, seconds: float = SECONDS) -> None:
        self.memory, self.seconds = memory, seconds
        self._threads = ThreadPoolExecutor(count, "decoder")
        self._own = threading.local()  # .process: each thread has one

    async def run(self, work: Callable[..., Made], data: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Made:
        """Return work(data, *args, **kwargs) as `decoding.run` does."""
        abandoned = threading.Event()
        future = self._threads.submit(self._work, abandoned, work, data, args, kwargs)
        waiting = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({waiting}, timeout=LOOK))[0]:
                callers.check()
            return waiting.result()
        finally:
            abandoned.set()

    def close(self) -> None:
        """End the decoding processes that are idle."""
        self._threads.shutdown()

    def _work(self, abandoned: threading.Event, *job: Any) -> Any:
        """Have a process do the job, in this thread."""
        place = None
        while place is None:
            if abandoned.is_set():
                raise Cancelled("the request was cancelled")
            if (place := slots.take("decoder", PLACES)) is None:
                time.sleep(LOOK / 2)
        with place:
            process = getattr(self._own, "process", None)
            if process is None or not process.ready():
                process = self._own.process = _Process()
            return process.ask((self.memory, self.seconds, *job), abandoned, job[1])


class _Process:
    """One decoding process, for the use of one thread."""

    def __init__(self) -> None:
        self._line, theirs = multiprocessing.Pipe()
        with theirs:
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            command = [_python(), "-I", "-m", decoding_process.__name__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()]
            )

    def ready(self) -> bool:
        """Return whether it waits for a job: it ends by itself, too."""
        if self._process.poll() is None and not self._line.poll():
            return True
        self.end()
        return False

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._line.close()

    def ask(self, job: tuple[Any, ...], abandoned: threading.Event, data: bytes) -> Any:
        """Return what the job gives; see `decoding_process.main` for both."""
        begun = time.monotonic()
        try:
            self._line.send_bytes(pickle.dumps(job, protocol=5))
            while not self._line.poll(LOOK / 2):
                if abandoned.is_set():
                    self.end()
                    raise Cancelled("the request was cancelled")
                if time.monotonic() - begun > PATIENCE:
                    self.end()
                    raise InvalidArgument(_refusal(data, f"more than {PATIENCE:g} s"))
            good, answer = pickle.loads(self._line.recv_bytes())
        except (EOFError, OSError):
            raise self._end(data, job[0], job[1]) from None
        if good:
            return answer
        if isinstance(answer, MemoryError):
            raise InvalidArgument(_refusal(data, f"more than {job[0] >> 20:,} MiB of memory"))
        raise answer

    def _end(self, data: bytes, memory: int, seconds: float) -> Exception:
        """End the process, which ended in the middle of its work, and return the error that says why."""
        code = self._process.wait()
        self.end()
        if code == -decoding_process.SPENT:
            return InvalidArgument(_refusal(data, f"more than {seconds:g} s of computing"))
        if code < 0 and code != -9:
            return InvalidArgument(_refusal(data, f"the decoder, which it ended with signal {-code}"))
        return Unavailable("the process that decoded the image was ended; try again")


def _refusal(data: bytes, what: str) -> str:
    header = image_headers.read(data)
    pixels = f" of {header.pixels:,} pixels" if header else ""
    return f"the image, {len(data):,} bytes{pixels}, takes {what} to decode; save it anew, or smaller, and send that"


@cache
def _decoders() -> Decoders:
    return Decoders(PLACES)


@cache
def _python() -> str:
    """Return the interpreter whose packages this process has. Inside Triton's stub `sys.executable` may name another
    one.
    """
    for name in ("python3", "python"):
        if (path := Path(sys.prefix, "bin", name)).exists():
            return str(path)
    return shutil.which("python3") or sys.executable
