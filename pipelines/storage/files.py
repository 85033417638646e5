"""Files on this machine or in an object store (gs://, s3://), by Beam's FileSystems.

Paths are strings. On this machine what was written is on the disk once it is closed, and a small
file is there whole or not at all; in an object store both hold by themselves.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy as copy_of
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import StoreError

_REMOTE = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
# Objects copied or deleted in one call.
_BATCH = 100
# Where the exceptions of the stores' clients come from.
_CLIENTS = ("apache_beam", "boto", "google", "requests", "urllib3")
_EXTRAS = {"gs": "gcp", "s3": "aws"}


@dataclass(frozen=True)
class Found:
    """A file that was listed."""

    path: str
    size_bytes: int
    modified_us: int


def is_remote(path: str) -> bool:
    """Whether a path is in an object store."""
    return bool(_REMOTE.match(path))


def absolute(path: str | os.PathLike) -> str:
    """A path that means the same everywhere on this machine; without a slash at its end."""
    path = os.fspath(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(os.path.expanduser(path))


def join(path: str, *names: str) -> str:
    """A path below another."""
    return "/".join([path.rstrip("/"), *names])


def read(path: str) -> BinaryIO:
    """Open a file; it can seek.

    Raises
    ------
    OSError
        It is not there, or cannot be read.
    """
    if not is_remote(path):
        return open(path, "rb")
    return _opened(path, "rb")


def read_text(path: str) -> str:
    """All of a small file in UTF-8."""
    with read(path) as file:
        return file.read().decode("utf-8")


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """A new file, whole once the context has ended; where that failed, part of it may be there."""
    if is_remote(path):
        file = _opened(path, "wb")
        yield file
        file.close()
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: str, text: str) -> None:
    """All of a small file or nothing of it, also after a power cut."""
    if is_remote(path):
        with written(path) as file:
            file.write(text.encode("utf-8"))
        return
    temporary = path + ".tmp"
    with written(temporary) as file:
        file.write(text.encode("utf-8"))
    os.replace(temporary, path)
    sync(os.path.dirname(path))


def exists(path: str) -> bool:
    """Whether there is such a file."""
    return _beam(path).exists(path) if is_remote(path) else os.path.lexists(path)


def below(folder: str) -> Iterator[Found]:
    """All files below a folder, at any depth; none where there is no such folder."""
    if is_remote(folder):
        yield from listed(folder + "/")
        return
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with suppress(FileNotFoundError):
                stat = os.stat(path)
                yield Found(path, stat.st_size, stat.st_mtime_ns // 1000)


def listed(prefix: str) -> Iterator[Found]:
    """The objects of a store whose paths begin so.

    Raises
    ------
    OSError
        They cannot be listed.
    """
    [result] = _beam(prefix).match([_literal(prefix) + "**"])
    if not result.metadata_list and prefix.lower().startswith("s3://"):
        # To Beam a bucket that is not there is an empty one.
        s3_client().head_bucket(Bucket=prefix[5:].partition("/")[0])
    for one in result.metadata_list:
        if not one.path.endswith("/"):
            yield Found(one.path, one.size_in_bytes, int(one.last_updated_in_seconds * 1e6))


def _literal(prefix: str) -> str:
    """Beam's patterns have no quotes; what it would take for one is any character to it."""
    return re.sub(r"[*\[]", "?", prefix)


def copy(pairs: Sequence[tuple[str, str]]) -> None:
    """Copy objects within their store, over what is there; no bytes come by here.

    Raises
    ------
    OSError
        One of them could not be copied.
    """
    for start in range(0, len(pairs), _BATCH):
        sources, targets = zip(*pairs[start : start + _BATCH], strict=True)
        results = _beam(sources[0]).copy(list(sources), list(targets))
        # The one for S3 gives its errors back instead.
        for source, _, error in results or ():
            if error is not None:
                raise OSError(f"{source} cannot be copied: {error}")


def delete(paths: Sequence[str]) -> None:
    """Take files away."""
    for start in range(0, len(paths), _BATCH):
        some = list(paths[start : start + _BATCH])
        if is_remote(some[0]):
            _beam(some[0]).delete(some)
        else:
            for path in some:
                os.unlink(path)


def remove(folder: str) -> None:
    """Take a folder and all in it away."""
    if is_remote(folder):
        delete([one.path for one in below(folder)])
    else:
        shutil.rmtree(folder)


@contextmanager
def local_copy(uri: str, names: Iterable[str] | None = None) -> Iterator[str]:
    """Where the bytes of a remote file, or some files of a remote folder, lie on this machine.

    Raises
    ------
    OSError
        They cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="ser-") as folder:
        pairs = [(uri, "file")] if names is None else [(join(uri, name), name) for name in names]
        for source, name in pairs:
            _fetch(source, os.path.join(folder, name))
        yield os.path.join(folder, "file") if names is None else folder


def _fetch(uri: str, path: str) -> None:
    from apache_beam.utils import retry

    # The stores' clients ask again where an answer fails, not where it breaks off half way.
    @retry.with_exponential_backoff(num_retries=3, initial_delay_secs=0.5, retry_filter=_may_pass)
    def fetch() -> None:
        with read(uri) as remote, open(path, "wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)

    try:
        fetch()
    except Exception as error:
        if isinstance(error, OSError) or _of_a_client(error):
            raise OSError(said(error)) from error
        raise


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed: not where a file is missing or access is refused."""
    return not (
        isinstance(error, FileNotFoundError | PermissionError)
        or http_status(error) in (401, 403, 404)
    )


def http_status(error: BaseException) -> int | None:
    """The HTTP status by which a store refused, whichever client raised the error.

    Beam wraps errors by path; botocore keeps the response, requests an object of it; Google's
    clients and Beam's S3 client have a `code`.
    """
    details = getattr(error, "exception_details", None)
    if isinstance(details, dict) and details:
        return http_status(next(iter(details.values())))
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = getattr(response, "status_code", None) or getattr(error, "code", None)
    return int(code) if isinstance(code, int) else None


def sync(path: str | Path) -> None:
    """Bring a local file or a folder's names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class naming:  # noqa: N801  (reads as a clause)
    """What goes wrong with files on the way becomes a StoreError that names the option.

    Parameters
    ----------
    option : str
        And its value, such as `--output /tables`.
    what : str
        What could not be done, such as `cannot be written`.
    advice : str
    """

    def __init__(
        self,
        option: str,
        what: str = "cannot be written",
        advice: str = "mend that and run again: nothing is lost",
    ) -> None:
        self._option, self._what, self._advice = option, what, advice

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, StoreError):
            return
        if isinstance(error, OSError) or (isinstance(error, Exception) and _of_a_client(error)):
            filename = getattr(error, "filename", None)
            where = f" ({filename})" if filename else ""
            raise StoreError(
                f"{self._option}: {self._what}: {said(error)}{where}; {self._advice}"
            ) from error


def said(error: BaseException) -> str:
    """One line of what a file system or a store's client said."""
    details = getattr(error, "exception_details", None)  # Beam's, by path
    if isinstance(details, dict) and details:
        return said(next(iter(details.values())))
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return str(text).strip().split("\n")[0] or type(error).__name__


def _of_a_client(error: BaseException) -> bool:
    return type(error).__module__.startswith(_CLIENTS)


def _beam(path: str) -> Any:
    """Beam's FileSystems, where it knows the scheme of a path."""
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
    except (ValueError, ImportError) as error:
        scheme = path.partition(":")[0].lower()
        extra = _EXTRAS.get(scheme)
        raise StoreError(
            f"{path}: files of {scheme}:// cannot be read or written here; "
            + (
                f"pip install 'ser-pipeline[{extra}]'"
                if extra
                else "a local path, gs:// or s3:// expected"
            )
        ) from error
    return FileSystems


def _uncompressed() -> str:
    from apache_beam.io.filesystem import CompressionTypes

    return CompressionTypes.UNCOMPRESSED


def set_beam_options(options: Any) -> None:
    """Tell Beam's file systems here of endpoints and keys; in workers Beam does it by itself.

    Parameters
    ----------
    options : PipelineOptions
    """
    from apache_beam.io.filesystems import FileSystems

    FileSystems.set_options(options)


def s3_client() -> Any:
    """The store's own client, as Beam's file system has it."""
    return _beam_s3_client().client


_s3_clients: dict[str, Any] = {}


def _beam_s3_client() -> Any:
    """Beam's client for S3. Beam makes one a file, which costs 60 ms; ours share connections."""
    from apache_beam.io.aws.clients.s3 import boto3_client
    from apache_beam.options.pipeline_options import S3Options

    options = beam_options()
    told = repr(sorted(options.view_as(S3Options).get_all_options(drop_default=True).items()))
    if told not in _s3_clients:
        _s3_clients[told] = boto3_client.Client(options=options)
    # What it remembers of the file that it reads is a copy's own.
    return copy_of(_s3_clients[told])


def _opened(path: str, mode: str) -> Any:
    beam = _beam(path)
    if path.lower().startswith("s3://"):
        from apache_beam.io.aws.s3io import S3IO

        return S3IO(client=_beam_s3_client()).open(path, mode)
    opened = beam.open if mode == "rb" else beam.create
    return opened(path, compression_type=_uncompressed())


def beam_options() -> Any:
    """What Beam's file systems were told here."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    return FileSystems._pipeline_options or PipelineOptions([])
