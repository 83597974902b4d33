"""Threads: the person's word counts first, then what scheduler and containers leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from engine.host import device
from engine.host.processors import threads_asked_for, usable_processors

V2 = {
    "proc/self/cgroup": "0::/user.slice/job\n",
    "sys/fs/cgroup/user.slice/job/cpu.max": "250000 100000\n",
    "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
}
V1 = {
    "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
}


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def _sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler would let this process use 16 processors."""
    monkeypatch.setattr(os, "process_cpu_count", lambda: 16, raising=False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        (V2, 3),
        ({**V2, "sys/fs/cgroup/user.slice/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/x", "sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        ({"proc/self/cgroup": "0::/../..", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "6400000 100000"}, 16),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 16),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/unified/cpu.max": "700000 100000"}, 7),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "nonsense"}, 16),
        (V1, 2),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "500000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            16,
        ),
        ({**V1, "proc/self/cgroup": "4:cpuset:/docker/abc"}, 16),
    ],
    ids=[
        "no groups", "v2 rounded up", "v2 parent is tighter", "v2 half a processor",
        "v2 path from outside", "v2 more than there are", "v2 no limit", "hybrid mount",
        "v2 nonsense", "v1", "v1 group is the root of its mount", "v1 no limit",
        "v1 another controller",
    ],
)  # fmt: skip
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert usable_processors(machine(tmp_path, files)) == expected


def test_affinity_counts_where_python_does_not_ask_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7}, raising=False)
    assert usable_processors(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert usable_processors(tmp_path) == 12


@pytest.mark.parametrize(
    ("word", "expected"),
    [("3", 3), ("4,2", 4), (" 2 ", 2), ("", None), ("0", None), ("-1", None), ("many", None)],
)
def test_what_the_person_asked_for(word: str, expected: int | None) -> None:
    assert threads_asked_for({"OMP_NUM_THREADS": word}) == expected
    assert threads_asked_for({}) is None


@pytest.mark.parametrize(
    ("word", "usable", "reserve", "expected"),
    [(None, 4, 0, 4), (None, 4, 1, 3), (None, 1, 1, 1), ("2", 4, 1, 2), ("8", 4, 1, 8)],
)
def test_the_persons_word_comes_before_the_machine(
    monkeypatch: pytest.MonkeyPatch, word: str | None, usable: int, reserve: int, expected: int
) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(device, "usable_processors", lambda: usable)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if word is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", word)
    device.set_threads(reserve)
    assert told == [expected]
