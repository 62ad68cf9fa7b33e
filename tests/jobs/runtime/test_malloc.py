"""Memory that a batch leaves behind is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from jobs.runtime.malloc import keep_freed_memory
keep_freed_memory()
def batch():
    return len([bytearray(1 << 20) for _ in range(64)])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
batch()
before = faults()
batch()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_second_batch_of_64_mib_takes_its_pages_from_the_first():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) < 1000  # of 16,384 pages of 4 KiB
