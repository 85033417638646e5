"""Which features separate the emotions of labelled speech, and which emotions are confused.

Effect sizes, a quick linear model, a projection, and typical utterances.

Vectors are those of the feature set `telephone`. Where speakers have enough utterances, features
are compared with the speaker's own mean, since voices differ more than moods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.corpora import Utterance
from ser_core.features import telephone
from ser_core.models.scores import Scores, score
from ser_core.report import explore_measures

# Of two features with a higher correlation than this, the less informative one is left out.
MAX_CORRELATION = 0.8
MOST_RANKED, MOST_CONFUSED, MOST_POINTS = 15, 5, 1_200
# With fewer utterances a speaker has no mean and spread of their own.
OWN_FROM = 4
# Utterances of an emotion that the quick model needs, and folds of its test.
MODEL_FROM, FOLDS = 5, 5
OUTLIER_SD = 5.0


@dataclass(frozen=True)
class Ranked:
    """A feature and the share of its variance that is between emotions.

    `own` is eta squared of the values relative to the speaker's own mean and spread, None where
    speakers have too few utterances; `raw` is that of the values themselves. `highest` and `lowest`
    are the emotions with the highest and the lowest mean.
    """

    name: str
    words: str
    own: float | None
    raw: float
    highest: str
    lowest: str


@dataclass(frozen=True)
class Quick:
    """Scores of a linear model on utterances that it was not fitted on.

    `own` holds the scores with each speaker's mean and spread known. `by_speaker` says whether
    whole speakers were held out. `confused` are pairs of emotions with the share of their
    utterances that is taken for the other.
    """

    scores: Scores
    own: Scores | None
    by_speaker: bool
    confused: tuple[tuple[str, str, float], ...]


def relative(values: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Values as standard deviations from their speaker's mean.

    Parameters
    ----------
    values : np.ndarray [shape=(n, k)]
        NaN for missing values.
    speakers : sequence of n str

    Returns
    -------
    np.ndarray [shape=(n, k)]
        NaN for speakers with fewer than four utterances; 0 where all values are equal.
    """
    names, speaker = np.unique(np.asarray(speakers), return_inverse=True)
    order = np.argsort(speaker, kind="stable")
    scaled = np.full(values.shape, np.nan)
    for mine in np.split(order, np.cumsum(np.bincount(speaker, minlength=len(names)))[:-1]):
        if len(mine) < OWN_FROM:
            continue
        own = values[mine]
        known = np.isfinite(own)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, own, 0).sum(axis=0) / count
        centred = own - mean
        sd = np.sqrt(np.square(np.where(known, centred, 0)).sum(axis=0) / count)
        flat = sd <= 1e-6 * (np.abs(mean) + 1)
        scaled[mine] = np.where(flat, 0 * centred, centred / np.where(flat, 1, sd))
    return scaled


def eta_squared(values: np.ndarray, labels: Sequence[str] | np.ndarray) -> np.ndarray:
    """Share of each column's variance that is between labels, 0 to 1.

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
    """Features that separate the emotions best, without those that correlate with a better one."""
    names = np.asarray(labels)
    inside = np.isin(names, shown)
    known = inside & np.isfinite(own).all(axis=1)
    if len(set(names[inside])) < 2:
        return ()
    raw = eta_squared(functionals[inside], names[inside])
    by_own = _enough_own(own, names, shown)
    rows = known if by_own else inside
    values, emotions = (own if by_own else functionals)[rows], names[rows]
    effect = eta_squared(values, emotions) if by_own else raw
    scaled = values - values.mean(axis=0)
    scaled /= np.maximum(scaled.std(axis=0), 1e-9)
    chosen: list[int] = []
    for column in np.argsort(-effect, kind="stable"):
        correlation = np.abs(scaled[:, chosen].T @ scaled[:, column]) / len(scaled)
        if effect[column] > 0 and not (correlation > MAX_CORRELATION).any():
            chosen.append(int(column))
        if len(chosen) == MOST_RANKED:
            break
    present = [name for name in shown if (emotions == name).any()]
    means = np.stack([scaled[emotions == name].mean(axis=0) for name in present])
    return tuple(
        Ranked(
            name=telephone.NAMES[at],
            words=explore_measures.in_words(telephone.NAMES[at]),
            own=float(effect[at]) if by_own else None,
            raw=float(raw[at]),
            highest=present[int(means[:, at].argmax())],
            lowest=present[int(means[:, at].argmin())],
        )
        for at in chosen
    )


def _enough_own(own: np.ndarray, labels: np.ndarray, shown: Sequence[str]) -> bool:
    """Whether most utterances, and all emotions, have speakers with a mean of their own."""
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
    """Fit and test a linear discriminant, speaker-independent where there are several speakers.

    O. Ledoit and M. Wolf (2004), "Honey, I shrunk the sample covariance matrix", for more
    features than utterances; scikit-learn's implementation.
    """
    counts = Counter(labels)
    speakers_of = defaultdict(set)
    for label, speaker in zip(labels, speakers, strict=True):
        speakers_of[label].add(speaker)
    by_speaker = len(set(speakers)) > 1
    taught = [
        name
        for name in shown
        if counts[name] >= MODEL_FROM and (not by_speaker or len(speakers_of[name]) > 1)
    ]  # fmt: skip
    if len(taught) < 2:
        return None
    inside = np.isin(labels, taught)
    truth = np.array([taught.index(label) for label in np.asarray(labels)[inside]])
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
    return lambda rows: np.clip((rows - mean) / sd, -OUTLIER_SD, OUTLIER_SD)


def project(
    functionals: np.ndarray,
    own: np.ndarray,
    labels: Sequence[str],
    speakers: Sequence[str],
    shown: Sequence[str],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Project utterances onto the two axes that separate the emotions best.

    The axes are linear discriminants, fitted on every other speaker; the points are utterances of
    the remaining speakers.

    Returns
    -------
    points : np.ndarray [shape=(m, 2)]
    emotions : tuple of m str
        m is 0 where there are fewer than four speakers or three emotions.
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
    all_speakers = sorted(set(people))
    learnt = np.isin(people, all_speakers[::2])
    counts = Counter(names[learnt])
    taught = {name for name, n in counts.items() if n >= MODEL_FROM}
    if len(all_speakers) < 4 or len(taught) < 3:
        return nothing
    learnt &= np.isin(names, list(taught))
    scale = _scaler(values[learnt])
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=2)
    try:
        model.fit(scale(values[learnt]), names[learnt])
    except np.linalg.LinAlgError:
        return nothing
    asked = np.flatnonzero(~np.isin(people, all_speakers[::2]))
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
    """Typical utterances of each emotion, of one speaker and sentence where possible.

    Parameters
    ----------
    utterances : sequence of n utterances
    own, raw : np.ndarray [shape=(n, measures)]
        Raw values are used where there are no own ones.
    emotions : sequence of str
    each : int >= 0
        Number of utterances of each emotion.

    Returns
    -------
    list of int
        Indices, in the order of the emotions.
    """
    known = np.isfinite(raw)
    mean = np.where(known, raw, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    spread = np.sqrt(np.square(np.where(known, raw - mean, 0)).mean(axis=0))
    values = np.where(np.isfinite(own), own, (raw - mean) / np.maximum(spread, 1e-9))
    values = np.nan_to_num(values)
    labels = np.array([utterance.emotion for utterance in utterances])
    distance = np.zeros(len(labels))
    for emotion in emotions:
        mine = labels == emotion
        if mine.any():
            centre = np.median(values[mine], axis=0)
            distance[mine] = np.sqrt(np.square(values[mine] - centre).mean(axis=1))
    # Utterances of one sentence by one speaker, by emotion.
    together: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, utterance in enumerate(utterances):
        if utterance.emotion in emotions:
            together[utterance.speaker, utterance.statement][utterance.emotion].append(i)

    def rank_of(key: tuple[str, str]) -> tuple[int, float, tuple[str, str]]:
        best = [distance[indices].min() for indices in together[key].values()]
        return -len(best), float(np.mean(best)), key

    if not together:
        return []
    best = min(together, key=rank_of)
    chosen = []
    for emotion in emotions:
        mine = np.flatnonzero(labels == emotion)

        def distance_rank(i: int) -> tuple[bool, bool, float]:
            utterance = utterances[i]
            same = utterance.speaker == best[0]
            return not (same and utterance.statement == best[1]), not same, distance[i]

        chosen += sorted(map(int, mine), key=distance_rank)[:each]
    return chosen
