"""How many processors this process may use; torch-free."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

_PERSONS_WORD = "OMP_NUM_THREADS"


def threads_asked_for(environment: Mapping[str, str]) -> int | None:
    """What ``OMP_NUM_THREADS`` asks for, at least 1; None if it says nothing usable.

    A list gives the threads of nested levels, outermost first (OpenMP 5.2, section 21.1.2).
    """
    word = environment.get(_PERSONS_WORD, "").split(",")[0].strip()
    return int(word) if word.isascii() and word.isdigit() and int(word) > 0 else None


def usable_processors(root: Path = Path("/")) -> int:
    """Processors that the scheduler and the limits of a container leave to this process.

    Args:
        root: of the file system with ``proc`` and ``sys``.
    """
    limits = [_scheduled(), *map(math.ceil, _quotas(root))]
    return max(1, min(limits))


def _scheduled() -> int:
    """Processors that this process may be scheduled on."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13; also heeds -X cpu_count
        return int(os.process_cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each control group around this process allows, fractions included.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (``cpu.max``) and
    Documentation/scheduler/sched-bwc.rst (``cpu.cfs_quota_us``).
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        # Inside a container its own group is the root of the mount, whatever its path is outside.
        inside = PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for group in (inside, *inside.parents):
                yield from _quota(mount / group)


def _quota(group: Path) -> Iterator[float]:
    """The limit of one group, in either version; nothing where there is none."""
    both = _read(group / "cpu.max").split() or [
        *_read(group / "cpu.cfs_quota_us").split(),
        *_read(group / "cpu.cfs_period_us").split(),
    ]
    if len(both) == 2 and all(word.isdigit() and int(word) > 0 for word in both):
        yield int(both[0]) / int(both[1])


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
