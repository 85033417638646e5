"""The picture of a call: its content for all shapes of calls, and what it refuses."""

import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ser_core.emotions import RAVDESS_EIGHT
from ser_core.errors import SerError
from ser_core.report import call_story, style
from ser_core.report.call import Call, Channel, Segment
from ser_core.report.call_picture import draw, save
from ser_core.report.wave import envelope

RATE_HZ = 8000


def segments_of(channel, count, duration_s, labels=RAVDESS_EIGHT, seed=0):
    rng = np.random.default_rng(seed)
    starts = np.linspace(0.0, duration_s, count, endpoint=False)
    found = []
    for start_s in starts:
        probabilities = rng.dirichlet(np.full(len(labels), 0.4))
        best = int(probabilities.argmax())
        found.append(
            Segment(
                channel=channel,
                role="customer",
                start_s=float(start_s),
                end_s=float(start_s + 0.7 * duration_s / count),
                label=labels[best],
                confidence=float(probabilities[best]),
                unsure=bool(probabilities[best] < 0.5),
                probabilities=probabilities,
                rms_db=float(rng.uniform(-40, -15)),
            )
        )
    return found


def picture(duration_s=20.0, channels=2, count=5, waves=..., rate=RATE_HZ, roles=None, **changes):
    rng = np.random.default_rng(1)
    if waves is ...:
        waves = 0.1 * rng.standard_normal((channels, int(min(duration_s, 60) * RATE_HZ)))
    roles = ["agent", "customer", *["unknown"] * 6][:channels] if roles is None else roles
    settings = {
        "uri": "/calls/billing/20260301T091500_c0001.wav",
        "status": "labelled",
        "by_channel": tuple(Channel(i, role, True, 5.0) for i, role in enumerate(roles)),
        "segments": segments_of(channels - 1, count, duration_s),
        "labels": RAVDESS_EIGHT,
        "duration_s": duration_s,
        "label": "angry",
        "confidence": 0.62,
        "unsure": False,
        "quarters": (0.1, None, 0.5, 0.9),
    }
    return draw(Call(**{**settings, **changes}), waves, rate)


def texts(figure):
    own = [text.get_text() for text in figure.texts]
    rows = [text.get_text() for ax in figure.axes for text in ax.texts]
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return own + rows + legend


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 7])
def test_any_number_of_channels_and_segments(channels, count):
    figure = picture(channels=channels, count=count)
    rows = channels + (1 if count else 0) + 1
    assert len(figure.axes) == rows
    assert ("no speech found" in texts(figure)) == (count == 0)
    assert pixels(figure).std() > 0


@pytest.mark.parametrize(
    ("duration_s", "count"), [(1.0, 1), (20.0, 5), (540.0, 130), (14400, 1500)]
)
def test_any_duration(duration_s, count):
    figure = picture(duration_s=duration_s, count=count)
    pixels(figure)
    ticks = figure.axes[-1].get_xticks()
    assert 2 <= len(ticks) <= 13
    assert ticks[-1] <= duration_s * 1.0001


def test_the_headline_and_which_call_it_is_are_written():
    figure = picture(meta={"queue": "billing"}, model_id="calls-1", detail="cut: 20 of 30 s")
    written = " ".join(texts(figure))
    assert call_story.headline(Call("/a", "no_speech")) in texts(picture(status="no_speech"))
    for words in ("c0001.wav", "angry (62 %)", "queue billing", "0:20", "90 %", "calls-1", "cut:"):
        assert words in written
    assert "unsure, perhaps sad" in " ".join(texts(picture(label="sad", unsure=True)))


def test_names_are_written_as_they_are():
    assert any("a$b$_{c}.wav" in text for text in texts(picture(uri="/a$b$_{c}.wav")))
    pixels(picture(uri="/a$b_{.wav"))  # would be broken mathematics


def test_a_long_name_keeps_its_end():
    line = texts(picture(uri="gs://bucket/" + 400 * "a" + "c0001.wav"))[2]
    assert line.startswith("…")
    assert "c0001.wav  ·" in line


def test_without_audio_levels_are_drawn():
    figure = picture(waves=None)
    assert any("without its audio" in text for text in texts(figure))
    loud = Segment(0, "mixed", 1.0, 4.0, "angry", 0.9, False, np.eye(8)[4], rms_db=0.0)
    quiet = Segment(0, "mixed", 5.0, 9.0, "angry", 0.9, False, np.eye(8)[4], rms_db=-30.0)
    figure = picture(channels=1, waves=None, roles=["mixed"], segments=[quiet, loud])
    heights = [abs(bar.get_height()) for bar in figure.axes[0].patches]
    assert heights == pytest.approx([2.0, 1.0])


def test_one_channel_may_be_without_audio():
    wave = np.sin(np.arange(20 * RATE_HZ) / 10)
    assert any("without its audio" in text for text in texts(picture(waves=[wave, None])))


def test_probabilities_are_stacked_to_one_and_negativity_lies_on_the_negative():
    probabilities = np.array([0.1, 0.05, 0.05, 0.2, 0.3, 0.1, 0.1, 0.1])
    segment = Segment(0, "mixed", 2.0, 6.0, "angry", 0.3, True, probabilities)
    figure = picture(channels=1, roles=["mixed"], segments=[segment], quarters=())
    bars = figure.axes[1].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(1.0)
    line = figure.axes[1].collections[0].get_segments()[0]
    assert line[:, 1] == pytest.approx([0.7, 0.7])
    below = {to_hex(bar.get_facecolor()) for bar in bars if bar.get_y() + 1e-9 < 0.7}
    negative = style.emotion_colours(RAVDESS_EIGHT)
    assert below == {negative[name].lower() for name in ("sad", "angry", "fearful", "disgust")}


def test_many_segments_are_averaged_by_their_seconds():
    same = np.array([0.25, 0.75])
    many = [Segment(0, "mixed", i, i + 0.8, "b", 0.75, False, same) for i in range(1000)]
    figure = picture(
        waves=None,
        roles=["mixed"],
        segments=many,
        labels=("a", "b"),
        duration_s=1000.0,
        quarters=(),
    )
    heights = {round(float(bar.get_height()), 6) for bar in figure.axes[1].patches}
    assert heights == {0.25, 0.75}
    assert len(figure.axes[1].patches) == 2 * 300


def test_unsure_segments_are_hatched():
    def hatches(unsure):
        segment = Segment(0, "mixed", 2.0, 6.0, "angry", 0.3, unsure, np.full(8, 0.125))
        figure = picture(channels=1, roles=["mixed"], segments=[segment])
        drawn = [item for item in figure.axes[0].collections if len(item.get_paths())]
        return [item.get_hatch() for item in drawn if item.get_hatch()]

    assert hatches(True)
    assert not hatches(False)


def test_colours_are_fixed_different_and_known_for_any_label():
    eight = style.emotion_colours(RAVDESS_EIGHT)
    assert len(set(eight.values())) == 8
    assert style.emotion_colours(["angry"])["angry"] == eight["angry"]
    mixed = style.emotion_colours(["angry", "bored", "excited"])
    assert mixed["angry"] == eight["angry"]
    assert len(set(mixed.values())) == 3
    assert len(style.emotion_colours([f"label_{i}" for i in range(30)])) == 30


def test_envelope_is_lowest_and_highest_of_each_stretch():
    samples = np.random.default_rng(0).standard_normal(1000)
    low, high = envelope(samples, 10)
    assert low == pytest.approx(samples.reshape(10, 100).min(axis=1))
    assert high == pytest.approx(samples.reshape(10, 100).max(axis=1))
    assert envelope(samples[:3], 10) == pytest.approx(np.stack([samples[:3]] * 2))
    assert envelope(samples[:0], 10).shape == (2, 0)


def test_an_empty_wave_is_drawn():
    pixels(picture(waves=np.zeros((2, 0)), count=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles": []}, "0 channels"),
        ({"roles": ["mixed"]}, "2 waves and 1 channels"),
        ({"rate": 0}, "rate=0"),
        ({"duration_s": 0.0}, "duration_s=0.0"),
        ({"labels": RAVDESS_EIGHT[:3]}, "8 probabilities, 3 labels"),
        ({"segments": segments_of(5, 1, 20.0)}, "channel 5 of 2"),
        ({"labels": tuple("abcdefgh")}, "one of a, b, c"),
        ({"quarters": (0.1, 0.2)}, "2 quarters"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(SerError, match=message):
        picture(**changes)


@pytest.mark.parametrize("name", ["call.png", "call.PDF", "call.svg"])
def test_save(tmp_path, name):
    save(picture(), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("name", ["call", "call.docx"])
def test_save_names_the_formats_that_it_can_write(tmp_path, name):
    with pytest.raises(SerError, match=r"\.png, \.pdf or \.svg"):
        save(picture(), tmp_path / name)


def test_pyplot_is_not_needed():
    import subprocess

    code = "import sys, ser_core.report.call_picture; print('matplotlib.pyplot' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
