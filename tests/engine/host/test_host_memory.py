"""Freed memory stays with the process while it computes, and goes back when it is idle."""

from __future__ import annotations

import platform

import pytest

from tests.helpers.fresh_process import printed

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc has these options"
)

SIZE = 40 * 2**20
CODE = f"""
import resource
import torch
from engine.host import device, memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones({SIZE // 4})
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

device.prepare_host()
faults()
print(faults() * resource.getpagesize() // {SIZE})
before = resident()
memory.give_back_freed_memory()
print((before - resident()) // {SIZE // 2})
"""


def measured(**chosen: str) -> list[int]:
    """How often ten tensors were fetched anew as a whole; whether one was given back."""
    return [int(word) for word in printed(CODE, without=("MALLOC_",), chosen=chosen)]


def test_a_tensor_takes_the_memory_of_the_one_before_until_all_is_given_back() -> None:
    again, returned = measured()
    assert again == 0
    assert returned >= 1


def test_what_the_person_chose_stands() -> None:
    assert measured(MALLOC_MMAP_THRESHOLD_="1048576")[0] >= 9
