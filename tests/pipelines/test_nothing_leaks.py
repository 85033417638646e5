"""Nothing leaks: marked secrets are planted everywhere, and searched for in every output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines import logs
from pipelines.review.listing import as_csv
from pipelines.secrets import has_secret, redacted, without_secrets
from ser_core import temporary
from tests.speechlike import call
from tests.tiny_bundle import edit_card

NAME = "PLANTED-in-a-name"


@pytest.fixture(scope="module")
def planted(tmp_path_factory, level_model):
    """An archive, a model and an environment with secrets."""
    folder = tmp_path_factory.mktemp("planted")
    calls = folder / "calls" / "<script>alert(1)"
    calls.mkdir(parents=True)
    with soundfile.SoundFile(calls / f"{NAME}.wav", "w", 8_000, 2, "ULAW") as file:
        file.title = file.comment = file.artist = "PLANTED-in-a-tag"
        agent = call([(0.5, 3, -18)], 8, noise_db=-90, seed=1)
        customer = call([(4, 7, -42)], 8, noise_db=-90, seed=2)
        file.write(np.stack([agent, customer], axis=1))
    (calls / f"{NAME}-broken.wav").write_bytes(b"RIFF PLANTED-in-the-bytes")
    (calls / "metadata.json").write_text('{"customer": "PLANTED-in-metadata"}')
    shutil.copytree(level_model, folder / "model")
    edit_card(folder / "model", settings={"path": "PLANTED-in-the-card"})
    (folder / "ser.toml").write_text(
        '# PLANTED-in-a-comment\nlawful-basis = "test"\nlog-private = true\n'
    )
    return folder


def texts(folder: Path):
    """The text of each file below a folder; tables as their rows and metadata."""
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            table = pq.ParquetFile(path).read()
            yield path, repr(table.to_pylist()) + repr(table.schema.metadata)
        elif path.is_file():
            yield path, path.read_bytes().decode("latin-1")


def test_planted_secrets_are_in_no_output(ser, planted, tmp_path):
    out = tmp_path / "out"
    env = {
        "AWS_SECRET_ACCESS_KEY": "PLANTED-in-the-environment",
        "GOOGLE_APPLICATION_CREDENTIALS": "/PLANTED-in-the-environment.json",
    }
    done = ser(
        "run", "--input", planted / "calls", "--output", out, "--model", planted / "model",
        "--channel-roles", "agent,customer", "--config", planted / "ser.toml",
        "--max-reject-ratio", "1", "--summary", tmp_path / "summary.json",
        "--s3_secret_access_key=PLANTED-as-an-option", "--s3_session_token", "PLANTED-as-a-word",
        env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ser("show", "--output", out, env=env)
    review = ser("review", "--output", out, "--n", "1", "--save", tmp_path / "list.csv",
                 env=env)  # fmt: skip
    assert review.returncode == 0, review.stderr
    printed = done.stdout + done.stderr
    assert "PLANTED" not in printed  # --log-private: not even the names
    assert os.listdir(out / "recordings")
    found = list(texts(tmp_path))
    assert {".parquet", ".json", ".csv", ".html"} <= {path.suffix for path, _ in found}
    for path, text in found:
        # A recording's name is its identity in tables and lists: all else must not be there.
        assert "PLANTED" not in text.replace(NAME, ""), path
        if path.suffix == ".html":
            assert "<script>alert(1)" not in text, path
        # No audio without --clips.
        assert not text.startswith(("RIFF", "OggS", "fLaC", "ID3")), path


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("s3://AKIA1:ab/c+d@bucket/a.wav", "s3://***@bucket/a.wav"),
        ("s3://bucket/ann@example.com.wav", "s3://bucket/ann@example.com.wav"),
        ("s3://AKIA1:abc@bucket/a.wav", "s3://***@bucket/a.wav"),
        ("https://x/a.wav?sig=1&se=2: 403", "https://x/a.wav?*** 403"),
        ("gs://b/a.wav?X-Goog-Signature=ab is gone", "gs://b/a.wav?*** is gone"),
        ("/calls/what?.wav", "/calls/what?.wav"),
        ("s3://b/what?.wav", "s3://b/what?.wav"),
        ("s3://b/date=2026-03-0?/queue=*/**", "s3://b/date=2026-03-0?/queue=*/**"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'aws_secret_access_key': 'abc'}", "{'aws_secret_access_key': '***'}"),
        ("password=abc", "password=***"),
    ],
)
def test_what_is_redacted(text, clean):
    assert redacted(text) == clean
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "name", ["s3_session_token", "s3-secret-access-key", "key_passphrase", "connection_string",
             "azure_account_key", "private-key"],
)  # fmt: skip
def test_a_command_line_is_stored_without_secrets(name):
    words = ["ser", "run", "--input", "s3://k:abc@b/*", f"--{name}", "abc"]
    words += [f"--{name}=abc", "--x=y"]
    assert "abc" not in without_secrets(words)
    assert without_secrets(words).endswith("--x=y")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--input", "s3://key:PLANTED@bucket/calls"),
        ("--input", "gs://bucket/a.wav?X-Goog-Signature=PLANTED"),
        ("--output", "s3://key:PLANTED@bucket/out"),
        ("--model", "s3://key:PLANTED@bucket/model"),
    ],
)
def test_addresses_with_secrets_are_refused(ser_here, tmp_path, option, value):
    assert has_secret(value)
    words = {"--input": tmp_path, "--output": tmp_path / "out", option: value}
    done = ser_here("run", *(word for pair in words.items() for word in pair))
    assert done.returncode == 2
    assert f"{option}: an address with credentials" in done.stderr
    assert "PLANTED" not in done.stdout + done.stderr
    assert not (tmp_path / "out" / "recordings").exists()


def test_so_are_those_of_a_list(ser_here, tmp_path):
    (tmp_path / "list.txt").write_text("/a.wav\ns3://key:PLANTED@bucket/b.wav\n")
    done = ser_here("run", "--input", f"@{tmp_path}/list.txt", "--output", tmp_path / "out")
    assert (done.returncode, "line 2 holds credentials" in done.stderr) == (2, True)
    assert not any("PLANTED" in text for path, text in texts(tmp_path / "out"))


def test_names_in_private_lines():
    logs.configure(private=True)
    try:
        clean = logs.cleaned(
            "recording /calls/ann smith.wav.part: '/calls/ann smith.wav' and s3://b/ann.WAV: gone; "
            "--output /tables has /tables/recordings"
        )
    finally:
        logs.configure()
    assert "smith" not in clean
    assert "ann.WAV" not in clean
    assert logs.recording_id("s3://b/ann.WAV") + ": gone" in clean
    assert clean.endswith("--output /tables has /tables/recordings")
    line = "recording /calls/ann.wav: broken"
    assert logs.cleaned(line) == line


@pytest.mark.parametrize(
    "uri", ["/calls/ann smith.wav", "s3://calls/Smith, Ann.WAV", "/calls/O'Brien x.mp3.wav"]
)
def test_names_with_spaces_are_no_names_in_private_lines(uri):
    logs.configure(private=True)
    try:
        clean = logs.cleaned(
            f"--output /tables: 3 of /calls hold nothing: {uri}; see /tables/x y, or {uri} ."
        )
    finally:
        logs.configure()
    name = logs.recording_id(uri)
    assert clean == (
        f"--output /tables: 3 of /calls hold nothing: {name}; see /tables/x y, or {name} ."
    )


def test_a_spreadsheet_reads_no_formula():
    text = as_csv(("uri", "label"), [("=HYPERLINK(1)", "@x"), ("+1+1", "-1.5"), ("\tx", "/a.wav")])
    assert text.splitlines()[1:] == ["'=HYPERLINK(1),'@x", "'+1+1,-1.5", "'\tx,/a.wav"]


def test_temporary_folders_are_private_and_swept_after_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary.folder() as path:
        Path(path, "audio").write_bytes(b"x")
        assert os.stat(path).st_mode & 0o777 == 0o700
        assert temporary.sweep() == 0  # it is held
        assert Path(path, "audio").exists()
    assert not Path(path).exists()
    code = (
        "import os, signal, tempfile; from ser_core import temporary\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "with temporary.folder() as path:\n"
        "    open(path + '/audio', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    assert temporary.sweep() == 1
    assert list(tmp_path.iterdir()) == []
