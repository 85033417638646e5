"""Checks of a machine: could a night run here, and what is in its way?

Each check is a function that gives findings. A finding is `ok`, a `warning` (a night runs, but
slower, less protected, or without some formats), or a `problem` (a night could not run).
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import io
import itertools
import locale
import os
import platform
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_PACKAGE, _OLDEST_PYTHON = "ser-pipeline", (3, 11)
# Room in the folder for temporary files: less is too little for a recording of --max-size-mb.
_LEAST_FREE_GB, _GOOD_FREE_GB = 2.5, 10.0
_SPEED_FILE_MB, _GOOD_MB_PER_S = 32, 20.0
_MOST_SKEW_S = 5.0
# Of one worker with the default model, and of a launcher (docs/performance.md).
_WORKER_GB = 1.7
_LEAST_SHM_MB = 64
# A pattern with {date:…} is looked up for so many days: today's calls may not be there yet.
_DAYS = 8
_EXTRAS = {
    "av": ("av", "M4A, WebM, AMR, WMA and others are rejected as unsupported_format"),
    "aws": ("boto3", "s3:// cannot be read or written"),
    "gcp": ("google-cloud-storage", "gs:// cannot be read or written"),
}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Parameters
    ----------
    check : str
    state : str
        `ok`, `warning` or `problem`.
    found : str
    advice : str
        What to do; empty where it is ok.
    """

    check: str
    state: str
    found: str
    advice: str = ""


def examine_machine(inputs: Sequence[str] = (), output: str | None = None) -> Iterator[Finding]:
    """All findings, in the order of the checks.

    Parameters
    ----------
    inputs : sequence of str
        Patterns of --input.
    output : str, optional
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", python),
        ("libraries", libraries),
        ("libsndfile", libsndfile),
        ("ffmpeg", ffmpeg),
        ("extras", extras),
        ("fence", fence),
        ("temporary files", temporary_files),
        ("/dev/shm", shared_memory),
        ("locale", text_encoding),
        ("cores and memory", cores_and_memory),
    ]
    if output is not None:
        checks.append(("output", partial(writable, output)))
    checks += [(f"input {name}", partial(readable, name)) for name in inputs]
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken library is what is looked for
            yield Finding(name, PROBLEM, f"{type(error).__name__}: {error}", "install it again")


def python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        yield Finding("python", PROBLEM, found, f"install Python {wanted} or newer")
    else:
        yield Finding("python", OK, found)


def libraries() -> Iterator[Finding]:
    """Versions of what the package needs, compared with its ranges and with what was tested."""
    from packaging.requirements import Requirement

    wrong, other, count = [], [], 0
    tested = _tested_versions()
    for text in importlib.metadata.requires(_PACKAGE) or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} ({requirement.specifier} expected)")
        elif tested.get(requirement.name.lower(), version) != version:
            other.append(f"{requirement.name} {version} ({tested[requirement.name.lower()]})")
    if wrong:
        yield Finding(
            "libraries", PROBLEM, ", ".join(wrong), "pip install -c constraints.txt ser-pipeline"
        )
    elif other:
        yield Finding(
            "libraries", WARNING, f"not as tested: {', '.join(other)}",
            "pip install -c constraints.txt ser-pipeline",
        )  # fmt: skip
    else:
        as_tested = " as tested" if tested else ""
        yield Finding("libraries", OK, f"{count} found{as_tested}")


def _tested_versions() -> dict[str, str]:
    """Versions of constraints.txt, where it lies beside the package."""
    file = Path(__file__).parents[1] / "constraints.txt"
    if not file.exists():
        return {}
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    pairs = (line.partition("==") for line in lines)
    return {name.strip().lower(): version for name, equals, version in pairs if equals}


def libsndfile() -> Iterator[Finding]:
    """Encode and decode a little in each format."""
    import numpy as np
    import soundfile

    from ser_core import audio
    from ser_core.errors import AudioError

    version = soundfile.__libsndfile_version__
    failed = []
    for container, codec in (
        ("WAV", "PCM_16"), ("WAV", "ULAW"), ("WAV", "GSM610"), ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, np.zeros(8_000), 8_000, codec, format=container)
            audio.decode(buffer.getvalue())
        except (soundfile.LibsndfileError, ValueError, AudioError):
            failed.append(f"{container} {codec}")
    if failed:
        found = f"{version}, cannot decode {', '.join(failed)}"
        yield Finding("libsndfile", WARNING, found, "pip install -U soundfile")
    else:
        yield Finding("libsndfile", OK, f"{version}: WAV, FLAC, Vorbis, Opus, MP3")


def ffmpeg() -> Iterator[Finding]:
    try:
        import av
    except ImportError:
        return  # told by the extras
    wanted = {"aac": "AAC", "amrnb": "AMR", "wmav2": "WMA", "g726": "G.726", "g729": "G.729",
              "g723_1": "G.723.1", "speex": "Speex", "alac": "ALAC"}  # fmt: skip
    available = [name for codec, name in wanted.items() if codec in av.codecs_available]
    version = ".".join(map(str, av.library_versions.get("libavcodec", ())))
    found = f"PyAV {av.__version__}, libavcodec {version}: {', '.join(available)}"
    missing = sorted(set(wanted.values()) - set(available))
    if missing:
        yield Finding("ffmpeg", WARNING, f"{found}; not {', '.join(missing)}", "pip install -U av")
    else:
        yield Finding("ffmpeg", OK, found)


def extras() -> Iterator[Finding]:
    for extra, (distribution, without) in _EXTRAS.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                f"extra {extra}", WARNING, f"not installed: {without}",
                f"pip install 'ser-pipeline[{extra}]', if you need it",
            )  # fmt: skip
        else:
            yield Finding(f"extra {extra}", OK, f"{distribution} {version}")


def fence() -> Iterator[Finding]:
    """Start a child that decodes, and ask it what is closed round it."""
    from ser_core import audio
    from ser_core.header_reader import HeaderReader

    with HeaderReader(audio.Limits()) as reader:
        closed = reader.wait()
    if closed.is_closed and not closed.missing:
        yield Finding("fence", OK, str(closed))
    elif closed.is_closed:
        yield Finding("fence", OK, f"{closed}; seccomp alone is a whole fence")
    else:
        yield Finding(
            "fence", WARNING, str(closed),
            "a kernel with seccomp, and a container that permits it; --require-fence would refuse "
            "to run here",
        )  # fmt: skip


def temporary_files() -> Iterator[Finding]:
    """Room and speed of the folder for temporary files, and the clock of its file system."""
    folder = tempfile.gettempdir()
    free_gb = shutil.disk_usage(folder).free / 1e9
    data = os.urandom(1 << 20)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.monotonic()
        for _ in range(_SPEED_FILE_MB):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
        mb_per_s = _SPEED_FILE_MB / max(1e-6, time.monotonic() - began)
        skew_s = abs(os.stat(file.name).st_mtime - time.time())
    found = f"{folder}: {free_gb:,.1f} GB free, {mb_per_s:,.0f} MB/s"
    if free_gb < _LEAST_FREE_GB:
        yield Finding("temporary files", PROBLEM, found, "free some room, or set TMPDIR")
    elif free_gb < _GOOD_FREE_GB or mb_per_s < _GOOD_MB_PER_S:
        yield Finding("temporary files", WARNING, found, "set TMPDIR to a larger or faster disk")
    else:
        yield Finding("temporary files", OK, found)
    yield _clock("clock", skew_s, folder)


def _clock(check: str, skew_s: float, where: str) -> Finding:
    found = f"{skew_s:.1f} s from that of {where}"
    if skew_s > _MOST_SKEW_S:
        return Finding(check, WARNING, found, "set the clock by NTP: --min-age-s compares the two")
    return Finding(check, OK, found)


def shared_memory() -> Iterator[Finding]:
    folder = "/dev/shm"
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        yield Finding(folder, WARNING, "not there, or not writable", "docker run --shm-size=256m")
        return
    free_mb = shutil.disk_usage(folder).free / 1e6
    state = OK if free_mb >= _LEAST_SHM_MB else WARNING
    advice = "" if state == OK else "docker run --shm-size=256m"
    yield Finding(folder, state, f"{free_mb:,.0f} MB free", advice)


def text_encoding() -> Iterator[Finding]:
    names, texts = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    found = f"file names {names}, texts {texts}"
    if {names.lower(), texts.lower()} <= {"utf-8", "utf8"}:
        yield Finding("locale", OK, found)
    else:
        yield Finding("locale", WARNING, found, "set LC_ALL=C.UTF-8 or PYTHONUTF8=1")


def cores_and_memory() -> Iterator[Finding]:
    import psutil

    cores = len(os.sched_getaffinity(0))
    total_gb = min(psutil.virtual_memory().total, _group_limit()) / 1e9
    found = f"{cores} cores, {total_gb:,.1f} GB"
    fit = int(total_gb / _WORKER_GB)
    if fit < 1:
        yield Finding("cores and memory", PROBLEM, found, f"{_WORKER_GB} GB are needed at least")
    elif fit < cores:
        advice = f"--workers {fit}: a worker takes about {_WORKER_GB} GB"
        yield Finding("cores and memory", WARNING, found, advice)
    else:
        yield Finding("cores and memory", OK, found)


def _group_limit() -> float:
    """Memory that the control group of this process may take, in bytes."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return float(Path(path).read_text())
        except (OSError, ValueError):  # no such file; "max"
            continue
    return float("inf")


def writable(output: str) -> Iterator[Finding]:
    """Write, list and delete a small file where the tables would be."""
    from pipelines.storage import files

    root = files.absolute(output)
    path = files.join(root, f"_doctor-{uuid.uuid4().hex}")
    was_there = files.is_remote(root) or os.path.isdir(root)
    try:
        files.write_whole(path, "ser doctor")
        now = time.time()
        if files.is_remote(root):
            modified_s = next(files.listed(path)).modified_us / 1e6
        else:
            modified_s = os.stat(path).st_mtime
        files.delete([path])
    except Exception as error:
        yield Finding("output", PROBLEM, f"{root}: {files.error_text(error)}", _advice(root))
        return
    finally:
        if not was_there:
            files.remove_empty_folders([root])
    room = "" if files.is_remote(root) else f", {_free_gb(root):,.1f} GB free"
    yield Finding("output", OK, f"{root}: can be written{room}")
    yield _clock("clock of the output", abs(modified_s - now), root)


def _free_gb(path: str) -> float:
    folder = Path(path)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


def readable(pattern: str) -> Iterator[Finding]:
    """Find the first recording of a pattern, and read its first bytes."""
    from pipelines.storage import files, inputs
    from ser_core.names import path_of

    check = f"input {pattern}"
    dates = [dt.date.today() - dt.timedelta(days=i) for i in range(_DAYS)]
    try:
        first = next(inputs.match([pattern], dates=dates), None)
        if first is None:
            tried = ", ".join(itertools.islice(inputs.expanded([pattern], dates), 2))
            dated = inputs.names_dates([pattern])
            found = f"nothing matches on the last {_DAYS} days: {tried}, …" if dated else None
            advice = "a pattern such as 'calls/**/*.wav'"
            yield Finding(check, PROBLEM, found or "nothing matches", advice)
            return
        path = first.uri if files.is_remote(first.uri) else path_of(first.uri)
        with files.read(path) as file:
            file.read(64)
    except Exception as error:
        yield Finding(check, PROBLEM, files.error_text(error), _advice(pattern))
        return
    yield Finding(check, OK, f"can be read: {first.uri}")


def _advice(path: str) -> str:
    if path.startswith("s3://"):
        return "credentials of AWS: AWS_PROFILE, AWS_ACCESS_KEY_ID, a role, or --s3_… options"
    if path.startswith("gs://"):
        return "credentials of Google: GOOGLE_APPLICATION_CREDENTIALS, or a service account"
    return "check that it is mounted, and the rights of this user"
