"""Bundles from elsewhere: each attack is refused by name, nothing runs, and signatures hold."""

from __future__ import annotations

import io
import json
import shutil
import tracemalloc

import numpy as np
import pytest

from ser_core import models
from ser_core.errors import BundleError
from ser_core.models import file_checks, signature
from ser_core.models.card import CARD, MODEL, REFERENCE
from ser_core.models.keras_versions import ADVISORIES, check_keras_version
from ser_core.models.signature import SIGNATURE, PublicKey
from tests import hostile_bundles
from tests.hostile_bundles import HOSTILE, MARK
from tests.pipelines.outputs import add_run
from tests.pipelines.outputs import call as stored_call
from tests.tiny_bundle import edit_card


@pytest.fixture
def bundle_here(tiny, tmp_path, monkeypatch):
    """A valid bundle, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tiny


@pytest.mark.fault(
    "file", "Bundles with code, pickles, paths that climb out, bombs, swapped weights or labels",
    "refused by name before anything runs",
)  # fmt: skip
@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_a_hostile_bundle_is_refused_by_name(attack, bundle_here):
    attack(bundle_here)
    MARK.unlink(missing_ok=True)  # Keras calls a Lambda layer when it is made
    with pytest.raises(BundleError, match=HOSTILE[attack]) as refused:
        models.load(bundle_here)
    # The file and what to do.
    assert str(bundle_here) in str(refused.value)
    assert "; " in str(refused.value) or ": get the bundle again" in str(refused.value)
    assert not MARK.exists()


# What only the network's answers tell is found where the network is loaded.
BY_ANSWERS = {hostile_bundles.swapped_weights}


@pytest.mark.parametrize("attack", [a for a in HOSTILE if a not in BY_ANSWERS],
                         ids=lambda attack: attack.__name__)  # fmt: skip
def test_it_is_refused_before_a_night_begins(attack, bundle_here):
    attack(bundle_here)
    with pytest.raises(BundleError, match=HOSTILE[attack]):
        models.check(bundle_here)


@pytest.mark.parametrize("attack", [hostile_bundles.zip_bomb, hostile_bundles.array_bomb,
                                    hostile_bundles.promised_array,
                                    hostile_bundles.endless_weights])  # fmt: skip
def test_a_bomb_takes_no_memory(attack, bundle_here):
    attack(bundle_here)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError):
            models.check(bundle_here)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_file_is_read_once(bundle_here, monkeypatch):
    """What was checked is what is loaded, though the file changes in between."""
    from ser_core.models import network

    def swap_then_check(path, content):
        path.write_bytes(b"another network")
        file_checks.check_keras(path, content)

    monkeypatch.setattr(network, "check_keras", swap_then_check)
    before = json.loads((bundle_here / CARD).read_text())["model_sha256"]
    assert models.load(bundle_here).card.model_sha256 == before


def test_large_files_are_not_read(bundle_here, monkeypatch):
    with (bundle_here / REFERENCE).open("r+b") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(BundleError, match="1,073,741,825 bytes found, 1,073,741,824 at most"):
        models.check(bundle_here)


def test_arrays_of_every_kind_are_read_as_before():
    file = io.BytesIO()
    arrays = {
        "text": np.array(["calm", "angry"]),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 5), np.float16),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    }
    np.savez_compressed(file, **arrays)
    found = file_checks.read_arrays("a.npz", file.getvalue())
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


# Versions of Keras


@pytest.mark.parametrize("version", ["3.12.4", "3.12.5", "3.15.1", "3.15.2", "3.16.0", "4.0.0"])
def test_safe_versions_of_keras(version):
    check_keras_version(version)


@pytest.mark.parametrize(
    ("version", "found", "mended"),
    [
        ("2.15.0", "CVE-2025-1550", None),
        ("3.8.0", "CVE-2025-1550", None),
        ("3.9.0", "CVE-2025-8747", "CVE-2025-1550"),
        ("3.11.0", "CVE-2025-9905", "CVE-2025-9906"),
        ("3.11.3", "CVE-2025-12058", "CVE-2025-9905"),
        ("3.12.0", "CVE-2026-1462", "CVE-2025-12060"),
        ("3.12.3", "#23101", "CVE-2026-1669"),
        ("3.13.1", "CVE-2026-1669", "CVE-2025-12058"),
        ("3.13.2", "GHSA-hqp4-2352-xf5r", "CVE-2026-0897"),
        ("3.14.0", "CVE-2026-12481", "GHSA-hqp4-2352-xf5r"),
        ("3.15.0", "#23101", "CVE-2026-12481"),
        ("3.15.1rc1", "#23101", None),
        ("unknown", "CVE-2025-1550", None),
    ],
)
def test_versions_of_keras_with_holes_are_refused(version, found, mended):
    with pytest.raises(
        BundleError, match=rf"Keras {version} found.*pip install 'keras>=3\.15\.1'"
    ) as e:
        check_keras_version(version)
    assert found in str(e.value)
    assert mended is None or mended not in str(e.value)


def test_every_advisory_is_mended_in_the_safe_versions():
    assert all(main <= (3, 15, 1) and old <= (3, 12, 4) for _, main, old in ADVISORIES)


def test_a_bundle_is_not_loaded_by_a_version_with_holes(bundle_here, monkeypatch):
    from ser_core.models import keras_versions

    monkeypatch.setattr(keras_versions.importlib.metadata, "version", lambda name: "3.13.0")
    for read in (models.check, models.load):
        with pytest.raises(BundleError, match=r"Keras 3\.13\.0 found"):
            read(bundle_here)


# Signatures


@pytest.fixture
def key(tmp_path):
    signature.new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture
def signed(bundle_here, key):
    """A signed bundle and the key by which it is checked."""
    (bundle_here / "confusion.png").write_bytes(b"a picture")
    return bundle_here, signature.sign(bundle_here, key)


def test_a_signed_bundle_is_loaded(signed, key):
    folder, public = signed
    assert PublicKey.read(f"{key}.pub") == public
    assert models.load(folder, signed_by=public).card == models.check(folder, signed_by=public)
    files = json.loads((folder / SIGNATURE).read_text())["files"]
    assert set(files) == {path.name for path in folder.iterdir()} - {SIGNATURE}


def _add(folder):
    (folder / "more.txt").write_text("x")


def _resign_with_own_list(folder):
    values = json.loads((folder / SIGNATURE).read_text())
    values["files"]["more.txt"] = "0" * 64
    (folder / SIGNATURE).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: edit_card(folder, temperature=2.0), "card.json: was changed after"),
        (hostile_bundles.swapped_weights, "card.json: was changed after"),
        (hostile_bundles.swapped_network_alone, "model.keras: was changed after"),
        (hostile_bundles.swapped_reference_alone, "reference.npz: was changed after"),
        (_add, "more.txt: not covered by the signature"),
        (_resign_with_own_list, "not signed by the key"),
        (lambda folder: (folder / SIGNATURE).unlink(), "no signature.json found"),
        (lambda folder: (folder / SIGNATURE).write_text("{}"), "signature.json: no signature"),
        (lambda folder: (folder / SIGNATURE).write_text("[" * 10**6), "no signature"),
    ],
)
def test_a_changed_bundle_is_refused(signed, change, message):
    folder, public = signed
    change(folder)
    for read in (models.check, models.load):
        with pytest.raises(BundleError, match=message):
            read(folder, signed_by=public)


def test_another_s_signature_is_refused(signed, tmp_path):
    folder, public = signed
    other = signature.new_key(tmp_path / "other.pem")
    assert other.id != public.id
    with pytest.raises(BundleError, match=rf"not signed by the key {other.id}"):
        models.check(folder, signed_by=other)


def test_a_key_is_private_and_never_overwritten(key):
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    with pytest.raises(BundleError, match="a key is never overwritten"):
        signature.new_key(key)
    assert key.read_bytes() == before


def test_a_passphrase(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv(signature.PASSPHRASE, "words that nobody guesses")
    key = signature.new_key(tmp_path / "locked.pem")
    assert b"ENCRYPTED" in (tmp_path / "locked.pem").read_bytes()
    assert signature.sign(tiny, tmp_path / "locked.pem") == key
    monkeypatch.delenv(signature.PASSPHRASE)
    with pytest.raises(BundleError, match="set SER_KEY_PASSPHRASE") as refused:
        signature.sign(tiny, tmp_path / "locked.pem")
    assert "words that nobody guesses" not in str(refused.value)


def test_files_that_are_no_keys(tmp_path, tiny, key):
    (tmp_path / "text").write_text("none")
    for path, message in (
        (tmp_path / "text", "something else found"),
        (key, "a private key found"),
        (tmp_path / "missing", "the key cannot be read"),
    ):
        with pytest.raises(BundleError, match=message):
            PublicKey.read(path)
    with pytest.raises(BundleError, match="no private key can be read"):
        signature.sign(tiny, f"{key}.pub")


# The command line


def test_sign_on_the_command_line(ser_here, bundle_here, tmp_path):
    made = ser_here("model", "sign", bundle_here, "--new-key", tmp_path / "k.pem")
    assert made.returncode == 0
    assert "keep it secret" in made.stdout + made.stderr
    copy = tmp_path / "copy"
    again = ser_here("model", "sign", bundle_here, "--key", tmp_path / "k.pem", "--save", copy)
    assert again.returncode == 0
    assert (copy / SIGNATURE).exists()
    (copy / MODEL).write_bytes(b"x")
    damaged = ser_here("model", "sign", copy, "--key", tmp_path / "k.pem")
    assert (damaged.returncode, "SHA-256" in damaged.stderr) == (2, True)
    neither = ser_here("model", "sign", bundle_here)
    assert (neither.returncode, "--new-key KEY to make a key" in neither.stderr) == (2, True)


def test_a_required_signature_is_of_every_bundle_that_a_command_loads(
    ser_here, bundle_here, tmp_path, key
):
    """Also of one that `ser review` compares with, or that `ser train` starts from."""
    add_run(tmp_path / "out", [stored_call("/a.wav")])
    required = ("--require-signature", f"{key}.pub")
    save = ("--save", tmp_path / "saved")
    for words in (
        ("review", "--output", tmp_path / "out", "--against", bundle_here),
        ("train", "--corpus", f"csv={tmp_path}/none.csv", "--from", bundle_here),
    ):
        refused = ser_here(*words, *save, *required)
        assert (refused.returncode, "no signature.json found" in refused.stderr) == (2, True)
        assert "no signature.json found" not in ser_here(*words, *save).stderr


def test_a_night_with_a_required_signature(ser_here, level_model, tmp_path, key):
    """Unsigned: refused before anything is written. Signed: workers check it, too."""
    from tests.conftest import CALLS

    night = ["run", "--input", CALLS / "billing", "--output", tmp_path / "out"]
    night += ["--channel-roles", "agent,customer", "--require-signature", f"{key}.pub"]
    refused = ser_here(*night, "--model", level_model)
    assert (refused.returncode, "no signature.json found" in refused.stderr) == (2, True)
    assert not (tmp_path / "out" / "recordings").exists()
    shutil.copytree(level_model, tmp_path / "level")
    signature.sign(tmp_path / "level", key)
    assert ser_here(*night, "--model", tmp_path / "level").returncode == 0
