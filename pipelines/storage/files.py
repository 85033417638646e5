"""Files on this machine or in an object store (gs://, s3://), by Beam's FileSystems.

Paths are strings. On this machine, a file is on the disk once it is closed, and a small file is
written whole or not at all; object stores guarantee both.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy as copy_of
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pipelines.errors import StoreError
from ser_core import temporary

_REMOTE = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
# Types of content that a store gives to a browser: a page is shown, anything else is downloaded.
BYTES, HTML = "application/octet-stream", "text/html; charset=utf-8"
# The end of the name of a small file that is being written.
UNFINISHED = ".tmp"
# Objects copied or deleted in one call.
_BATCH = 100
# Packages whose exceptions come from a store's client.
_CLIENTS = ("apache_beam", "boto", "google", "requests", "urllib3")
_EXTRAS = {"gs": "gcp", "s3": "aws"}
# boto3 gives up after 5 attempts, within some seconds. 15 of its mode `standard` wait for up to 4
# minutes, on average for 105 s: a store that is down for a minute fails no night.
_S3_RETRIES = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "15"}


@dataclass(frozen=True)
class Found:
    """A listed file."""

    path: str
    size_bytes: int
    modified_us: int


def is_remote(path: str) -> bool:
    """Whether a path is in an object store."""
    return bool(_REMOTE.match(path))


def absolute(path: str | os.PathLike) -> str:
    """An absolute path or a URL, without a slash at its end."""
    path = os.fspath(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(os.path.expanduser(path))


def join(path: str, *names: str) -> str:
    """Join names to a path."""
    return "/".join([path.rstrip("/"), *names])


def read(path: str) -> BinaryIO:
    """Open a file for reading; it is seekable.

    Raises
    ------
    OSError
        It does not exist or cannot be read.
    """
    if not is_remote(path):
        return open(path, "rb")
    return _opened(path, "rb")


def read_text(path: str) -> str:
    """Read a small UTF-8 file."""
    with read(path) as file:
        return file.read().decode("utf-8")


@contextmanager
def written(path: str, content_type: str = BYTES) -> Iterator[BinaryIO]:
    """Write a new file; it is complete once the context has ended without an error."""
    if is_remote(path):
        file = _opened(path, "wb", content_type)
        yield file
        file.close()
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: str, text: str, content_type: str = BYTES) -> None:
    """Write a small file whole or not at all, even if the power fails."""
    if is_remote(path):
        with written(path, content_type) as file:
            file.write(text.encode("utf-8"))
        return
    temporary = path + UNFINISHED
    with written(temporary) as file:
        file.write(text.encode("utf-8"))
    os.replace(temporary, path)
    sync(os.path.dirname(path))


def exists(path: str) -> bool:
    """Whether a file exists."""
    return _beam(path).exists(path) if is_remote(path) else os.path.lexists(path)


def below(folder: str) -> Iterator[Found]:
    """All files below a folder, at any depth; none if the folder does not exist."""
    if is_remote(folder):
        yield from listed(folder + "/")
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(FileNotFoundError):
                stat = os.stat(path)
                yield Found(path, stat.st_size, stat.st_mtime_ns // 1000)


def listed(prefix: str) -> Iterator[Found]:
    """The objects of a store whose paths begin with a prefix.

    Raises
    ------
    OSError
        They cannot be listed.
    """
    [result] = _beam(prefix).match([_literal(prefix) + "**"])
    if not result.metadata_list and prefix.lower().startswith("s3://"):
        # Beam takes a missing bucket for an empty one.
        s3_client().head_bucket(Bucket=prefix[5:].partition("/")[0])
    for item in result.metadata_list:
        if not item.path.endswith("/"):
            yield Found(item.path, item.size_in_bytes, int(item.last_updated_in_seconds * 1e6))


def _literal(prefix: str) -> str:
    """A pattern for Beam that matches a prefix; its patterns cannot escape * and [."""
    return re.sub(r"[*\[]", "?", prefix)


def copy(pairs: Sequence[tuple[str, str]]) -> None:
    """Copy objects within their store, replacing existing ones; no bytes pass this machine.

    Raises
    ------
    OSError
        One of them could not be copied.
    """
    for start in range(0, len(pairs), _BATCH):
        sources, targets = zip(*pairs[start : start + _BATCH], strict=True)
        results = _beam(sources[0]).copy(list(sources), list(targets))
        # Beam's file system for S3 returns errors instead of raising them.
        for source, _, error in results or ():
            if error is not None:
                raise OSError(f"{source} cannot be copied: {error}")


def delete(paths: Sequence[str]) -> None:
    """Delete files."""
    for start in range(0, len(paths), _BATCH):
        batch = list(paths[start : start + _BATCH])
        if is_remote(batch[0]):
            _beam(batch[0]).delete(batch)
        else:
            for path in batch:
                os.unlink(path)


def remove(folder: str) -> None:
    """Delete a folder and everything in it."""
    if is_remote(folder):
        delete([found.path for found in below(folder)])
    else:
        shutil.rmtree(folder)


def remove_empty_folders(folders: Iterable[str]) -> None:
    """Delete local folders that hold nothing, and then their parents in the same way."""
    for folder in set(folders):
        with suppress(OSError):  # not empty
            os.removedirs(folder)


@contextmanager
def local_copy(uri: str, names: Iterable[str] | None = None) -> Iterator[str]:
    """A local copy of a remote file, or of some files of a remote folder; deleted afterwards.

    Raises
    ------
    OSError
        They cannot be fetched; FileNotFoundError where one is not there.
    """
    with temporary.folder() as folder:
        pairs = [(uri, "file")] if names is None else [(join(uri, name), name) for name in names]
        for source, name in pairs:
            _fetch(source, os.path.join(folder, name))
        yield os.path.join(folder, "file") if names is None else folder


def _fetch(uri: str, path: str) -> None:
    from apache_beam.utils import retry

    # The stores' clients retry a failed request, but not a response that breaks off.
    @retry.with_exponential_backoff(num_retries=3, initial_delay_secs=0.5, retry_filter=_may_pass)
    def fetch() -> None:
        with read(uri) as remote, open(path, "wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)

    try:
        fetch()
    except Exception as error:
        if isinstance(error, FileNotFoundError) or http_status(error) == 404:
            raise FileNotFoundError(error_text(error)) from error
        if is_unavailable(error):
            raise OSError(error_text(error)) from error
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
    """Flush a local file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class naming:  # noqa: N801  (a context manager, used as a clause)
    """Turns errors of files and stores into a StoreError that names the option.

    Parameters
    ----------
    option : str
        The option with its value, such as `--output /tables`.
    failure : str
        What failed, such as `cannot be written`.
    advice : str
        What to do about it.
    """

    def __init__(
        self,
        option: str,
        failure: str = "cannot be written",
        advice: str = "fix this and run again; nothing is lost",
    ) -> None:
        self._option, self._failure, self._advice = option, failure, advice

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, StoreError):
            return
        if isinstance(error, Exception) and is_unavailable(error):
            filename = getattr(error, "filename", None)
            where = f" ({filename})" if filename else ""
            raise StoreError(
                f"{self._option}: {self._failure}: {error_text(error)}{where}; {self._advice}"
            ) from error


def error_text(error: BaseException) -> str:
    """The message of an error of a file system or a store's client, in one line."""
    details = getattr(error, "exception_details", None)  # Beam's, by path
    if isinstance(details, dict) and details:
        return error_text(next(iter(details.values())))
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return str(text).strip().split("\n")[0] or type(error).__name__


def is_unavailable(error: Exception) -> bool:
    """Whether an error is of a file system or a store's client, and not ours."""
    return isinstance(error, OSError) or type(error).__module__.startswith(_CLIENTS)


def _beam(path: str) -> Any:
    """Beam's FileSystems, if it knows the scheme of a path."""
    from apache_beam.io.filesystems import FileSystems

    if path.lower().startswith("s3://"):
        _be_patient()
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


def _be_patient() -> None:
    """Let the clients of S3 that this process makes wait for a store, unless the user says how."""
    for name, value in _S3_RETRIES.items():
        os.environ.setdefault(name, value)


def _uncompressed() -> str:
    from apache_beam.io.filesystem import CompressionTypes

    return CompressionTypes.UNCOMPRESSED


def set_beam_options(options: Any) -> None:
    """Pass endpoints and keys to Beam's file systems in this process; Beam does so in workers.

    Parameters
    ----------
    options : PipelineOptions
    """
    from apache_beam.io.filesystems import FileSystems

    FileSystems.set_options(options)


def s3_client() -> Any:
    """The boto3 client that Beam's file system uses."""
    return _beam_s3_client().client


_s3_clients: dict[str, Any] = {}
# The options that were used last, and their client: reading options takes 10 ms.
_latest_s3: list[Any] = []


def _beam_s3_client() -> Any:
    """Beam's client for S3. Beam makes one per file, which takes 60 ms; these share connections."""
    from apache_beam.io.filesystems import FileSystems

    given = FileSystems._pipeline_options
    if not (_latest_s3 and _latest_s3[0] is given):
        _latest_s3[:] = [given, _shared_s3_client()]
    # A client remembers the file that it reads, so each file gets a copy.
    return copy_of(_latest_s3[1])


def _shared_s3_client() -> Any:
    from apache_beam.io.aws.clients.s3 import boto3_client
    from apache_beam.options.pipeline_options import S3Options

    _be_patient()
    options = beam_options()
    key = repr(sorted(options.view_as(S3Options).get_all_options(drop_default=True).items()))
    if key not in _s3_clients:
        _s3_clients[key] = boto3_client.Client(options=options)
    return _s3_clients[key]


def _opened(path: str, mode: str, content_type: str = BYTES) -> Any:
    beam = _beam(path)
    if path.lower().startswith("s3://"):
        from apache_beam.io.aws.s3io import S3IO

        return S3IO(client=_beam_s3_client()).open(path, mode, mime_type=content_type)
    opened = beam.open if mode == "rb" else beam.create
    return opened(path, mime_type=content_type, compression_type=_uncompressed())


def beam_options() -> Any:
    """The options that Beam's file systems were given in this process."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    return FileSystems._pipeline_options or PipelineOptions([])
