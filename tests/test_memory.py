"""Freed memory is kept: the same block is not faulted in again."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, torch
from vaecheck.memory import keep_freed_memory
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
kept = keep_freed_memory()
faults()
print(int(kept), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has mallopt")
def test_a_freed_block_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    kept, faults = map(int, done.stdout.split())
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert faults < 100, "16 MiB is 4,096 pages, ten times"
