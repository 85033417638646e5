"""Where a simulated month lies: a folder of this machine, or a bucket of an S3 server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.nights.archive import Fill, into_folder

DISK_SIZE = "4g"
# Room that an accident leaves on the disk.
FULL_KB = 48


@dataclass
class Place:
    """A place for an archive and an output.

    Parameters
    ----------
    archive, output : str
        Folder or URL of each.
    put : callable
    environment : dict
        For commands that work there.
    faults : object, optional
        Of the S3 server's proxy: what it denies.
    disk : Path, optional
        A small file system of its own, which may be filled.
    """

    archive: str
    output: str
    put: Fill
    environment: dict[str, str] = field(default_factory=dict)
    faults: Any = None
    disk: Path | None = None

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No room on the output's disk while the context lasts."""
        used = subprocess.run(
            ["du", "-sk", str(self.disk)], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        self._resize(f"{int(used) + FULL_KB}k")
        try:
            yield
        finally:
            self._resize(DISK_SIZE)

    def _resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.disk)], check=True)

    @contextmanager
    def expired_credential(self) -> Iterator[None]:
        """The S3 server lets nobody write while the context lasts."""
        self.faults.denied = ("PUT", "POST", "DELETE")
        try:
            yield
        finally:
            self.faults.denied = ()


@contextmanager
def on_disk(work: Path, name: str) -> Iterator[Place]:
    """A folder; its output on a small file system of its own where one can be mounted (by root)."""
    output = work / name / "disk"
    output.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(output)]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode
    archive = work / name / "calls"
    try:
        yield Place(
            archive=str(archive),
            output=str(output / "tables"),
            put=into_folder(archive),
            disk=output if mounted else None,
        )
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(output)], check=True)


@contextmanager
def on_s3(work: Path, name: str) -> Iterator[Place]:
    """A bucket of a real server on loopback, behind a proxy that can deny."""
    from tests import object_stores

    os.environ.update(object_stores.KEYS)
    faults = object_stores.Faults()
    with object_stores.s3() as bucket, object_stores.proxy(bucket.endpoint, faults) as endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        yield Place(
            archive=f"{bucket.url}/{name}/calls",
            output=f"{bucket.url}/{name}/tables",
            put=lambda path, data, changed_s: bucket.put(f"{name}/calls/{path}", data),
            environment={**object_stores.KEYS, "AWS_ENDPOINT_URL": endpoint},
            faults=faults,
        )


STORES = {"disk": on_disk, "s3": on_s3}
