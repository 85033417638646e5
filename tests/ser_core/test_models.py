"""Bundles: answers that follow from the input, rows by themselves, what a bundle says of itself."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_core import features, models
from ser_core.errors import BundleError
from ser_core.models import bundle
from ser_core.models.calibration import calibrate
from ser_core.models.card import BUNDLED, CARD, Card
from ser_core.models.network import BATCH_ROWS
from ser_core.models.recipes import article_network
from tests import tiny_bundle
from tests.tiny_bundle import COLUMNS, LABELS, vectors


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
    with pytest.warns(UserWarning, match="takes no history"):
        found = deep.predict(matrix, channel=np.arange(7) % 2)
    np.testing.assert_array_equal(found, deep.predict(matrix))
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


def test_the_default_holds_on_voices_that_it_has_not_heard():
    assert models.default_name() == "calls"
    card = models.load("calls").card
    assert card.feature_set == "voice"
    assert len(card.labels) == 6
    # The first result is the one to quote.
    assert card.protocol == next(iter(card.results)) == "emovo_mulaw_alone"
    assert "EMOVO" not in {corpus["name"] for corpus in card.corpora}
    uar = {name: scores["uar"] for name, scores in card.results.items()}
    assert uar["emovo_mulaw_alone"] > 0.48
    assert uar["emovo_mulaw_adapted"] > 0.56
    for known in ("alone", "adapted"):
        assert uar[f"emovo_mulaw_{known}"] > uar[f"emovo_clean_{known}"] - 0.02
        assert uar[f"emovo_hard_{known}"] > uar[f"emovo_clean_{known}"] - 0.05
    asked = {(row["grouping"], row["test"]): row["auc"] for row in card.measures["questions"]}
    assert asked["angry", "EMOVO (never heard), G.711 mu-law"] > 0.9
    assert card.measures["calibration_error"]["alone, corpora never heard"] < 0.08
    for figures in card.measures["unsure"].values():
        assert figures["right_if_sure"] >= 0.79
        assert figures["sure"] >= 0.2


@pytest.mark.parametrize("name", ["calls", "calls-fast"])
def test_whom_everybody_may_use_is_trained_on_open_data(name):
    card = models.read_card(name)
    assert [corpus["name"] for corpus in card.corpora] == ["CREMA-D", "EMO-DB"]
    assert card.any_use
    assert "Open Database License 1.0" in " ".join(card.attribution)
    assert "not for commercial use" not in card.licence
    assert models.load(name).check_adaptable().mean.size == len(
        features.get(card.feature_set).names
    )


def test_the_bundles_are_small():
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert all(path.stat().st_size < 60_000 for path in files if path.suffix == ".png")


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
