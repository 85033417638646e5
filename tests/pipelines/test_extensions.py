"""What another package brings by entry points, from the command line: see tests/plugin."""

from __future__ import annotations

import json

import soundfile

from tests.speechlike import voice


def test_a_corpus_of_another_package(ser_here, tmp_path, level_model):
    folder = tmp_path / "voices"
    folder.mkdir()
    for seed, speaker in enumerate(("ann", "bob", "cid")):
        for emotion, level_db in (("angry", -20.0), ("calm", -45.0)):
            samples = voice(2.0, level_db=level_db, seed=seed)
            soundfile.write(folder / f"{speaker}_{emotion}.wav", samples, 8_000)
    done = ser_here(
        *("evaluate", "--corpus", f"test_voices={folder}", "--model", level_model),
        *("--condition", "clean", "--json", tmp_path / "e.json", "--cache", tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "6 utterances of 3 speakers" in done.stdout
    assert json.loads((tmp_path / "e.json").read_text())
