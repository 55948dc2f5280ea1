"""The metrics of several processes of one machine, so that `/metrics` of each shows their sums.

Each process has two files in a folder: ``*.names``, a JSON line for each series, which the process locks while it lives,
and ``*.values``, its numbers, in shared memory. So the numbers of a killed process remain: whoever can lock its names adds
its counters and histograms to ``ended.json`` and deletes its files.
"""

from __future__ import annotations

import fcntl
import functools
import json
import logging
import mmap
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias
from weakref import WeakSet

from servey.core.errors import ConfigError
from servey.core.settings import Settings

logger: logging.Logger = logging.getLogger("servey")

Series: TypeAlias = tuple[str, tuple[str, ...]]
"""The name of a metric and the values of its labels."""
Totals: TypeAlias = dict[Series, list[float]]

_PREFIX = "servey-metrics-"
_MEMORY = Path("/dev/shm")
_CHUNK_BYTES = 1 << 16
_CELL_BYTES = 8
_GAUGE = "gauge"


class SharedMetrics:
    """The numbers of this process in a folder that it shares with others.

    Shape: the folder is made if there is none. Errors: ConfigError if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            with _locked(folder):
                _merge_ended(folder)
                self._names, place = tempfile.mkstemp(".names", "process-", folder)
                self._is_open = True
                fcntl.flock(self._names, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigError(f"SERVEY_METRICS_DIR: {folder} cannot be written: {error.strerror}") from None
        self._path = Path(place)
        self._values: int = os.open(self._path.with_suffix(".values"), os.O_RDWR | os.O_CREAT, 0o600)
        self._chunks: list[memoryview[float]] = []
        self._used = 0  # cells
        self._written = 0  # bytes of names
        self._cells: dict[Series, tuple[memoryview[float], int] | None] = {}
        _open_here().add(self)

    def add(self, name: str, labels: tuple[str, ...], amount: float) -> None:
        """Add to a counter."""
        found = self._cells.get((name, labels)) or self._place(name, labels, 1)
        if found is not None:
            cells, first = found
            cells[first] += amount

    def observe(self, name: str, labels: tuple[str, ...], seconds: float, *, bucket: int, size: int) -> None:
        """Add a duration to a histogram of ``size`` numbers, of which the last is the sum."""
        found = self._cells.get((name, labels)) or self._place(name, labels, size)
        if found is not None:
            cells, first = found
            cells[first + bucket] += 1
            cells[first + size - 1] += seconds

    def set_gauges(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set all values of a gauge of this process, by their labels; they end with the process."""
        gone = {labels for each, labels in self._cells if each == name} - values.keys()
        for labels, value in (*values.items(), *((each, 0.0) for each in gone)):
            found = self._place(name, labels, 1, _GAUGE)
            if found is not None:
                cells, first = found
                cells[first] = value

    def read(self) -> Totals:
        """Return the sums over all processes; of gauges, over those that live. Errors: OSError."""
        with _locked(self._folder):
            totals = _merge_ended(self._folder)
            for names in self._folder.glob("*.names"):
                _add(totals, _read(names), gauges=True)
        return totals

    def close(self) -> None:
        """End this process's part: its counters stay in the folder, its gauges do not."""
        if self._is_open:
            self._is_open = False
            self._cells.clear()
            for chunk in self._chunks:
                owner = chunk.obj
                chunk.release()
                if isinstance(owner, mmap.mmap):
                    owner.close()
            os.close(self._values)
            os.close(self._names)

    def _place(
        self, name: str, labels: tuple[str, ...], size: int, kind: str = ""
    ) -> tuple[memoryview[float], int] | None:
        series = name, labels
        if series not in self._cells:
            if not self._is_open:
                return None
            try:
                self._cells[series] = self._allocate(series, size, kind)
            except OSError as error:
                self._cells[series] = None
                logger.error("%s%s is missing in the sums of /metrics: %s: %s", name, labels, self._folder, error)
        return self._cells[series]

    def _allocate(self, series: Series, size: int, kind: str) -> tuple[memoryview[float], int]:
        per_chunk = _CHUNK_BYTES // _CELL_BYTES
        if self._used % per_chunk + size > per_chunk or not self._chunks:
            start = len(self._chunks) * _CHUNK_BYTES
            # Zeros and not a hole: on a full disk, writing into a hole of mapped memory would kill the process.
            if os.pwrite(self._values, bytes(_CHUNK_BYTES), start) < _CHUNK_BYTES:
                raise OSError("no space left")
            mapped = mmap.mmap(self._values, _CHUNK_BYTES, offset=start)
            self._chunks.append(memoryview(mapped).cast("d"))
            self._used = start // _CELL_BYTES
        first, self._used = self._used, self._used + size
        line = json.dumps([kind, *series, first, size]).encode() + b"\n"
        # Otherwise the next line would continue the beginning of this one.
        if os.pwrite(self._names, line, self._written) < len(line):
            raise OSError("no space left")
        self._written += len(line)
        return self._chunks[-1], first % per_chunk


@functools.cache
def _open_here() -> WeakSet[SharedMetrics]:
    """The parts of this process. A child that is forked from it, as by multiprocessing, closes them: it must not write where
    its parent does, nor keep the lock that says that its parent lives.
    """
    found: WeakSet[SharedMetrics] = WeakSet()

    def close() -> None:
        for each in list(found):
            each.close()

    os.register_at_fork(after_in_child=close)
    return found


@contextmanager
def shared_by_processes(settings: Settings) -> Iterator[None]:
    """Let the processes that are started meanwhile share their metrics, if they serve them, in a private folder.

    It is in memory if there is such a place. It is deleted at the end, and so are those that killed servers left.
    Errors: ConfigError if no folder for temporary files is writable.
    """
    if not settings.metrics or settings.metrics_dir is not None:
        yield
        return
    try:
        where = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        _delete_left(where)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
        owner = os.open(folder / "owner", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"SERVEY_METRICS=1 with several processes needs a writable folder for their numbers ({error}); mount a tmpfs at "
            "/dev/shm or /tmp, set TMPDIR, or run one process"
        ) from None
    fcntl.flock(owner, fcntl.LOCK_EX)
    os.environ["SERVEY_METRICS_DIR"] = str(folder)  # the processes read their settings from the environment
    try:
        yield
    finally:
        os.environ.pop("SERVEY_METRICS_DIR", None)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


def _delete_left(where: Path) -> None:
    for folder in where.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            file = os.open(folder / "owner", os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(file)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _merge_ended(folder: Path) -> Totals:
    """Add the counters of ended processes to ``ended.json``, delete their files, and return what is in it."""
    kept = folder / "ended.json"
    totals, known = _read_ended(kept)
    ended = [names for names in folder.glob("*.names") if _has_ended(names)]
    if not ended:
        return totals
    for names in ended:
        # A process may have been killed between writing the sums and deleting the files.
        if names.name not in known:
            _add(totals, _read(names), gauges=False)
    merged = {
        "totals": [[*series, numbers] for series, numbers in totals.items()],
        "merged": [each.name for each in ended],
    }
    written = folder / "ended.tmp"
    written.write_text(json.dumps(merged), encoding="utf-8")
    written.replace(kept)
    for names in ended:
        names.with_suffix(".values").unlink(missing_ok=True)
        names.unlink()
    return totals


def _read_ended(kept: Path) -> tuple[Totals, set[str]]:
    """Return the counters of ended processes, and the names of the last that were added.

    Counters begin again at zero, as after a restart, if the file was damaged: a full disk or a power failure must not keep
    servers from starting.
    """
    try:
        rows = json.loads(kept.read_text(encoding="utf-8"))
        totals: Totals = {(name, tuple(labels)): list(map(float, numbers)) for name, labels, numbers in rows["totals"]}
        return totals, set(rows["merged"])
    except FileNotFoundError:
        return {}, set()
    except (ValueError, TypeError, KeyError):
        logger.error("%s was damaged; the counters of ended processes begin again at zero", kept)
        kept.unlink()
        return {}, set()


def _has_ended(names: Path) -> bool:
    file = os.open(names, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _read(names: Path) -> Iterator[tuple[bool, Series, Sequence[float]]]:
    """Yield the series of a process: whether it is a gauge, its name and labels, its numbers.

    What is damaged is left out: a power failure may have lost parts of the files.
    """
    lines = names.read_bytes().split(b"\n")[:-1]  # a line without its end is not complete
    numbers = array("d")
    with suppress(FileNotFoundError):
        content = names.with_suffix(".values").read_bytes() if lines else b""
        numbers.frombytes(content[: len(content) - len(content) % _CELL_BYTES])
    for line in lines:
        with suppress(ValueError, TypeError):
            kind, name, labels, first, size = json.loads(line)
            found = numbers[first : first + size]
            if len(found) == size:
                yield kind == _GAUGE, (name, tuple(labels)), found


def _add(totals: Totals, series: Iterator[tuple[bool, Series, Sequence[float]]], *, gauges: bool) -> None:
    for is_gauge, each, numbers in series:
        if gauges or not is_gauge:
            before = totals.get(each, ())
            # Another version of the app may have had other buckets.
            is_same = len(before) == len(numbers)
            totals[each] = [a + b for a, b in zip(before, numbers, strict=True)] if is_same else list(numbers)
