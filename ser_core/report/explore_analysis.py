"""What separates labelled speech and what confuses it: effect sizes, a quick linear model, typical
utterances.

Vectors are those of the feature set `telephone`. Emotions are told against the speaker's own mean
where there is one: voices differ more than moods.
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

# Of two features that go together more closely than this, the one that tells less is left out.
TOGETHER = 0.8
MOST_RANKED, MOST_CONFUSED, MOST_POINTS = 15, 5, 1_200
# With fewer utterances nobody has a normal of their own.
OWN_FROM = 4
# A quick model wants so many utterances of an emotion.
MODEL_FROM, FOLDS = 5, 5
OUTLIER_SD = 5.0


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
            words=explore_measures.in_words(telephone.NAMES[at]),
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
