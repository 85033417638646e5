"""The lock of an output in an object store: a lease, one object that says who holds it till when.

It is written on a condition that the store itself checks (S3: `If-Match`, `If-None-Match`; Google
Cloud Storage: the object's generation), by the store's own client, which Beam configured; renewed
by a thread; and runs out by itself, so that a run that was killed blocks nobody for long. Whoever
was away for longer than that finds it out before publishing: `check`.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.errors import HeldError, StoreError
from pipelines.storage import files

RUNS_OUT_S = 90.0
RENEW_EVERY_S = 20.0


class Changed(Exception):  # noqa: N818  (no error: an answer)
    """Somebody else wrote the object."""


class _Store(Protocol):
    def read(self) -> tuple[str, Any] | None:
        """The object's text and version; None where there is none."""

    def write(self, text: str, version: Any) -> Any:
        """Replace that version (None: write the first one); gives the new one.

        Raises
        ------
        Changed
            The object is of another version.
        """


@dataclass
class Lease:
    """Parameters
    ----------
    path : str
        The object.
    holder : dict
        Who would hold it; for the message to others.
    """

    path: str
    holder: dict[str, Any]
    _store: _Store = field(init=False, repr=False)
    _version: Any = field(init=False, default=None, repr=False)
    _until: dt.datetime = field(init=False, repr=False)
    _ended: threading.Event = field(init=False, default_factory=threading.Event, repr=False)
    _lost: str | None = field(init=False, default=None, repr=False)
    _lock: Any = field(init=False, default_factory=threading.Lock, repr=False)

    def acquire(self) -> None:
        """Take it.

        Raises
        ------
        HeldError
            Another one holds it.
        StoreError
            The store cannot be read or written.
        """
        with files.naming(
            f"--output {self._output}", "cannot be held", "look at its name and the rights"
        ):
            self._store = _store(self.path)
            found = self._store.read()
            if found:
                said = json.loads(found[0])
                if dt.datetime.fromisoformat(said["until"]) > _now():
                    raise self._held(said)
                self._version = found[1]
            try:
                self._write()
            except Changed:
                raise self._held({}) from None
        threading.Thread(target=self._renew, daemon=True).start()

    def check(self) -> None:
        """Renew it at once.

        Raises
        ------
        StoreError
            It ran out, and another one took it.
        """
        with files.naming(f"--output {self._output}", "cannot be held", "run again"):
            with self._lock:
                if self._lost is None:
                    self._try()
            if self._lost is not None:
                raise StoreError(
                    f"--output {self._output}: this run lost its hold on it ({self._lost}); "
                    "nothing more is published; run again: nothing is lost"
                )

    def release(self) -> None:
        """Let it go; what goes wrong is left to its running out."""
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

    def _held(self, said: dict[str, Any]) -> HeldError:
        who = f" (process {said['pid']} on {said['host']} since {said['since']})" if said else ""
        return HeldError(
            f"--output {self._output}: another run holds it{who}; wait for its end (if it was "
            f"killed, its hold runs out within {RUNS_OUT_S:.0f} s), or use another folder"
        )

    def _write(self) -> None:
        until = _now() + dt.timedelta(seconds=RUNS_OUT_S)
        self._version = self._store.write(self._text(until), self._version)
        self._until = until

    def _text(self, until: dt.datetime) -> str:
        return json.dumps({**self.holder, "until": until.isoformat()})

    def _try(self) -> None:
        """Renew it; a store that does not answer is no loss before the time is over."""
        try:
            self._write()
        except Changed:
            self._lost = "it ran out while this machine was away, and another run took it"
        except Exception as error:
            if _now() > self._until:
                self._lost = f"it could not be renewed: {files.said(error)}"

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
        self._blob = client.bucket(bucket).blob(key)

    def read(self) -> tuple[str, Any] | None:
        from google.api_core.exceptions import NotFound

        try:
            text = self._blob.download_as_bytes().decode()
        except NotFound:
            return None
        return text, self._blob.generation

    def write(self, text: str, version: Any) -> Any:
        from google.api_core.exceptions import PreconditionFailed

        try:
            self._blob.upload_from_string(text, if_generation_match=version or 0)
        except PreconditionFailed as error:
            raise Changed from error
        return self._blob.generation
