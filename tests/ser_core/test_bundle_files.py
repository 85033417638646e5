"""Bundles on disk: what is refused when one is loaded, and what saving one promises."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from ser_core import models
from ser_core.errors import BundleError
from ser_core.models import bundle
from ser_core.models.card import CARD, MODEL, REFERENCE
from ser_core.models.folder import check_target
from ser_core.models.runtime import load_keras
from tests import tiny_bundle
from tests.tiny_bundle import COLUMNS, LABELS, edit_card

# What load refuses


def test_neither_a_folder_nor_a_name(tmp_path):
    with pytest.raises(BundleError, match="no such folder, and no bundled model of that name"):
        models.load(tmp_path / "nothing")


@pytest.mark.parametrize("name", [MODEL, CARD, REFERENCE])
def test_a_missing_file_is_named(tiny, name):
    (tiny / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        models.load(tiny)


def test_a_changed_network_is_refused(tiny):
    with (tiny / MODEL).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="SHA-256"):
        models.load(tiny)


def test_another_fingerprint_is_refused(tiny):
    edit_card(tiny, fingerprint="0" * 16)
    with pytest.raises(BundleError, match=r"fingerprint 0{16}.*train it again"):
        models.load(tiny)


def test_unknown_features_are_refused(tiny):
    edit_card(tiny, feature_set="unheard")
    with pytest.raises(BundleError, match="no feature set is called 'unheard'"):
        models.load(tiny)


def test_labels_that_are_not_the_network_s_are_refused(tiny):
    edit_card(tiny, labels=["calm", "sad"])
    with pytest.raises(BundleError, match="labels calm, sad found, but the network was trained"):
        models.load(tiny)


def test_other_outputs_than_the_labels_are_refused(tiny):
    with np.load(tiny / REFERENCE) as kept:
        arrays = {name: kept[name] for name in ("inputs", "outputs")}
    np.savez(tiny / REFERENCE, **arrays)
    edit_card(tiny, labels=["calm", "sad"], reference_sha256="")
    with pytest.raises(BundleError, match="gives 3 outputs, 193 and 2 labels expected"):
        models.load(tiny)


def test_other_answers_than_the_kept_ones_are_refused(tiny):
    with np.load(tiny / REFERENCE) as kept:
        inputs, outputs = kept["inputs"], kept["outputs"]
    # As of a version that wrote no hash of this file.
    edit_card(tiny, reference_sha256="")
    np.savez(tiny / REFERENCE, inputs=inputs, outputs=outputs + 5e-4)
    models.load(tiny)
    np.savez(tiny / REFERENCE, inputs=inputs, outputs=outputs[:, ::-1])
    with pytest.raises(BundleError, match="answers are off by"):
        models.load(tiny)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_reference_is_refused(tiny, content):
    (tiny / REFERENCE).write_bytes(content)
    with pytest.raises(BundleError, match=REFERENCE):
        models.load(tiny)


def test_a_reference_with_pickles_is_refused(tiny):
    np.savez(tiny / REFERENCE, inputs=np.array([{}], dtype=object), outputs=[0])
    with pytest.raises(BundleError, match=REFERENCE):
        models.load(tiny)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2 found, 1 expected"),
        ({"labels": ["calm"]}, "two or more expected"),
        ({"labels": None}, "labels"),
        ({"labels": [1, 2, 3]}, "labels"),
        ({"temperature": 0}, "temperature=0 found"),
        ({"temperature": "hot"}, "temperature='hot' found"),
        ({"unsure_segment_below": 1.5}, "unsure_segment_below=1.5 found"),
        ({"unsure_recording_below": None}, "unsure_recording_below=None found"),
    ],
)
def test_a_card_with_wrong_values_is_refused(tiny, changes, message):
    edit_card(tiny, **changes)
    with pytest.raises(BundleError, match=message):
        models.read_card(tiny)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 1}'])
def test_a_card_that_is_none_is_refused(tiny, content):
    (tiny / CARD).write_text(content)
    with pytest.raises(BundleError, match=CARD):
        models.read_card(tiny)


def with_network(folder: Path, content: bytes) -> Path:
    """The bundle with another file as its network, with the right hash."""
    import hashlib

    (folder / MODEL).write_bytes(content)
    edit_card(folder, model_sha256=hashlib.sha256(content).hexdigest())
    return folder


def test_lambda_layers_are_refused_before_they_run(tiny, tmp_path):
    keras = load_keras()
    model = keras.Sequential(
        [keras.Input((COLUMNS,)), keras.layers.Lambda(lambda x: x[:, :3]), keras.layers.Softmax()]
    )
    model.save(tmp_path / "evil.keras")
    with pytest.raises(BundleError, match="Lambda, which may run code"):
        models.load(with_network(tiny, (tmp_path / "evil.keras").read_bytes()))


def test_layers_from_elsewhere_are_refused(tiny, tmp_path):
    import zipfile

    path = tmp_path / "other.keras"
    with zipfile.ZipFile(tiny / MODEL) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.namelist():
            content = old.read(item)
            if item == "config.json":
                config = json.loads(content)
                config["config"]["layers"][-1] |= {"module": "os", "class_name": "system"}
                content = json.dumps(config)
            new.writestr(item, content)
    with pytest.raises(BundleError, match=r"os\.system, which may run code"):
        models.load(with_network(tiny, path.read_bytes()))


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_keras_file_is_refused(tiny, content):
    with pytest.raises(BundleError, match="not a Keras 3 file"):
        models.load(with_network(tiny, content))


# What save promises


def test_an_older_bundle_is_replaced_and_nothing_is_left_beside_it(tiny):
    before = models.read_card(tiny)
    tiny_bundle.make(tiny, ("x", "y"), "seed193", tiny_bundle.threshold([3], [0.0]))
    assert models.load(tiny).labels == ("x", "y") != before.labels
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="files that are not a model bundle"):
        tiny_bundle.make(tmp_path / "home", LABELS, "seed193", tiny_bundle.threshold([0], [0, 1]))
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(BundleError, match=f"ours: {tmp_path} is not writable; give another folder"):
        check_target(tmp_path / "ours")


def test_a_bundle_that_can_no_longer_be_written(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(BundleError, match=r"could not be written: .*No space left"):
        tiny_bundle.make(tmp_path / "a", LABELS, "seed193", tiny_bundle.threshold([0], [0, 1]))


def test_an_empty_folder_and_missing_parents_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        tiny_bundle.make(folder, LABELS, "seed193", tiny_bundle.threshold([0], [0, 1]))
        models.load(folder)


def test_a_failed_save_leaves_the_old_bundle_and_no_rest(tiny, monkeypatch):
    before = models.read_card(tiny)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.np, "savez", full)
    with pytest.raises(BundleError, match="No space left"):
        tiny_bundle.make(tiny, ("x", "y"), "seed193", tiny_bundle.threshold([3], [0.0]))
    assert models.read_card(tiny) == before
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]
