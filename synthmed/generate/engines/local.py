"""An engine that runs a plan on this machine: in this process or in a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path

from synthmed.generate.plan import Plan
from synthmed.generate.producer import Producer, write_items
from synthmed.generator import Generator
from synthmed.io.readers import READERS, Reader

_CHUNK = 16


def write_all(producer: Producer, out: Path, start: int, workers: int) -> Iterator[list[str]]:
    """Write the files of all items from an index on.

    Parameters
    ----------
    producer : Producer
    out : Path
    start : int
        The first item's index.
    workers : int
        Processes; 1 works in this one.

    Yields
    ------
    list of str
        Lines of the manifest, chunk by chunk, in the order of the items; the files of a chunk are
        there when its lines come.
    """
    chunks = (range(a, min(a + _CHUNK, len(producer))) for a in range(start, len(producer), _CHUNK))
    if workers == 1:
        yield from (write_items(producer, out, chunk) for chunk in chunks)
        return
    context = multiprocessing.get_context("spawn")
    start_arguments = (producer.plan, out, READERS)
    pool = ProcessPoolExecutor(workers, context, _start_worker, start_arguments)
    try:
        waiting: deque[Future[list[str]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_write_in_worker, chunk))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended without an answer: it ran out of memory, was killed, or could "
            "not start (a script that starts workers needs `if __name__ == '__main__':`); "
            "workers=1 works without them"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def require_importable(recipe: Generator) -> None:
    """See that worker processes, which start empty, can find the classes of a recipe.

    Raises
    ------
    ValueError
        If a class is defined in a notebook, on the command line or within a function.
    """
    cls = type(recipe)
    main = sys.modules.get("__main__")
    is_interactive = cls.__module__ == "__main__" and not hasattr(main, "__file__")
    if is_interactive or "<locals>" in cls.__qualname__:
        where = "a notebook or on a command line" if is_interactive else "a function"
        raise ValueError(
            f"{cls.__name__} is defined in {where}, where worker processes cannot find it: move it "
            f"to a module and import it, or use workers=1"
        )
    for value in vars(recipe).values():
        for member in value if isinstance(value, tuple) else (value,):
            if isinstance(member, Generator):
                require_importable(member)


_worker: tuple[Producer, Path] | None = None


def _start_worker(plan: Plan, out: Path, readers: list[Reader]) -> None:
    """In a worker: one thread, deaf to Ctrl-C (the parent ends it), and no life after the
    parent's.
    """
    global _worker
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    READERS[:] = readers  # with those that the parent added
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    _worker = Producer(plan), out


def _write_in_worker(chunk: range) -> list[str]:
    assert _worker is not None
    return write_items(*_worker, chunk)
