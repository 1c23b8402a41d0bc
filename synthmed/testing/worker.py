"""Another Python process in which a call is made again; started once, then reused.

It is a process of its own making rather than one of `multiprocessing`, which would run the caller's
script again. It hashes strings differently from this one, so that what hangs on the order of a set
shows.
"""

from __future__ import annotations

import atexit
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Any


class Worker:
    """A process that calls pickled functions and sends back what they return or raise."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, message: bytes) -> Any:
        """Call ``function(*arguments)``, pickled as a pair, there; raise here what it raises."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        _send(process.stdin, pickle.dumps((sys.path, message)))
        failed, answer = pickle.loads(_receive(process.stdout))
        if failed:
            raise answer
        return answer

    def stop(self) -> None:
        """End the process, if it was started."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONHASHSEED": seed},
            )
        return self._process


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError("the other process ended")
    return stream.read(struct.unpack("<Q", header)[0])


def _serve() -> None:
    # What the function prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            request = _receive(sys.stdin.buffer)
        except EOFError:
            return
        path, message = pickle.loads(request)
        sys.path[:] = path
        try:
            function, arguments = pickle.loads(message)
            answer = pickle.dumps((False, function(*arguments)))
        except BaseException as error:
            try:
                answer = pickle.dumps((True, error))
                pickle.loads(answer)
            except Exception:
                answer = pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))
        _send(answers, answer)


worker = Worker()
atexit.register(worker.stop)

if __name__ == "__main__":
    # Run by its path, this file's folder would come first: its neighbours are not top-level
    # modules.
    sys.path.pop(0)
    _serve()
