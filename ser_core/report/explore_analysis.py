"""What separates labelled speech and what confuses it: measures that have a name, effect sizes, a
quick linear model, typical utterances.

Vectors are those of the feature set `telephone`. Emotions are told against the speaker's own mean
where there is one: voices differ more than moods.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.corpora import Utterance
from ser_core.corpora.sounds import Sound
from ser_core.features import telephone
from ser_core.models.scores import Scores, score

# Of two features that go together more closely than this, the one that tells less is left out.
TOGETHER = 0.8
MOST_RANKED, MOST_CONFUSED, MOST_POINTS = 15, 5, 1_200
# With fewer utterances nobody has a normal of their own.
OWN_FROM = 4
# A quick model wants so many utterances of an emotion.
MODEL_FROM, FOLDS = 5, 5
OUTLIER_SD = 5.0


@dataclass(frozen=True)
class Measure:
    """A feature that people have a name for.

    `of` takes vectors of `telephone` [n, dimensions] and the sounds, and gives n values.
    """

    title: str
    unit: str
    about: str
    of: Callable[[np.ndarray, Sequence[Sound]], np.ndarray]


@dataclass(frozen=True)
class Ranked:
    """A feature by how much of its variance is between emotions.

    `own` is eta squared of what is measured against the speaker's own mean and spread, None where
    speakers have too few utterances; `raw` of what is measured. `highest` and `lowest` are the
    emotions where it is.
    """

    name: str
    words: str
    own: float | None
    raw: float
    highest: str
    lowest: str


@dataclass(frozen=True)
class Quick:
    """What a linear model tells apart in clips that it did not learn from.

    `own` are the scores where each speaker's mean and spread are known, `by_speaker` whether
    whole speakers were held out, `confused` pairs of emotions with the share of their utterances
    taken for the other.
    """

    scores: Scores
    own: Scores | None
    by_speaker: bool
    confused: tuple[tuple[str, str, float], ...]


def _named(name: str, change: Callable[[np.ndarray], np.ndarray] = lambda x: x, *, voice=False):
    """A measure that is one dimension of the set; of voices, NaN where nothing is voiced."""
    at, voiced = telephone.NAMES.index(name), telephone.NAMES.index("voiced_share")

    def of(matrix: np.ndarray, heard: Sequence[Sound]) -> np.ndarray:
        values = change(matrix[:, at].astype(float))
        return np.where(matrix[:, voiced] > 0, values, np.nan) if voice else values

    return of


MEASURES = (
    Measure(
        "Pitch: F0, median", "Hz", "how high the voice is",
        _named(
            "f0_semitones_p50", lambda x: telephone.SEMITONES_FROM_HZ * 2 ** (x / 12), voice=True
        ),
    ),
    Measure(
        "F0 range", "semitones", "10th to 90th percentile: monotonous or lively",
        _named("f0_semitones_range", voice=True),
    ),
    Measure(
        "F0 change", "semitones/s", "how fast the pitch moves, up or down",
        _named("f0_change", voice=True),
    ),
    Measure(
        "Level of loud speech", "dB re full scale",
        "with the recording’s gain; no model here uses it",
        lambda matrix, heard: np.array([sound.level_db for sound in heard]),
    ),
    Measure(
        "Loudness range", "dB", "10th to 90th percentile of the frames' energy",
        _named("energy_db_range"),
    ),
    Measure(
        "Speaking rate", "voiced runs/s", "stands for syllables per second",
        _named("voiced_runs_per_s"),
    ),
    Measure(
        "Pauses", "% of the time", "frames 25 dB and more below loud speech",
        _named("active_share", lambda x: 100 * (1 - x)),
    ),
    Measure(
        "Spectral slope, 0.5 to 1.5 kHz", "dB/kHz", "flatter where the voice is pressed",
        _named("slope_500_1500_mean"),
    ),
    Measure(
        "Alpha ratio", "dB", "below 1 kHz against above: high is dull, low is shrill",
        _named("alpha_ratio_db_mean"),
    ),
    Measure(
        "Spectral centroid", "Hz", "where the middle of the power is: brightness",
        _named("centroid_hz_mean"),
    ),
    Measure(
        "Harmonics to noise (HNR)", "dB", "low is breathy or hoarse",
        _named("hnr_db_mean", voice=True),
    ),
    Measure(
        "H1−H2", "dB", "first harmonic against the second: high is breathy, low pressed",
        _named("h1_h2_db_mean", voice=True),
    ),
)  # fmt: skip


def relative(values: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Values as standard deviations from their speaker's mean.

    Parameters
    ----------
    values : np.ndarray [shape=(n, k)]
        NaN for what there is not.
    speakers : sequence of n str

    Returns
    -------
    np.ndarray [shape=(n, k)]
        NaN for all of a speaker with fewer than four utterances; 0 where all values are alike.
    """
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    order = np.argsort(who, kind="stable")
    moved = np.full(values.shape, np.nan)
    for mine in np.split(order, np.cumsum(np.bincount(who, minlength=len(names)))[:-1]):
        if len(mine) < OWN_FROM:
            continue
        some = values[mine]
        there = np.isfinite(some)
        count = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, some, 0).sum(axis=0) / count
        centred = some - mean
        sd = np.sqrt(np.square(np.where(there, centred, 0)).sum(axis=0) / count)
        flat = sd <= 1e-6 * (np.abs(mean) + 1)
        moved[mine] = np.where(flat, 0 * centred, centred / np.where(flat, 1, sd))
    return moved


def eta_squared(values: np.ndarray, labels: Sequence[str] | np.ndarray) -> np.ndarray:
    """Share of each column's variance that is between labels: 0 tells nothing, 1 everything.

    Parameters
    ----------
    values : np.ndarray [shape=(n, k)], finite
    labels : sequence of n str

    Returns
    -------
    np.ndarray [shape=(k,)]
    """
    names, which = np.unique(np.asarray(labels), return_inverse=True)
    centred = values - values.mean(axis=0)
    total = np.square(centred).sum(axis=0)
    between = np.zeros(values.shape[1])
    for i in range(len(names)):
        mine = centred[which == i]
        between += len(mine) * np.square(mine.mean(axis=0))
    return np.divide(between, total, out=np.zeros_like(total), where=total > 1e-12)


def rank(
    functionals: np.ndarray, own: np.ndarray, labels: Sequence[str], shown: Sequence[str]
) -> tuple[Ranked, ...]:
    """Features that tell the emotions apart, those left out that go with a better one."""
    names = np.asarray(labels)
    inside = np.isin(names, shown)
    known = inside & np.isfinite(own).all(axis=1)
    if len(set(names[inside])) < 2:
        return ()
    raw = eta_squared(functionals[inside], names[inside])
    by_own = _enough_own(own, names, shown)
    values, said = (own[known], names[known]) if by_own else (functionals[inside], names[inside])
    effect = eta_squared(values, said) if by_own else raw
    scaled = values - values.mean(axis=0)
    scaled /= np.maximum(scaled.std(axis=0), 1e-9)
    chosen: list[int] = []
    for at in np.argsort(-effect, kind="stable"):
        together = np.abs(scaled[:, chosen].T @ scaled[:, at]) / len(scaled)
        if effect[at] > 0 and not (together > TOGETHER).any():
            chosen.append(int(at))
        if len(chosen) == MOST_RANKED:
            break
    there = [name for name in shown if (said == name).any()]
    means = np.stack([scaled[said == name].mean(axis=0) for name in there])
    return tuple(
        Ranked(
            name=telephone.NAMES[at],
            words=in_words(telephone.NAMES[at]),
            own=float(effect[at]) if by_own else None,
            raw=float(raw[at]),
            highest=there[int(means[:, at].argmax())],
            lowest=there[int(means[:, at].argmin())],
        )
        for at in chosen
    )


def _enough_own(own: np.ndarray, labels: np.ndarray, shown: Sequence[str]) -> bool:
    """Whether most utterances, of all emotions, are of speakers with a normal of their own."""
    inside = np.isin(labels, shown)
    known = inside & np.isfinite(own).all(axis=1)
    return known.sum() > inside.sum() / 2 and set(labels[known]) == set(labels[inside])


# ---------------------------------------------------------------- a quick model


def quick_model(
    functionals: np.ndarray,
    own: np.ndarray,
    labels: Sequence[str],
    speakers: Sequence[str],
    shown: Sequence[str],
    name: str,
) -> Quick | None:
    """A linear discriminant, tested on speakers that it has not learnt from.

    O. Ledoit and M. Wolf (2004), "Honey, I shrunk the sample covariance matrix", for more
    features than utterances; scikit-learn's implementation.
    """
    counts = Counter(labels)
    who = defaultdict(set)
    for label, speaker in zip(labels, speakers, strict=True):
        who[label].add(speaker)
    by_speaker = len(set(speakers)) > 1
    taught = [
        one
        for one in shown
        if counts[one] >= MODEL_FROM and (not by_speaker or len(who[one]) > 1)
    ]  # fmt: skip
    if len(taught) < 2:
        return None
    inside = np.isin(labels, taught)
    truth = np.array([taught.index(one) for one in np.asarray(labels)[inside]])
    people = np.asarray(speakers)[inside]
    scores = _tested(functionals[inside], truth, people, taught, by_speaker, name)
    own_scores = None
    known = np.isfinite(own[inside]).all(axis=1)
    if by_speaker and known.all():
        own_scores = _tested(own[inside], truth, people, taught, by_speaker, name)
    matrix = np.array(scores.confusion, dtype=float)
    totals = matrix.sum(axis=1)
    confused = [
        (taught[a], taught[b], (matrix[a, b] + matrix[b, a]) / (totals[a] + totals[b]))
        for a in range(len(taught))
        for b in range(a + 1, len(taught))
    ]
    confused.sort(key=lambda pair: -pair[2])
    return Quick(scores, own_scores, by_speaker, tuple(confused[:MOST_CONFUSED]))


def _tested(
    values: np.ndarray,
    truth: np.ndarray,
    people: np.ndarray,
    labels: Sequence[str],
    by_speaker: bool,
    name: str,
) -> Scores:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    folds: GroupKFold | StratifiedKFold
    if by_speaker:
        folds = GroupKFold(min(FOLDS, len(set(people))))
    else:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    probabilities = np.full((len(truth), len(labels)), 1 / len(labels))
    for learnt, asked in folds.split(values, truth, people):
        if len(set(truth[learnt])) < 2:
            continue
        scale = _scaler(values[learnt])
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        model.fit(scale(values[learnt]), truth[learnt])
        probabilities[asked] = 0
        probabilities[np.ix_(asked, model.classes_)] = model.predict_proba(scale(values[asked]))
    return score(
        truth, probabilities, labels=labels, speakers=list(people), protocol=f"{name}, quick look"
    )


def _scaler(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    mean, sd = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    return lambda some: np.clip((some - mean) / sd, -OUTLIER_SD, OUTLIER_SD)


def project(
    functionals: np.ndarray,
    own: np.ndarray,
    labels: Sequence[str],
    speakers: Sequence[str],
    shown: Sequence[str],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Two axes that part the emotions of every other speaker, and the others' utterances on them.

    Returns
    -------
    points [m, 2], and m emotions; none where there are fewer than four speakers or three emotions
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    nothing = np.zeros((0, 2)), ()
    names = np.asarray(labels)
    by_own = _enough_own(own, names, shown)
    inside = np.isin(names, shown)
    if by_own:
        inside &= np.isfinite(own).all(axis=1)
    values = (own if by_own else functionals)[inside]
    names, people = names[inside], np.asarray(speakers)[inside]
    every = sorted(set(people))
    learnt = np.isin(people, every[::2])
    counts = Counter(names[learnt])
    taught = {name for name, n in counts.items() if n >= MODEL_FROM}
    if len(every) < 4 or len(taught) < 3:
        return nothing
    learnt &= np.isin(names, list(taught))
    scale = _scaler(values[learnt])
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=2)
    try:
        model.fit(scale(values[learnt]), names[learnt])
    except np.linalg.LinAlgError:
        return nothing
    asked = np.flatnonzero(~np.isin(people, every[::2]))
    asked = np.sort(np.random.default_rng(0).permutation(asked)[:MOST_POINTS])
    points = model.transform(scale(values[asked]))
    if points.shape[1] < 2 or not np.isfinite(points).all():
        return nothing
    return points, tuple(names[asked])


# ---------------------------------------------------------------- typical utterances


def typical(
    utterances: Sequence[Utterance],
    own: np.ndarray,
    raw: np.ndarray,
    emotions: Sequence[str],
    each: int,
) -> list[int]:
    """Typical utterances of each emotion: of one speaker and sentence where there are such.

    Parameters
    ----------
    utterances : sequence of n utterances
    own, raw : np.ndarray [shape=(n, measures)]
        Raw ones count where there are no own ones.
    emotions : sequence of str
    each : int >= 0
        How many of each.

    Returns
    -------
    list of int
        Indices, in the order of the emotions.
    """
    there = np.isfinite(raw)
    mean = np.where(there, raw, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    spread = np.sqrt(np.square(np.where(there, raw - mean, 0)).mean(axis=0))
    values = np.where(np.isfinite(own), own, (raw - mean) / np.maximum(spread, 1e-9))
    values = np.nan_to_num(values)
    labels = np.array([one.emotion for one in utterances])
    distance = np.zeros(len(labels))
    for emotion in emotions:
        mine = labels == emotion
        if mine.any():
            centre = np.median(values[mine], axis=0)
            distance[mine] = np.sqrt(np.square(values[mine] - centre).mean(axis=1))
    # What one person says in one way, by emotion.
    together: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, one in enumerate(utterances):
        if one.emotion in emotions:
            together[one.speaker, one.statement][one.emotion].append(i)

    def worth(key: tuple[str, str]) -> tuple[int, float, tuple[str, str]]:
        best = [distance[some].min() for some in together[key].values()]
        return -len(best), float(np.mean(best)), key

    if not together:
        return []
    best = min(together, key=worth)
    chosen = []
    for emotion in emotions:
        mine = np.flatnonzero(labels == emotion)

        def far(i: int) -> tuple[bool, bool, float]:
            one = utterances[i]
            same = one.speaker == best[0]
            return not (same and one.statement == best[1]), not same, distance[i]

        chosen += sorted(map(int, mine), key=far)[:each]
    return chosen


# ---------------------------------------------------------------- names in words

_ROWS = {
    "energy_db": "energy",
    "alpha_ratio_db": "alpha ratio (below 1 kHz against above)",
    "hammarberg_db": "Hammarberg index",
    "slope_60_500": "spectral slope, 60 to 500 Hz",
    "slope_500_1500": "spectral slope, 0.5 to 1.5 kHz",
    "centroid_hz": "spectral centroid",
    "bandwidth_hz": "spectral bandwidth",
    "rolloff_hz": "85 % roll-off",
    "entropy": "spectral entropy",
    "flux": "spectral flux",
    "zero_crossings": "zero crossings",
    "f0_semitones": "F0",
    "voicing": "voicing",
    "hnr_db": "harmonics to noise",
    "h1_h2_db": "H1−H2",
    "h1_a3_db": "H1−A3",
}
_STATISTICS = {
    "mean": "mean",
    "sd": "standard deviation",
    "p10": "10th percentile",
    "p50": "median",
    "p90": "90th percentile",
    "iqr": "interquartile range",
    "range": "range",
    "skewness": "skewness",
    "slope": "trend over the utterance",
}
_WHOLE = {
    "f0_change": "F0, change per second",
    "f0_rise": "F0, steepness of rises",
    "f0_fall": "F0, steepness of falls",
    "f0_rising_share": "F0, share of time rising",
    "energy_change": "energy, change per second",
    "energy_rise": "energy, steepness of rises",
    "energy_fall": "energy, steepness of falls",
    "energy_rising_share": "energy, share of time rising",
    "voiced_runs_per_s": "voiced runs per second",
    "voiced_mean_s": "voiced runs, mean length",
    "voiced_sd_s": "voiced runs, spread of lengths",
    "voiced_longest_s": "voiced runs, longest",
    "pauses_per_s": "pauses per second",
    "pause_mean_s": "pauses, mean length",
    "pause_sd_s": "pauses, spread of lengths",
    "pause_longest_s": "pauses, longest",
    "voiced_share": "share of time voiced",
    "active_share": "share of time not paused",
    "loudness_peaks_per_s": "loudness peaks per second",
}
_MODULATION = re.compile(r"modulation(\d)_band(\d\d)")
_BAND = re.compile(r"mel(\d\d)")
_CEPSTRUM = re.compile(r"(delta_)?mfcc(\d\d)")


def in_words(name: str) -> str:
    """What a dimension of `telephone` is, for people.

    Examples
    --------
    >>> in_words("f0_semitones_p50")
    'F0, median'
    >>> in_words("mel20_sd")
    'mel band at 1,110 Hz, standard deviation'
    """
    if name in _WHOLE:
        return _WHOLE[name]
    if match := _MODULATION.fullmatch(name):
        band = int(match[2])
        low, high = telephone.MODULATION_EDGES_HZ[band - 1 : band + 1]
        part = ("lowest", "lower", "higher", "highest")[int(match[1]) - 1]
        return f"changes at {low:.1f} to {high:.1f} Hz in the {part} quarter of the mel bands"
    row, _, statistic = name.rpartition("_")
    said = _ROWS.get(row)
    if match := _BAND.fullmatch(row):
        edges = 2595 * np.log10(1 + np.array([telephone.LOW_HZ, telephone.HIGH_HZ]) / 700)
        centre = np.linspace(edges[0], edges[1], telephone.N_MELS + 2)[int(match[1])]
        said = f"mel band at {700 * (10 ** (centre / 2595) - 1):,.0f} Hz"
    elif match := _CEPSTRUM.fullmatch(row):
        said = f"{'change of ' if match[1] else ''}MFCC {int(match[2])}"
    return f"{said}, {_STATISTICS[statistic]}" if said and statistic in _STATISTICS else name
