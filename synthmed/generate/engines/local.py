"""An engine that runs a plan on this machine: in this process or in a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path

from synthmed.generate.plan import Plan
from synthmed.generate.producer import Producer, write_items
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
    finally:
        pool.shutdown(cancel_futures=True)


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
