"""Recipe `calls`: histories, and that the network in a bundle is the one that was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ser_core.features import telephone
from ser_core.models.recipes.calls import fitting
from ser_core.models.recipes.calls import networks as networks_module
from ser_core.models.recipes.calls.fitting import EPOCHS_AT_MOST, steps_for
from ser_core.models.recipes.calls.material import ROWS, Material, Scale
from ser_core.models.recipes.calls.members import Member, select_inputs
from ser_core.models.recipes.calls.normaliser import Histories, draw_histories, normalise
from ser_core.models.runtime import load_keras

LABELS = (("neutral", "calm", "happy", "angry"), ("angry", "neutral"))


def material(clips: int = 60, copies: int = 2, seed: int = 0) -> Material:
    """Two corpora of three speakers each; ten dimensions, and two rows, stand out by emotion."""
    random = np.random.default_rng(seed)
    corpus = np.arange(clips) % 2
    truth = np.array([random.integers(len(LABELS[c])) for c in corpus])
    speaker = corpus * 3 + random.integers(0, 3, clips)
    vectors = random.normal(size=(copies, clips, len(telephone.NAMES))).astype(np.float32)
    vectors[:, :, :40] += 3.0 * (np.arange(40) // 10 == truth[:, None])
    picture = vectors[:, :, telephone.PICTURE].reshape(copies, clips, telephone.STEPS, ROWS)
    picture[..., :8] += 2.0 * (np.arange(8) // 2 == truth[:, None])[:, None]
    return Material(vectors, truth, corpus, speaker, LABELS)


def test_histories_are_others_of_the_speaker():
    clips = material()
    random = np.random.default_rng(1)
    sizes = set()
    for _ in range(5):
        members = draw_histories(random, clips)
        for i, history in enumerate(members):
            others = history[history >= 0]
            sizes.add(len(others))
            assert len(set(others)) == len(others)
            assert i not in others
            assert (clips.speaker[others] == clips.speaker[i]).all()
            # What is missing stands at the end.
            assert (history[len(others) :] == -1).all()
    assert {0, 2, 4, 8} <= sizes


def test_moments_are_those_of_the_members():
    x = np.random.default_rng(0).normal(2, 3, (30, 32, 45)).astype(np.float32)
    members = np.full((30, 16), -1)
    members[0, :4], members[1, :16] = range(5, 9), range(10, 26)
    weight, mean, variance = Histories(x).moments(members)
    assert weight[:3, 0].tolist() == pytest.approx([0.5, 0.8, 0.0])
    np.testing.assert_allclose(mean[0], 0.5 * x[5:9].mean(axis=(0, 1)), rtol=1e-4)
    expected = 0.8 * x[10:26].var(axis=(0, 1)) + 0.2
    np.testing.assert_allclose(variance[1], expected, rtol=1e-3)
    # Without a history all stays as it is.
    np.testing.assert_array_equal(mean[2], 0)
    np.testing.assert_array_equal(variance[2], 1)
    np.testing.assert_array_equal(normalise(x, mean, variance)[2], np.clip(x[2], -6, 6))


def test_the_scale_is_that_of_rows_for_pictures():
    vectors = np.random.default_rng(0).normal(5, 2, (50, len(telephone.NAMES))).astype(np.float32)
    scaled = Scale.of(vectors)(vectors)
    np.testing.assert_allclose(scaled[:, :10].mean(axis=0), 0, atol=1e-5)
    pictures = select_inputs(scaled, "picture")
    np.testing.assert_allclose(pictures.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(pictures.std(axis=(0, 1)), 1, atol=1e-4)
    assert np.abs(pictures[:, 0].mean(axis=0)).max() > 0.01


@pytest.mark.parametrize(
    "member",
    [
        Member(steps=300, batch=32),
        Member(
            kind="cnn", inputs="picture", rate=3e-3, mixup=0.0, steps=200, batch=32, others=False
        ),
    ],
    ids=["dense", "cnn"],
)
def test_what_can_be_learnt_is_learnt(member):
    known, unknown = material(400), material(200, copies=1, seed=9)
    scales = [Scale.of(known.vectors[:, known.corpus == c].reshape(-1, 2223)) for c in (0, 1)]
    model = fitting.fit(known, member, scales)
    own = unknown.corpus == 0
    x = select_inputs(scales[0](unknown.vectors[0][own]), member.inputs)
    weight = np.zeros((len(x), 1), dtype=np.float32)
    answers = np.asarray(model([x, weight], training=False))[:, : len(LABELS[0])]
    assert (answers.argmax(axis=1) == unknown.truth[own]).mean() > 0.7


def test_the_assembled_network_is_its_members(tmp_path):
    keras = load_keras()
    members = [
        Member(),
        Member(inputs="thirds", seed=1, weight=0.5),
        Member(kind="cnn", inputs="picture", seed=2),
        Member(kind="rnn", inputs="picture", seed=3),
    ]
    vectors = material(40).vectors[0]
    scale = Scale.of(vectors)
    scaled = scale(vectors)
    widths = {"functionals": 651, "thirds": 783, "picture": 0}
    networks = [
        (member, networks_module.network(member, 6, widths[member.inputs])) for member in members
    ]
    networks_module.assemble(networks, scale, 4).save(tmp_path / "m.keras")
    whole = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)

    history = np.full((40, 16), -1)
    for i in range(20):
        history[i] = np.random.default_rng(i).permutation(40)[:16]
    count = (history >= 0).sum(axis=1, keepdims=True).astype(np.float32)
    mean, variance = np.zeros_like(vectors), np.zeros_like(vectors)
    for i in range(20):
        mean[i] = vectors[history[i]].mean(axis=0, dtype=np.float64)
        variance[i] = vectors[history[i]].var(axis=0, dtype=np.float64)
    found = np.asarray(whole([vectors, count, mean, variance], training=False))

    expected = np.zeros((40, 4))
    for member, model in networks:
        x = select_inputs(scaled, member.inputs)
        weight, *moments = Histories(x).moments(history)
        logits = np.asarray(model([normalise(x, *moments), weight], training=False))[:, :4]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected += member.weight / 3.5 * exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_what_annotators_say_is_learned_by_their_shares():
    """Two emotions that annotators give the same clips by 3 to 1 come out as 3 to 1."""
    random = np.random.default_rng(0)
    n, d = 64, len(telephone.NAMES)
    shares = np.tile(np.float32([0.75, 0.25]), (n, 1))
    labelled = Material(
        random.normal(size=(1, n, d)).astype(np.float32), np.zeros(n, int), np.zeros(n, int),
        np.arange(n) % 4, (("a", "b"),), shares,
    )  # fmt: skip
    member = Member(steps=400, batch=32, smoothing=0.0, mixup=0.0, decay=1.0)
    model = fitting.fit(labelled, member, [Scale(np.zeros(d), np.ones(d))])
    seen = select_inputs(labelled.vectors[0], "functionals")
    logits = model.predict([seen, np.zeros((n, 1))], verbose=0)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probabilities[:, 0].mean() == pytest.approx(0.75, abs=0.05)


def test_clips_that_nobody_agrees_on_are_known():
    clips = material()
    assert clips.agreed.all()
    shares = clips.targets.copy()
    shares[0] = 0
    shares[0, :2] = 0.5
    assert replace(clips, shares=shares).agreed.tolist() == [False] + [True] * (len(shares) - 1)


def test_few_clips_need_fewer_steps():
    member = Member(steps=1_000, batch=64)
    assert steps_for(member, 10_000) == 1_000
    assert steps_for(member, 64) == EPOCHS_AT_MOST
    assert steps_for(member, 10) == EPOCHS_AT_MOST
