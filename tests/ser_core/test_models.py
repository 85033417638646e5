"""Bundles: answers that follow from the input, rows by themselves, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_core import features, models
from ser_core.errors import BundleError
from ser_core.models import bundle
from ser_core.models.calibration import calibrate
from ser_core.models.card import BUNDLED, CARD, MODEL, REFERENCE, Card
from ser_core.models.history import histories, history_belief
from ser_core.models.network import BATCH_ROWS
from ser_core.models.recipes import article_network
from ser_core.models.runtime import load_keras
from tests import tiny_bundle

LABELS = ("calm", "sad", "angry")
COLUMNS = 193


@pytest.fixture
def tiny(tmp_path) -> Path:
    weights = tiny_bundle.threshold([0, 1], [-1.0, 2.0])
    return tiny_bundle.make(tmp_path / "tiny", LABELS, "seed193", weights)


@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> models.Bundle:
    """The article's network with weights that were never trained, z-scoring, temperature."""
    folder = tmp_path_factory.mktemp("models") / "deep"
    random = np.random.default_rng(5)
    model = article_network.dense_network(
        COLUMNS, 8, mean=random.normal(size=COLUMNS), variance=random.uniform(0.1, 9, COLUMNS)
    )
    bundle.save(folder, model, card_of("seed193", 8, temperature=0.3), vectors(5))
    return models.load(folder)


def card_of(feature_set: str, count: int, **more) -> Card:
    found = features.get(feature_set)
    names = tuple(f"e{i}" for i in range(count))
    return Card(
        name="deep", labels=names, feature_set=found.id, fingerprint=found.fingerprint, **more
    )


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (count, COLUMNS)).astype(np.float32)


def edit_card(folder: Path, **changes) -> None:
    path = folder / CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# What predict promises


def test_the_answer_is_the_one_the_weights_say(tiny):
    loaded = models.load(tiny)
    matrix = vectors(200)
    mean = matrix[:, :2].mean(axis=1)
    expected = (mean > -1).astype(int) + (mean > 2)
    assert set(expected) == {0, 1, 2}
    found = loaded.predict(matrix)
    np.testing.assert_array_equal(found.argmax(axis=1), expected)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert loaded.labels == LABELS
    assert loaded.feature_set == "seed193"
    assert loaded.fingerprint == features.get("seed193").fingerprint


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), count=st.integers(1, 200))
def test_a_row_is_the_same_to_the_bit_wherever_it_stands(deep, data, count):
    matrix = vectors(200)
    alone = deep.predict(matrix)
    rows = data.draw(st.lists(st.integers(0, 199), min_size=count, max_size=count))
    np.testing.assert_array_equal(deep.predict(matrix[rows]), alone[rows])


def test_every_place_in_a_batch_gives_the_same_bits(deep):
    vector = vectors(1, seed=9)
    everywhere = deep.predict(np.repeat(vector, BATCH_ROWS, axis=0))
    assert len(np.unique(everywhere, axis=0)) == 1
    np.testing.assert_array_equal(everywhere[:1], deep.predict(vector))


def test_dropout_is_off_and_zscoring_is_inside(tmp_path):
    mean, variance = np.arange(COLUMNS), np.full(COLUMNS, 4.0)
    plain = article_network.dense_network(COLUMNS, 2, layers=(5,), dropout=0.9)
    scaled = article_network.dense_network(
        COLUMNS, 2, layers=(5,), dropout=0.9, mean=mean, variance=variance
    )
    scaled.layers[1].set_weights(plain.layers[0].get_weights())
    scaled.layers[-1].set_weights(plain.layers[-1].get_weights())
    answers = []
    for model, matrix in ((plain, vectors(9)), (scaled, 2 * vectors(9) + mean)):
        bundle.save(tmp_path / "b", model, card_of("seed193", 2), vectors(1))
        answers.append(models.load(tmp_path / "b").predict(matrix))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


def test_no_rows_give_no_rows(deep):
    assert deep.predict(np.empty((0, COLUMNS))).shape == (0, 8)


def test_channel_ids_change_nothing_in_a_bundle_without_normaliser(deep):
    matrix = vectors(7)
    np.testing.assert_array_equal(
        deep.predict(matrix, channel=np.arange(7) % 2), deep.predict(matrix)
    )
    with pytest.raises(BundleError, match="3 channel ids found, one per row expected: 7"):
        deep.predict(matrix, channel=np.zeros(3))


@pytest.mark.parametrize("shape", [(COLUMNS,), (2, COLUMNS - 1), (2, 1, COLUMNS)])
def test_a_matrix_of_another_shape_is_refused(deep, shape):
    with pytest.raises(BundleError, match=r"\(n, 193\) expected"):
        deep.predict(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(deep, value):
    with pytest.raises(BundleError, match="NaN or infinity"):
        deep.predict(np.full((1, COLUMNS), value))


def test_absurd_vectors_give_finite_answers(deep):
    assert np.isfinite(deep.predict(np.full((2, COLUMNS), [[1e30], [-1e30]]))).all()


@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=8), st.floats(0.1, 10))
def test_temperature_is_a_power_of_the_odds(weights, temperature):
    given_ = np.array([weights]) / np.sum(weights)
    found = calibrate(given_, temperature)
    power = given_ ** (1 / temperature)
    np.testing.assert_allclose(found, power / power.sum(), rtol=1e-4, atol=1e-6)


def test_the_card_s_temperature_is_used(tmp_path):
    weights = tiny_bundle.threshold([0], [0.0])
    cold, hot = (
        models.load(
            tiny_bundle.make(tmp_path / str(t), ("a", "b"), "seed193", weights, temperature=t)
        )
        for t in (1.0, 2.0)
    )
    matrix = vectors(20)
    logit = np.log(cold.predict(matrix)) @ [-1, 1]
    np.testing.assert_allclose(np.log(hot.predict(matrix)) @ [-1, 1], logit / 2, rtol=1e-3)


# What a bundle says of itself


def test_a_card_goes_to_disk_and_back(tiny):
    card = models.read_card(tiny)
    assert card == models.load(tiny).card
    assert card.id == f"tiny-{card.model_sha256[:8]}"
    assert json.loads((tiny / CARD).read_text())["id"] == card.id
    assert (tiny / "CARD.md").read_text().startswith(f"# {card.id}\n")


def test_cards_and_names_need_no_tensorflow(tiny):
    code = (
        "import sys; from ser_core import models; "
        f"models.read_card({str(tiny)!r}); models.bundled_names(); models.default_name(); "
        "assert not {'tensorflow', 'keras', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_predictions_need_neither_plots_nor_scikit_learn(tiny):
    """Keras would import both; where they are needed, they are there."""
    code = (
        f"import sys; from ser_core import models; models.load({str(tiny)!r}); "
        "assert 'keras' in sys.modules; "
        "assert not {'sklearn', 'matplotlib'} & set(sys.modules); "
        "import matplotlib.pyplot, sklearn.metrics"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_article_s_bundle_tells_what_a_random_split_hides():
    loaded = models.load("seed")
    assert loaded.id == f"seed-{loaded.card.model_sha256[:8]}"
    assert "not for commercial use" in loaded.licence
    assert len(loaded.labels) == 8
    results = loaded.card.results
    # Voices stand on both sides of the random split.
    assert results["random"]["uar"] > results["speaker"]["uar"] > 0.25
    assert results["speaker_mulaw"]["uar"] < 0.25


def test_the_default_holds_on_the_telephone_and_its_card_is_complete():
    assert models.default_name() == "calls"
    loaded = models.load("calls")
    assert loaded.feature_set == "telephone"
    assert "not for commercial use" in loaded.licence
    assert "calls-open" in loaded.licence
    card = loaded.card
    uar = {name: scores["uar"] for name, scores in card.results.items()}
    assert min(uar["clean_none"], uar["mulaw_none"]) > 0.66
    assert uar["hard_none"] > 0.635
    assert uar["clean_mixed"] > 0.72
    assert uar["mulaw_mixed"] > 0.715
    assert uar["hard_mixed"] > 0.685
    # Safe where all that is known is of one kind.
    for condition in ("clean", "mulaw", "hard"):
        # Over the hard line calm clips cost a point, well within its interval of 4.
        assert uar[f"{condition}_calm"] > uar[f"{condition}_none"] - 0.02
        assert uar[f"{condition}_angry"] > uar[f"{condition}_none"] - 0.04
    # Confident where it is right.
    assert card.measures["calibration_error"]["segments of calls"] < 0.05
    for figures in card.measures["unsure"].values():
        assert figures["right_if_sure"] >= 0.8
        assert figures["sure"] >= 0.45


def test_the_open_bundle_is_of_open_data():
    card = models.read_card("calls-fast")
    assert [corpus["licence"] for corpus in card.corpora] == ["CC0"]
    assert card.licence == "trained on EMO-DB, CC0"
    assert card.settings["noise"] is None


def test_the_bundles_are_small():
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert all(path.stat().st_size < 60_000 for path in files if path.suffix == ".png")


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
    with pytest.raises(BundleError, match="gives 3 outputs, 193 and 2 labels expected"):
        models.load(tiny)


def test_other_answers_than_the_kept_ones_are_refused(tiny):
    with np.load(tiny / REFERENCE) as kept:
        inputs, outputs = kept["inputs"], kept["outputs"]
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


def test_the_article_s_network():
    model = article_network.dense_network(193, 8)
    layers = [(type(layer).__name__, getattr(layer, "units", None)) for layer in model.layers]
    assert layers == [
        ("Dense", 386),
        ("Dropout", None),
        ("Dense", 193),
        ("Dropout", None),
        ("Dense", 96),
        ("Dropout", None),
        ("Dense", 8),
    ]
    assert [layer.rate for layer in model.layers[1::2]] == [0.2] * 3
    assert [layer.activation.__name__ for layer in model.layers[::2]] == ["relu"] * 3 + ["softmax"]


def test_one_seed_gives_one_network_and_touches_nothing_else():
    before = np.random.get_state()[1].copy()
    first, again, other = (
        article_network.dense_network(20, 3, seed=seed).get_weights() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not any((a == b).all() for a, b in zip(first[::2], other[::2], strict=True))
    # Layers of one shape start differently.
    square = article_network.dense_network(20, 20, layers=(20, 20)).get_weights()
    assert not (square[0] == square[2]).all()


# A channel's history


@pytest.fixture(scope="module")
def relative(tmp_path_factory) -> models.Bundle:
    return models.load(tiny_bundle.make_relative(tmp_path_factory.mktemp("models") / "relative"))


def test_histories_are_those_of_the_others():
    matrix = vectors(12)
    channel = np.array(list("abacabaadbba"))
    count, mean, variance = histories(matrix, channel)
    for i in range(12):
        others = matrix[[k for k in range(12) if k != i and channel[k] == channel[i]]]
        assert count[i, 0] == len(others)
        if len(others):
            np.testing.assert_allclose(mean[i], others.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(variance[i], others.var(axis=0), atol=1e-4)
        else:
            assert not mean[i].any()
            assert not variance[i].any()


def test_a_channel_is_compared_with_itself(relative):
    loud, quiet = -20.0, -40.0
    levels = np.array([quiet, quiet, loud, loud, quiet], dtype=np.float32)
    matrix = np.zeros((5, relative._columns), dtype=np.float32)
    matrix[:, 0] = levels
    ids = np.array(["a", "a", "a", "b", "c"])
    found = [relative.labels[k] for k in relative.predict(matrix, ids).argmax(axis=1)]
    # The last two are by themselves: measured against -30 dB.
    assert found == ["calm", "calm", "angry", "angry", "calm"]
    alone = [relative.labels[k] for k in relative.predict(matrix).argmax(axis=1)]
    assert alone == ["calm", "calm", "angry", "angry", "calm"]
    two = relative.predict(matrix[2:4], np.array(["a", "a"]))
    assert np.abs(two - 0.5).max() < 1e-6


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_other_channels_change_nothing_to_the_bit(relative, data):
    sizes = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    matrix = random.normal(-30, 8, (sum(sizes), relative._columns)).astype(np.float32)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    together = relative.predict(matrix, ids)
    for channel_id in range(len(sizes)):
        rows = ids == channel_id
        np.testing.assert_array_equal(
            relative.predict(matrix[rows], np.zeros(rows.sum())), together[rows]
        )


@pytest.mark.parametrize("name", ["calls", "calls-fast"])
def test_other_channels_change_nothing_of_a_bundled_model(name):
    """These networks take means over a picture, whose last bits depend on the place in a batch."""
    model = models.load(name)
    sizes = (3, 30, 2, 70, 1, 17, 2, 2)
    random = np.random.default_rng(0)
    matrix = random.normal(0, 1, (sum(sizes), model._columns)).astype(np.float32)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    together = model.predict(matrix, ids)
    order = np.argsort(random.permutation(len(sizes))[ids], kind="stable")
    np.testing.assert_array_equal(model.predict(matrix[order], ids[order]), together[order])
    for i in range(len(sizes)):
        alone = model.predict(matrix[ids == i], np.zeros(sizes[i]))
        np.testing.assert_array_equal(alone, together[ids == i])


def test_the_temperature_goes_with_the_history(tmp_path):
    first, second = (
        models.load(tiny_bundle.make_relative(tmp_path / name, **card))
        for name, card in (("one", {}), ("two", {"temperature_with_history": 3.0}))
    )
    matrix = np.random.default_rng(0).normal(-30, 8, (9, first._columns)).astype(np.float32)
    np.testing.assert_array_equal(first.predict(matrix), second.predict(matrix))
    ids = np.zeros(9)
    expected = calibrate(first.predict(matrix, ids), 1 + 2 * 8 / 12)
    np.testing.assert_allclose(second.predict(matrix, ids), expected, atol=1e-6)


def test_a_history_in_one_mood_is_doubted(tmp_path):
    """Loud alone is angry; among louder ones it is calm, if these are believed to be normal."""
    believing, doubting = (
        models.load(tiny_bundle.make_relative(tmp_path / name, **card))
        for name, card in (("one", {}), ("two", {"history_doubted": (0.6, 0.8)}))
    )
    assert doubting.card.history_doubted == (0.6, 0.8)
    matrix = np.zeros((4, believing._columns), dtype=np.float32)
    loud, quiet = np.array([-10, -2, -2, -2]), np.array([-40, -50, -50, -50])
    for levels, used in ((loud, 0.0), (quiet, 1.0)):
        matrix[:, 0] = levels
        alone, related = believing.predict(matrix), believing.predict(matrix, np.zeros(4))
        expected = used * related + (1 - used) * alone
        np.testing.assert_allclose(doubting.predict(matrix, np.zeros(4)), expected, atol=1e-6)
    matrix[:, 0] = [-10, -20, -21, -22]
    alone, related = believing.predict(matrix), believing.predict(matrix, np.zeros(4))
    share = history_belief(alone[1:].mean(axis=0)[None], ("calm", "angry"), (0.6, 0.8))
    assert 0 < share[0] < 1
    expected = share * related[0] + (1 - share) * alone[0]
    np.testing.assert_allclose(doubting.predict(matrix, np.zeros(4))[0], expected, atol=1e-6)
    np.testing.assert_array_equal(doubting.predict(matrix), alone)


def test_an_answer_with_a_history_may_count_in_part(tmp_path):
    whole, part = (
        models.load(tiny_bundle.make_relative(tmp_path / name, **card))
        for name, card in (("one", {}), ("two", {"history_share": 0.75}))
    )
    matrix = np.random.default_rng(0).normal(-30, 8, (9, whole._columns)).astype(np.float32)
    alone, related = whole.predict(matrix), whole.predict(matrix, np.zeros(9))
    found = part.predict(matrix, np.zeros(9))
    np.testing.assert_allclose(found, 0.75 * related + 0.25 * alone, atol=1e-6)
    np.testing.assert_array_equal(part.predict(matrix), alone)


@pytest.mark.parametrize("value", [[0.5], [0.5, 0.5], [0.6, 1.2], "much"])
def test_shares_that_are_none_are_refused(tmp_path, value):
    folder = tiny_bundle.make_relative(tmp_path / "m")
    edit_card(folder, history_doubted=value)
    with pytest.raises(BundleError, match=r"history_doubted=.* found, two shares from 0 to 1"):
        models.load(folder)


def test_a_network_without_the_history_s_inputs_is_refused(tiny):
    edit_card(tiny, channel_normalisation="history")
    with pytest.raises(BundleError, match=r"takes 193 numbers.*193, 1, 193, 193"):
        models.load(tiny)


def test_an_unknown_normalisation_is_refused(tiny):
    edit_card(tiny, channel_normalisation="magic")
    with pytest.raises(BundleError, match="'magic' found, 'history' or null expected"):
        models.load(tiny)
