"""File systems of a few KiB, for tests of full and read-only disks."""

import subprocess
import time
from contextlib import ExitStack, contextmanager

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of that size, e.g. `small_disk("512k")`, until the test is over."""
    with ExitStack() as mounted:
        yield lambda size: mounted.enter_context(_mounted(tmp_path / "disk", size))


@pytest.fixture
def tiny_disk(small_disk):
    return small_disk("64k")


@contextmanager
def _mounted(place, size):
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    yield place
    for _ in range(20):
        if not subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
            return
        time.sleep(0.1)
