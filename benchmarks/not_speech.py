"""Share of music, tones and noise that is taken for speech, and of speech that is lost.

    python benchmarks/not_speech.py [--music FOLDER] [--prompts FOLDER] [--fit]

Speech: RAVDESS and EMOVO (clips of a speaker one after the other), telephone prompts, the sample
calls of tests/data. Not speech: the recordings of FOLDER (hold music; Debian's package
asterisk-moh-opsound-wav by default), of `telephone` and `noise` in the folder SER_DATA, or
../shared/data beside this checkout, and generated tones. All in several conditions.
`--fit` prints new weights for `ser_core.not_speech` and tests them on tracks, kinds of noise and
speakers that they were not fitted on. Without it, the present weights are tested.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from ser_core import audio, conditions, not_speech, speech
from ser_core.corpora import open_corpus

ROOT = Path(__file__).parents[1]
MUSIC = Path("/usr/share/asterisk/moh")
PROMPTS = Path("/usr/share/asterisk/sounds")
CONDITIONS = ("8khz", "mulaw", "hard", "copy_line_any", "copy_codec", "copy_noisy")
# Sounds of each speaker and emotion.
EACH = {"ravdess": 1, "emovo": 3}
THRESHOLDS = (0.05, not_speech.SPEECH_FROM, 0.2)
# Transients, which are too short for a window of seconds: they have less weight in the fit.
SHORT = ("Dogbark", "Babycry", "Clocktick", "Personsneeze")


@dataclass(frozen=True)
class Sound:
    kind: str  # row of the table
    group: str  # held out together
    samples: np.ndarray
    rate: int

    @property
    def is_speech(self) -> bool:
        return self.kind.startswith("speech")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--music", type=Path, default=MUSIC)
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    data = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    if options.fit:
        fit(list(sounds(data, options)))
    else:
        test(sounds(data, options))


def sounds(data: Path, options) -> Iterator[Sound]:
    """All sounds, each in one or more conditions."""
    random = np.random.default_rng(0)
    for name in ("ravdess", "emovo"):
        utterances = open_corpus(name, data / name).utterances
        # By emotion: slow, even voices are the hardest to separate from music.
        for (speaker, emotion), own in groupby(
            sorted(utterances, key=lambda clip: (clip.speaker, clip.emotion)),
            key=lambda clip: (clip.speaker, clip.emotion),
        ):
            clips = [clip.path for clip in own]
            for i in range(EACH[name]):
                chosen = [clips[k] for k in random.permutation(len(clips))[:6]]
                samples, rate = one_after_the_other(chosen, random)
                condition = CONDITIONS[random.integers(len(CONDITIONS))]
                key = f"{speaker} {emotion} {i}"
                clip = conditions.degrade(samples, rate, condition, key=key)
                yield Sound(f"speech: {name}, {emotion}", speaker, *clip)
    for path in sorted((ROOT / "tests" / "data" / "calls").glob("[bs]*/*")):
        decoded = audio.decode(path.read_bytes(), path.name)
        for channel in decoded.samples:
            yield Sound("speech: espeak-ng", path.name, channel, decoded.rate)
    for language in ("en_US_f_Allison", "it_IT_f_Menardi"):
        paths = [
            p
            for p in sorted((options.prompts / language).glob("*.*"))
            if p.suffix[1:] in ("gsm", "alaw", "wav")
        ]
        for path in [p for p in paths if p.stat().st_size > 8_000][::4]:
            decoded = audio.decode(path.read_bytes(), path.name)
            yield Sound("speech: prompts", f"prompts {language}", decoded.samples[0], decoded.rate)
    for path in [*sorted(options.music.glob("*.wav")), *sorted((data / "telephone").glob("*.wav"))]:
        decoded = audio.decode(path.read_bytes(), path.name)
        group = path.stem
        for condition in CONDITIONS[:5]:
            samples = decoded.samples[0, : 180 * decoded.rate]
            clip = conditions.degrade(samples, decoded.rate, condition, key=path.name)
            yield Sound("music", group, *clip)
    for path in sorted((data / "noise").glob("*.ogg")):
        decoded = audio.decode(path.read_bytes(), path.name)
        word = path.stem.split("_")[0].split("-")[1]
        samples = np.tile(decoded.samples.mean(axis=0), 2)
        for condition in ("8khz", "mulaw", "copy_codec"):
            clip = conditions.degrade(samples, decoded.rate, condition, key=path.name)
            yield Sound(f"noise: {word}", word, *clip)
    for name, samples in tones().items():
        yield Sound(f"tones: {name}", name, samples, 8_000)


def one_after_the_other(paths: list[Path], random: np.random.Generator) -> tuple[np.ndarray, int]:
    """Speech of clips, with short pauses and with pauses as long as turns of the other side."""
    parts: list[np.ndarray] = []
    for path in paths:
        decoded = audio.decode(path.read_bytes(), path.name)
        found = speech.find(decoded.samples[0], decoded.rate)
        if found:
            start, end = (round(s * decoded.rate) for s in (found[0].start_s, found[-1].end_s))
            pause_s = random.choice([random.uniform(0.2, 0.8), random.uniform(1.0, 6.0)])
            pause = np.zeros(round(pause_s * decoded.rate), dtype=np.float32)
            parts += [decoded.samples[0, start:end], pause]
    return np.concatenate(parts), decoded.rate


def tones(seconds: float = 30.0) -> dict[str, np.ndarray]:
    """Tones of a telephone exchange, and white noise."""
    at_s = np.arange(round(8_000 * seconds)) / 8_000
    random = np.random.default_rng(1)

    def cadence(tones_hz, on_s, off_s):
        wave = sum(np.sin(2 * np.pi * hz * at_s) for hz in tones_hz)
        return (0.15 * wave * (at_s % (on_s + off_s) < on_s)).astype(np.float32)

    keys = np.zeros(len(at_s), dtype=np.float32)
    for i, start in enumerate(range(0, len(at_s) - 960, 2_400)):
        t = np.arange(960) / 8_000
        low = not_speech.DTMF_LOW_HZ[i % 4]
        high = not_speech.DTMF_HIGH_HZ[random.integers(3)]
        keys[start : start + 960] = 0.15 * (
            np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t)
        )
    return {
        "ringback": cadence((440, 480), 2, 4),
        "ringback, Europe": cadence((425,), 1, 4),
        "busy": cadence((480, 620), 0.5, 0.5),
        "busy, Europe": cadence((425,), 0.48, 0.48),
        "keys (DTMF)": keys,
        "white noise": (0.05 * random.standard_normal(len(at_s))).astype(np.float32),
    }


def test(all_sounds: Iterator[Sound]) -> None:
    """Test the present weights: seconds in segments, and seconds that are removed."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for sound in all_sounds:
        finder = speech.Finder(sound.rate)
        finder.feed(sound.samples, last=True)
        found = sum(segment.seconds for segment in finder.segments())
        _, _, sounding = finder.frames()
        seconds = np.count_nonzero(sounding) * speech.FRAME_S
        sums[sound.kind] += (
            len(sound.samples) / sound.rate,
            found,
            finder.music_s / max(seconds, 1e-9) * len(sound.samples) / sound.rate,
        )
    table = Table(title="Seconds in all, in segments, and removed by not_speech")
    for name in ("", "seconds", "in segments", "removed"):
        table.add_column(name, justify="left" if not name else "right")
    for kind, (seconds, found, away) in sums.items():
        table.add_row(
            kind,
            f"{seconds:,.0f}",
            f"{100 * found / seconds:.1f} %",
            f"{100 * away / seconds:.1f} %",
        )
    Console(width=100).print(table)


def fit(all_sounds: list[Sound]) -> None:
    """Fit new weights and test them on held-out groups."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, kinds, groups, truth = [], [], [], []
    finders = []
    for sound in all_sounds:
        finder = speech.Finder(sound.rate)
        finder.feed(sound.samples, last=True)
        finders.append(finder)
        measures, level_db, sounding = finder.frames()
        active = sounding & ~speech._steady(measures.alike)
        values, judged = not_speech.windows(measures, level_db, active)
        hop = round(not_speech.HOP_S * not_speech.FRAMES_PER_S)
        centres = np.arange(len(judged)) * hop
        near = np.array([active[c : c + hop].any() for c in centres]) & judged
        rows.append(values[near])
        n = int(near.sum())
        kinds += [sound.kind] * n
        groups += [sound.group] * n
        truth += [sound.is_speech] * n
    x, y, kind, group = np.concatenate(rows), np.array(truth), np.array(kinds), np.array(groups)
    tones = np.char.startswith(kind, "tones: keys")
    x, y, kind, group = x[~tones], y[~tones], kind[~tones], group[~tones]
    weight = np.where(np.isin(group, SHORT), 0.25, 1.0)
    weight *= np.where(y, 1 / weight[y].sum(), 1 / weight[~y].sum()) * len(y) / 2

    def fitted(which):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
        return model.fit(x[which], y[which], logisticregression__sample_weight=weight[which])

    def weights_of(model) -> tuple[dict[str, float], float]:
        scale, regression = model[:]
        weights = regression.coef_[0] / scale.scale_
        bias = float(regression.intercept_[0] - weights @ scale.mean_)
        return dict(zip(not_speech.WEIGHTS, weights.tolist(), strict=True)), bias

    held_out = np.zeros(len(y))
    seconds: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for known, unknown in GroupKFold(12).split(x, y, group):
        model = fitted(known)
        held_out[unknown] = model.predict_proba(x[unknown])[:, 1]
        weights, bias = weights_of(model)
        unseen = set(group[unknown])
        with (
            mock.patch.object(not_speech, "WEIGHTS", weights),
            mock.patch.object(not_speech, "BIAS", bias),
        ):
            for sound, finder in zip(all_sounds, finders, strict=True):
                if sound.group in unseen:
                    found = sum(segment.seconds for segment in finder.segments())
                    seconds[sound.kind] += len(sound.samples) / sound.rate, found
    table = Table(title="Held-out groups: windows taken for speech, seconds in segments")
    table.add_column("")
    for at in THRESHOLDS:
        table.add_column(f"windows, from {at}", justify="right")
    table.add_column("in segments", justify="right")
    for name in dict.fromkeys(kind):
        shares = [(held_out[kind == name] > at).mean() for at in THRESHOLDS]
        shares.append(seconds[name][1] / seconds[name][0])
        table.add_row(name, *(f"{100 * share:.1f} %" for share in shares))
    Console(width=100).print(table)
    weights, bias = weights_of(fitted(np.arange(len(y))))
    print("WEIGHTS = {")
    for name, value in weights.items():
        print(f'    "{name}": {value:.4g},')
    print(f"}}\nBIAS = {bias:.4g}")


if __name__ == "__main__":
    main()
