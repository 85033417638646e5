"""Nothing but the recording is read: no second file, no address, no pipe."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import select
import shutil
import socket
import subprocess
import sys
import threading

import duckdb
import pytest
import soundfile

from ser_core import audio
from ser_core.audio.decoders.base import RefusedError
from ser_core.audio.decoders.ffmpeg import CONTAINERS, PyAVDecoder
from ser_core.audio.views import View
from ser_core.errors import AudioError
from tests.speechlike import call

_IN_OPEN = 0x20
# Texts that FFmpeg's programs follow, by the formats that read them.
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=audio {port} RTP/AVP 0\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="audio/mp4"><Representation '
    'id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>",
    "lines": "{target}\n{target}\n",
}


class Watched:
    """A server and a file that nobody should ask for."""

    def __init__(self, folder) -> None:
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        self.file = folder / "other.wav"
        soundfile.write(self.file, call([(1, 4, -20)], 5), 8_000)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK)
        watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(self.file), _IN_OPEN)
        assert watch >= 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._server.accept()[0]
                self.connections += 1
                connection.close()

    @property
    def was_opened(self) -> bool:
        return bool(select.select([self._inotify], [], [], 0)[0])

    def playlists(self) -> dict[str, bytes]:
        """Texts that name the server or the file."""
        targets = {"net": f"http://127.0.0.1:{self.port}/a.wav", "file": str(self.file)}
        return {
            f"{format}-{kind}": text.format(target=target, port=self.port).encode()
            for format, text in PLAYLISTS.items()
            for kind, target in targets.items()
        }

    def close(self) -> None:
        self._server.close()
        os.close(self._inotify)


@pytest.fixture
def watched(tmp_path):
    watched = Watched(tmp_path)
    yield watched
    watched.close()


def test_the_watchers_see_what_they_watch(watched):
    assert not watched.was_opened
    watched.file.read_bytes()
    assert watched.was_opened
    with socket.create_connection(("127.0.0.1", watched.port)) as connection:
        connection.recv(1)
    assert watched.connections == 1


@pytest.mark.parametrize("extension", ["wav", "mp3", "m3u8", "g722", "ulaw", "raw"])
def test_text_is_no_recording(watched, extension):
    for data in (*watched.playlists().values(), b"\xef\xbb\xbfcall,agent\r\n1,Anne\r\n"):
        with pytest.raises(AudioError, match="unsupported_format: text, not audio"):
            audio.decode(data, f"a.{extension}")
    assert not watched.was_opened
    assert not watched.connections


@pytest.mark.parametrize("before", [b"", b"\0" * 100, b"ID3\x03\0\0\0\0\0\0"])
def test_ffmpeg_itself_refuses_what_names_other_files(watched, before):
    pytest.importorskip("av", reason="PyAV (the extra `av`) is what refuses here")
    for name, text in watched.playlists().items():
        view = View(io.BytesIO(before + text), [(0, len(before + text))])
        with pytest.raises((RefusedError, AudioError)):
            PyAVDecoder(view, f"{name}.wav").read(8_000)
    assert not watched.was_opened
    assert not watched.connections


def test_the_list_of_containers_names_none_that_opens_others():
    av = pytest.importorskip("av", reason="PyAV (the extra `av`) knows the formats")
    names = {name for formats in av.formats_available for name in formats.split(",")}
    assert {"mov", "matroska", "wav", "amr"} <= CONTAINERS & names
    openers = {"applehttp", "concat", "dash", "hls", "image2", "image2pipe", "imf", "lavfi", "rtp"}
    openers |= {"rtsp", "sap", "sdp", "tee", "vobsub", "webm_dash_manifest", "alsa", "avisynth"}
    assert not CONTAINERS & openers


@pytest.fixture
def archive(watched, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "good.wav", call([(1, 4, -20)], 5), 8_000)
    for name, text in watched.playlists().items():
        (folder / f"{name}.wav").write_bytes(text)
    os.mkfifo(folder / "pipe.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(folder):
        server.bind("socket.wav")
    return folder


def test_plan_and_run_read_the_recordings_only(watched, archive, level_model, ser_here, tmp_path):
    words = ("--input", archive, "--output", tmp_path / "out", "--model", level_model)
    planned = ser_here("plan", *words)
    text = " ".join(planned.stdout.split())
    assert planned.returncode == 6, planned.stderr  # most would be rejected
    assert "unsupported_format: 10 of 14 examined" in text
    assert "unreadable: 3 of 14 examined" in text
    ser_here("run", *words)
    found = dict(
        duckdb.sql(
            f"SELECT parse_filename(uri), reason FROM '{tmp_path}/out/recordings/**/*.parquet'"
        ).fetchall()
    )
    expected = {f"{name}.wav": "unsupported_format" for name in watched.playlists()}
    expected |= dict.fromkeys(["pipe.wav", "device.wav", "socket.wav"], "unreadable")
    assert found == {**expected, "good.wav": None}
    assert not watched.was_opened
    assert not watched.connections


@pytest.mark.parametrize("command", ["explore", "train"])
def test_labelled_speech_is_read_alone(watched, archive, ser_here, tmp_path, command):
    lines = ["uri,start_s,end_s,label,speaker"]
    lines += [f"{path},,,angry,s1" for path in sorted(archive.iterdir())]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ["--corpus", f"csv={tmp_path / 'labels.csv'}", "--cache", tmp_path / "cache"]
    words += {"explore": ["--page", tmp_path / "p.html"], "train": ["--save", tmp_path / "model"]}[
        command
    ]
    done = ser_here(command, *words)
    assert done.returncode == 2
    assert "text, not audio" in done.stderr
    assert not watched.was_opened
    assert not watched.connections


def test_no_system_call_of_the_network_and_no_other_file(watched, archive, tmp_path):
    if not (strace := shutil.which("strace")):
        pytest.skip("no strace on this machine")
    pytest.importorskip("av", reason="PyAV (the extra `av`) is what could call")
    code = (
        "import sys\n"
        "from ser_core.audio import Limits\n"
        "from ser_core.examine import Settings, Source, examine\n"
        "from ser_core.header import read_header\n"
        "for path in sys.argv[1:]:\n"
        "    examine(path, Source(path, 1, 1), Settings('test_simple'))\n"
        "    read_header(path, path, Limits())\n"
    )
    paths = [str(path) for path in sorted(archive.iterdir())]
    log = tmp_path / "strace.log"
    words = [strace, "-f", "-o", log, "-e", "trace=network,open,openat", sys.executable, "-c", code]
    subprocess.run([*words, *paths], check=True, timeout=120)
    calls = log.read_text().splitlines()
    opened = [line for line in calls if "open" in line and str(tmp_path) in line]
    assert any("good.wav" in line for line in opened)
    assert not any("other.wav" in line for line in opened)
    assert not any("pipe.wav" in line or "device.wav" in line for line in opened)
    named = ("socket(", "connect(", "bind(", "listen(", "sendto(")
    assert not [line for line in calls if any(name in line for name in named)]
