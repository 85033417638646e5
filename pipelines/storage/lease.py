"""The lock of an output in an object store: a lease, an object that names its holder and its end.

The store checks the condition of each write (S3: `If-Match`, `If-None-Match`; Google Cloud Storage:
the object's generation). A thread renews the lease. It expires if nobody renews it, so that a run
that was killed blocks others for a short time only. A run that was suspended for longer than that
finds out before it publishes, by `check`.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.errors import HeldError, StoreError
from pipelines.storage import files

EXPIRES_S = 90.0
RENEW_EVERY_S = 20.0
_WRITES = 3


class Changed(Exception):  # noqa: N818  (no error: an answer)
    """Another process wrote the object."""


class _Store(Protocol):
    def read(self) -> tuple[str, Any] | None:
        """The object's text and version; None if there is no object."""

    def write(self, text: str, version: Any) -> Any:
        """Replace that version (None: the object must not exist); returns the new version.

        Raises
        ------
        Changed
            The object has another version.
        """


@dataclass
class Lease:
    """A lease on an output folder in an object store.

    Parameters
    ----------
    path : str
        The object.
    holder : dict
        Process, host and time of the holder, shown to others.
    """

    path: str
    holder: dict[str, Any]
    _name: str = field(init=False, default_factory=lambda: uuid.uuid4().hex, repr=False)
    _store: _Store = field(init=False, repr=False)
    _version: Any = field(init=False, default=None, repr=False)
    _until: dt.datetime = field(init=False, repr=False)
    _ended: threading.Event = field(init=False, default_factory=threading.Event, repr=False)
    _lost: str | None = field(init=False, default=None, repr=False)
    _lock: Any = field(init=False, default_factory=threading.Lock, repr=False)

    def acquire(self) -> None:
        """Take the lease and keep it.

        Raises
        ------
        HeldError
            Another process holds it.
        StoreError
            The store cannot be read or written.
        """
        with files.naming(
            f"--output {self._output}", "cannot be locked", "check its name and your permissions"
        ):
            self._store = _store(self.path)
            found = self._store.read()
            if found:
                holder = json.loads(found[0])
                if dt.datetime.fromisoformat(holder["until"]) > _now():
                    raise self._held(holder)
                self._version = found[1]
            try:
                self._write()
            except Changed:
                raise self._held({}) from None
        threading.Thread(target=self._renew, daemon=True).start()

    def check(self) -> None:
        """Renew the lease now.

        Raises
        ------
        StoreError
            It has expired, and another process took it.
        """
        with files.naming(f"--output {self._output}", "cannot be locked", "run again"):
            with self._lock:
                while self._lost is None and not self._try():
                    time.sleep(1)
            if self._lost is not None:
                raise StoreError(
                    f"--output {self._output}: this run lost its lock ({self._lost}); "
                    "nothing more is published; run again, nothing is lost"
                )

    def release(self) -> None:
        """Release the lease; if that fails, it expires."""
        self._ended.set()
        with self._lock:
            if self._lost is None:
                try:
                    self._version = self._store.write(self._text(_now()), self._version)
                except Exception:
                    self._lost = "released"

    @property
    def _output(self) -> str:
        return self.path.rpartition("/")[0]

    def _held(self, holder: dict[str, Any]) -> HeldError:
        who = ""
        if holder:
            who = f" (process {holder['pid']} on {holder['host']} since {holder['since']})"
        return HeldError(
            f"--output {self._output}: another run holds it{who}; wait until it ends (if it "
            f"was killed, its lock expires within {EXPIRES_S:.0f} s), or use another folder"
        )

    def _write(self) -> None:
        for _ in range(_WRITES):
            until = _now() + dt.timedelta(seconds=EXPIRES_S)
            text = self._text(until)
            try:
                self._version = self._store.write(text, self._version)
            except Changed:
                # Maybe by this process: a write whose answer was lost, in an outage, was done.
                found = self._store.read()
                if found is None or not self._wrote(found[0]):
                    raise
                self._version = found[1]
                if found[0] != text:
                    continue
            self._until = until
            # The client may have tried for so long that the lease has nearly expired.
            if until - _now() > dt.timedelta(seconds=EXPIRES_S / 2):
                return
        raise TimeoutError(f"{_WRITES} writes took more than {EXPIRES_S / 2:.0f} s each")

    def _wrote(self, text: str) -> bool:
        return json.loads(text).get("lease") == self._name

    def _text(self, until: dt.datetime) -> str:
        return json.dumps({**self.holder, "lease": self._name, "until": until.isoformat()})

    def _try(self) -> bool:
        """Renew the lease; if the store does not answer, it is lost only once it has expired."""
        try:
            self._write()
            return True
        except Changed:
            self._lost = "it expired while this machine was suspended, and another run took it"
        except Exception as error:
            if _now() > self._until:
                self._lost = f"it could not be renewed: {files.error_text(error)}"
        return False

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            with self._lock:
                if self._lost is None and not self._ended.is_set():
                    self._try()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _store(path: str) -> _Store:
    scheme, _, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    return _S3(bucket, key) if scheme.lower() == "s3" else _Gcs(bucket, key)


class _S3:
    def __init__(self, bucket: str, key: str) -> None:
        self._client = files.s3_client()
        self._object = {"Bucket": bucket, "Key": key}

    def read(self) -> tuple[str, Any] | None:
        try:
            found = self._client.get_object(**self._object)
        except self._client.exceptions.NoSuchKey:
            return None
        return found["Body"].read().decode(), found["ETag"]

    def write(self, text: str, version: Any) -> Any:
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            done = self._client.put_object(**self._object, Body=text.encode(), **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412):
                raise Changed from error
            raise
        return done["ETag"]


class _Gcs:
    def __init__(self, bucket: str, key: str) -> None:
        from apache_beam.io.gcp import gcsio

        client = gcsio.create_storage_client(files.beam_options())
        self._bucket, self._key = client.bucket(bucket), key

    def read(self) -> tuple[str, Any] | None:
        from google.api_core.exceptions import NotFound

        blob = self._bucket.blob(self._key)  # one that was used asks for the generation it had
        try:
            text = blob.download_as_bytes().decode()
        except NotFound:
            return None
        return text, blob.generation

    def write(self, text: str, version: Any) -> Any:
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._key)
        try:
            blob.upload_from_string(text, if_generation_match=version or 0)
        except PreconditionFailed as error:
            raise Changed from error
        return blob.generation
