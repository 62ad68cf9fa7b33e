"""File systems of a few KiB, for tests of full and read-only disks; an S3 server for tests of buckets."""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.orchestrator.s3_server import CREDENTIALS, s3_server


@pytest.fixture(scope="session")
def s3_address():
    """A running S3 server with one bucket, `fleet`."""
    with s3_server() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True).mkdir("fleet")
        yield address


@pytest.fixture
def s3(s3_address, monkeypatch):
    """As `s3_address`, with this test's environment pointing to it."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_address}.items():
        monkeypatch.setenv(name, value)
    return s3_address


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
