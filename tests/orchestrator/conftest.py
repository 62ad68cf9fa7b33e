"""A file system of 64 KiB, for tests of full and read-only disks; an S3 server for tests of buckets."""

import subprocess
import sys
import time
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
def tiny_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    yield place
    for _ in range(20):
        if not subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
            return
        time.sleep(0.1)
