"""Samples of a recording, decoded by a child behind the fence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Pipe
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import formats
from ser_core import audio, guarded, messages, sound
from ser_core.corpora.clips import read_part
from ser_core.errors import AudioError
from ser_core.guarded import Guard
from ser_core.messages import Block, MessageError
from tests.speechlike import call

RAW = (audio.RawFormat("mulaw", extensions=(".ulaw", ".dat")),)


@pytest.fixture(scope="module")
def reader():
    with sound.SoundReader() as reader:
        yield reader


@pytest.fixture
def long_call(tmp_path) -> Path:
    path = tmp_path / "long.wav"
    minutes = np.tile(call([(1, 20, -20), (30, 50, -22)], 60), 20)
    soundfile.write(path, np.stack([minutes, 0.5 * minutes], axis=1), 8_000)
    return path


def samples_of(open_stream, path: Path) -> tuple[int, list[np.ndarray]] | tuple[str, str | None]:
    """Rate and blocks, or the rejection."""
    try:
        with open_stream(str(path), str(path), raw=RAW) as stream:
            return stream.rate, list(stream.blocks())
    except AudioError as error:
        return error.reason, error.detail


@pytest.mark.parametrize("name", [format.name for format in formats.FORMATS])
def test_each_format_is_as_without_a_child(name, reader, tmp_path):
    [format] = [format for format in formats.FORMATS if format.name == name]
    pytest.importorskip("av", reason="PyAV (the extra `av`) makes some of the formats")
    samples = call([(0.5, 2.5, -20)], 3)
    made = formats.Made(format, samples, samples[:8_000])
    for fault in ("cut to 60 %", "2,000 random bytes", "extension .dat"):
        case = formats.FAULTS[fault](made)
        path = tmp_path / f"call{case.extension or format.extension}"
        path.write_bytes(case.data)
        outside = samples_of(audio.open, path)
        inside = samples_of(reader.open, path)
        assert inside[0] == outside[0], fault
        if isinstance(outside[0], str):
            assert inside == outside
        else:
            for ours, theirs in zip(inside[1], outside[1], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_whoever_has_heard_enough_may_stop(reader, long_call):
    child = reader.start().process.pid
    for wanted in (0, 1, 2):
        with reader.open(str(long_call), "a") as stream:
            assert (stream.rate, stream.channels, stream.declared_s) == (8_000, 2, 1_200.0)
            heard = [block for block, _ in zip(stream.blocks(), range(wanted), strict=False)]
        assert len(heard) == wanted
    with reader.open(str(long_call), "a") as stream:
        assert sum(block.shape[1] for block in stream.blocks()) == 1_200 * 8_000
    assert reader.start().process.pid == child


def hear_and_signal(reader: sound.SoundReader, path: Path, number: int) -> None:
    """Hear a recording whose child gets a signal after the first block."""
    with reader.open(str(path), "a") as stream:
        for _ in stream.blocks():
            os.kill(reader.start().process.pid, number)


def test_a_child_that_dies_costs_one_recording(reader, long_call):
    with pytest.raises(AudioError, match="crashed: the process that decoded it died of SIGKILL"):
        hear_and_signal(reader, long_call, signal.SIGKILL)
    with reader.open(str(long_call), "a") as stream:
        assert next(stream.blocks()).shape[0] == 2


def test_a_child_that_hangs_costs_one_recording(long_call):
    with sound.SoundReader(Guard(timeout_s=0.5)) as reader:
        with pytest.raises(AudioError, match=r"timed_out: no progress for 0\.5 s"):
            hear_and_signal(reader, long_call, signal.SIGSTOP)
        with reader.open(str(long_call), "a") as stream:
            assert stream.channels == 2


def test_files_that_are_none(reader, tmp_path):
    for path, detail in ((tmp_path / "gone.wav", "not found"), (tmp_path, "a folder found")):
        with (
            pytest.raises(AudioError, match=f"unreadable: .*{detail}"),
            reader.open(str(path), "a"),
        ):
            pass


def test_it_is_fenced_and_decodes_in_no_other_process(monkeypatch, long_call):
    monkeypatch.setattr(audio, "open", lambda *args, **more: pytest.fail("decoded here"))
    part, rate_hz = read_part(long_call, 1, 10.0, 20.0)
    whole, _ = soundfile.read(long_call, dtype="float32")
    np.testing.assert_array_equal(part, whole[80_000:160_000, 1])
    assert rate_hz == 8_000
    assert "seccomp" in (sound.reader().fence or "") or "no seccomp" in sound.reader().fence


@pytest.mark.parametrize("bad", [1.5, -1.01, np.nan, np.inf])
def test_samples_out_of_range_are_no_message(bad):
    ours, theirs = Pipe()
    with ours, theirs:
        messages.send(theirs, Block(np.zeros((2, 3), np.float32)))
        assert messages.receive(ours).samples.shape == (2, 3)
        messages.send(theirs, Block(np.array([[0.0, bad]], np.float32)))
        with pytest.raises(MessageError, match="a sample outside"):
            messages.receive(ours)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("Beat", '{"recording_id": "r1"}'),
        ("Beat", '{"recording_id": "\\ud800"}'),
        ("Opened", '{"rate": 8000, "channels": 1, "declared_s": 1' + "0" * 400 + "}"),
        ("Opened", '{"rate": 1' + "0" * 30 + ', "channels": 1, "declared_s": null}'),
        ("Header", '{"channels": 1, "tracks": 1, "declared_s": 1, "reason": "no", "detail": null}'),
        ("Beat", '{"recording_id": [' + ",".join(["[]"] * 30_000_000) + "]}"),
        ("Block", '{"samples": null}'),
    ],
)  # fmt: skip
def test_what_no_child_may_say(kind, content):
    text = f'{{"kind": "{kind}", "message": {content}, "rows": 1}}'.encode()
    ours, theirs = Pipe()
    with ours, theirs, ThreadPoolExecutor(1) as thread:
        sent = thread.submit(theirs.send_bytes, len(text).to_bytes(4, "little") + text)
        with pytest.raises(MessageError):
            messages.receive(ours)
        sent.result()


def test_a_child_that_stops_in_the_middle_of_a_message_is_killed():
    with sound.SoundReader(Guard(timeout_s=0.5)) as reader:
        ours, theirs = Pipe()
        code = f"import os, time; os.write({theirs.fileno()}, bytes(2)); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
        theirs.close()
        reader._child, reader._ready = guarded._Child(process, ours), True
        with pytest.raises(AudioError, match="died of SIGKILL"):
            reader.next_of("a")


def test_a_child_that_listens_no_more_is_replaced(reader, long_call, monkeypatch):
    dead = reader.start().process
    dead.kill()
    dead.wait()
    monkeypatch.setattr(dead, "poll", lambda: None)  # as if it ended a moment later
    with reader.open(str(long_call), "a") as stream:
        assert stream.channels == 2


def test_a_default_timeout_of_sockets_does_not_matter(long_call):
    """Google's client sets one for the whole process."""
    before = socket.getdefaulttimeout()
    try:
        with sound.SoundReader() as reader:
            for timeout_s in (None, 60, 60):
                socket.setdefaulttimeout(timeout_s)
                with reader.open(str(long_call), "a") as stream:
                    assert sum(block.shape[1] for block in stream.blocks()) == 1_200 * 8_000
    finally:
        socket.setdefaulttimeout(before)


def test_no_recording_gets_the_samples_of_the_one_before(reader, long_call, tmp_path, monkeypatch):
    other = tmp_path / "other.wav"
    soundfile.write(other, np.full(16_000, 0.5), 16_000)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt), reader.open(str(long_call), "a"):
        pass
    monkeypatch.undo()
    with reader.open(str(other), "b") as stream:
        assert (stream.rate, stream.channels) == (16_000, 1)


@pytest.mark.parametrize(
    "said",
    [[messages.End()], [Block(np.zeros((3, 8), np.float32))], [messages.Beat(None)],
     [Block(np.zeros((2, 8), np.float32)), messages.Opened(8_000, 2, 1.0)]],
)  # fmt: skip
def test_a_child_that_says_something_else_ends(reader, long_call, monkeypatch, said):
    with reader.open(str(long_call), "a") as stream:
        child = reader.start().process
        answers = iter(said)
        monkeypatch.setattr(reader, "next_of", lambda uri, more: next(answers))
        with pytest.raises(AudioError, match="crashed: the process that decoded it sent no result"):
            list(stream.blocks())
    assert child.poll() is not None
