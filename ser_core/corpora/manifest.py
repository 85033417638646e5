"""One's own calls, labelled in a CSV: `uri,channel,start_s,end_s,label,annotator[,speaker]`.

A line is what one annotator says of a recording (no times), of a part of it, or of an utterance.
Lines of several annotators about one stretch become shares of its emotions. A stretch that is
longer than a segment is cut as the nightly job cuts speech; each piece has the stretch's label.

Everything that is wrong with a file is told at once, by line.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ser_core import audio, speech
from ser_core.corpora import LEFT_OUT, Corpus, Utterance
from ser_core.corpora.agreement import agreement
from ser_core.errors import AudioError, CorpusError

NEEDED = ("uri", "label")
COLUMNS = ("uri", "channel", "start_s", "end_s", "label", "annotator", "speaker")
# Words of `Corpus.skipped`.
NOT_LABELLED = "lines without a label"
NO_SPEECH = "stretches without speech"
LICENCE = "own data"
NOTE = "labelled in a CSV"

# Before the names of speakers, so that they are not those of another corpus.
_OWN = "own"
# Headers round what a file lasts, and people what they hear.
_SLACK_S = 0.05
_LEAST_S = 0.1
_MOST_NAMED = 50

Locate = Callable[[str], Path]
Progress = Callable[[str, int, int], None]
Mistakes = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class Line:
    """What one annotator says; times in seconds from the start of the recording."""

    number: int
    uri: str
    channel: int | None
    start_s: float
    end_s: float | None
    label: str
    annotator: str
    speaker: str

    @property
    def stretch(self) -> tuple[str, int | None, float, float | None]:
        """What it speaks of."""
        return self.uri, self.channel, self.start_s, self.end_s


def read(
    file: str | os.PathLike,
    *,
    label_map: Mapping[str, str] | None = None,
    to_train: bool = True,
    locate: Locate | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read a manifest.

    Parameters
    ----------
    file : path
        CSV in UTF-8 with a header; commas, semicolons or tabs. `uri` and `label` are needed; of
        the others an empty field says: the only channel, from the start, to the end, the only
        annotator. Lines without a label are passed over, and so are columns of other names.
    label_map : mapping of label to emotion, optional
        As `read_label_map` gives it.
    to_train : bool
        Whether a label that occurs once only is a mistake.
    locate : callable, optional
        From a URI to a file on this machine; what it raises as `OSError` is a mistake of the
        line. Unless given, paths, those that are not absolute from the manifest's folder.
    jobs : int >= 1, optional
        Processes that look for speech in long stretches; one a core unless given.
    progress : callable, optional
        Called with a stage, how many are done, and of how many.

    Returns
    -------
    Corpus
        Its `own` is True; where several annotators spoke, it has an `agreement`.

    Raises
    ------
    CorpusError
        A file that cannot be read or has no such columns, or mistakes in its lines: all of them.
    """
    file = Path(file)
    lines, mistakes = _parsed(file)
    labelled = [line for line in lines if line.label]
    skipped = {NOT_LABELLED: len(lines) - len(labelled)}
    if label_map:
        mistakes += _misspelt(label_map, labelled)
        labelled = [replace(one, label=label_map.get(one.label, one.label)) for one in labelled]
        skipped[LEFT_OUT] = sum(not line.label for line in labelled)
        labelled = [line for line in labelled if line.label]
    found = _Recordings(locate or (lambda uri: file.parent / uri))
    labelled = [found.on_its_channel(line) for line in labelled]
    for check in (_label_mistakes, _double, _speaker_mistakes, found.mistakes):
        mistakes += check(labelled)
    if to_train:
        mistakes += _rare_mistakes(labelled)
    if mistakes:
        raise CorpusError(_told(file, sorted(set(mistakes))))
    labelled = _named(labelled)
    by_stretch: dict[tuple, list[Line]] = defaultdict(list)
    for line in labelled:
        by_stretch[line.stretch].append(line)
    whole = [_utterance(file.stem, found.path(some[0].uri), some) for some in by_stretch.values()]
    pieces = _pieces(whole, jobs, progress)
    skipped[NO_SPEECH] = sum(not some for some in pieces)
    utterances = tuple(one for some in pieces for one in some)
    if not utterances:
        said = "; ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
        if skipped[NO_SPEECH]:
            advice = "give start_s and end_s of utterances, and listen whether somebody speaks"
        elif skipped.get(LEFT_OUT):
            advice = "give some label an emotion in the table of labels"
        else:
            advice = "fill in the column `label`, one emotion a stretch of speech"
        raise CorpusError(f"{file}: nothing to learn from ({said or 'no line at all'}); {advice}")
    return Corpus(
        name=file.stem,
        licence=LICENCE,
        utterances=utterances,
        skipped=skipped,
        note=NOTE,
        warnings=_warnings(labelled),
        any_use=True,
        own=True,
        agreement=agreement(
            [{one.annotator: one.label for one in some} for some in by_stretch.values()],
            list(by_stretch),
        ),
    )


def read_label_map(file: str | os.PathLike) -> dict[str, str]:
    """A table of two columns, `label,emotion`: what labels are called; nothing leaves one out.

    Raises
    ------
    CorpusError
        A file that cannot be read, has no such columns, or has a label twice.
    """
    file = Path(file)
    table: dict[str, str] = {}
    for number, row in _rows(file, ("label", "emotion")):
        if row["label"] in table:
            raise CorpusError(f"{file}, line {number}: label {row['label']!r} is there twice")
        table[row["label"]] = row["emotion"]
    return table


# ---------------------------------------------------------------- lines


def _rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and fields, stripped; none of empty lines."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read ({error.strerror}); a CSV expected") from error
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file}: not UTF-8 (byte {error.start:,}); save it as CSV in UTF-8"
        ) from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in needed if name not in names]
        if missing:
            raise CorpusError(
                f"{file}: no column {' and no '.join(missing)} (found: {', '.join(names) or 'none'}"
                f"); the first line names the columns, such as {','.join(COLUMNS)}"
            )
        for fields in reader:
            # Files of several annotators are often joined with their headers.
            again = [field.strip().lower() for field in fields] == names
            if any(field.strip() for field in fields) and not again:
                padded = fields + [""] * (len(names) - len(fields))
                row = {name: field.strip() for name, field in zip(names, padded, strict=False)}
                yield reader.line_num, row
    except csv.Error as error:
        raise CorpusError(f"{file}, line {reader.line_num}: no CSV ({error})") from error


def _parsed(file: Path) -> tuple[list[Line], list[tuple[int, str]]]:
    lines, mistakes = [], []
    for number, row in _rows(file, NEEDED):
        wrong: list[str] = []

        def number_in(name: str, kind: type, row=row, wrong=wrong):
            text = row.get(name, "")
            if not text:
                return None
            try:
                value = kind(text.replace(",", ".") if kind is float else text)
            except ValueError:
                value = None
            if value is None or value < 0 or not math.isfinite(value):
                expected = "seconds" if kind is float else "a channel, counted from 0,"
                wrong.append(f"{name} {text!r} found, {expected} expected")
                return None
            return value

        channel = number_in("channel", int)
        start_s, end_s = number_in("start_s", float), number_in("end_s", float)
        if not row["uri"]:
            wrong.append("no uri")
        if end_s is not None and not end_s - (start_s or 0.0) >= _LEAST_S:
            wrong.append(
                f"start_s {start_s or 0:g} and end_s {end_s:g} found, an end {_LEAST_S} s or more "
                "after the start expected"
            )
        mistakes += [(number, said) for said in wrong]
        if not wrong:
            said = (row.get(name, "") for name in ("label", "annotator", "speaker"))
            lines.append(Line(number, row["uri"], channel, start_s or 0.0, end_s, *said))
    return lines, mistakes


# ---------------------------------------------------------------- mistakes


def _told(file: Path, mistakes: Sequence[tuple[int, str]]) -> str:
    more = len(mistakes) - _MOST_NAMED
    return (
        f"{file}: {len(mistakes)} mistake{'s' * (len(mistakes) > 1)}; nothing was used, mend them "
        "all:\n"
        + "\n".join(
            f"  line {number}: {said}" if number else f"  {said}"
            for number, said in mistakes[:_MOST_NAMED]
        )
        + (f"\n  and {more} more" if more > 0 else "")
    )


def _misspelt(label_map: Mapping[str, str], lines: Sequence[Line]) -> Mistakes:
    """A table may name more than a file has: it serves held-back lines and other corpora, too."""
    there = {line.label for line in lines}
    for label in sorted(set(label_map) - there):
        if near := _near(label, there - set(label_map)):
            yield 0, f"the table of labels names {label!r}, which no line has{near}"


def _label_mistakes(lines: Sequence[Line]) -> Mistakes:
    first: dict[str, int] = {}
    by_lower: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.label, line.number)
    for label, number in first.items():
        if not label.isidentifier():
            yield (
                number,
                f"label {label!r}: letters, digits and _ expected, not starting with a digit; "
                "rename it, here or in a table of labels",
            )
        other = by_lower.setdefault(label.lower(), label)
        if other != label:
            yield number, f"label {label!r}, which line {first[other]} writes {other!r}"


def _rare_mistakes(lines: Sequence[Line]) -> Mistakes:
    stretches: dict[str, dict[tuple, int]] = defaultdict(dict)
    for line in lines:
        stretches[line.label].setdefault(line.stretch, line.number)
    for label, where in stretches.items():
        if len(where) == 1:
            near = _near(label, set(stretches) - {label})
            (number,) = where.values()
            yield number, f"label {label!r} occurs once only: too little to learn or to test{near}"


def _near(word: str, others: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(others), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _double(lines: Sequence[Line]) -> Mistakes:
    first: dict[tuple, Line] = {}
    for line in lines:
        other = first.setdefault((line.stretch, line.annotator), line)
        if other is not line:
            who = f"annotator {line.annotator!r}" if line.annotator else "no annotator's name"
            yield (
                line.number,
                f"the stretch of line {other.number} again, with {who}: one label of each "
                f"annotator expected ({other.label!r} and {line.label!r} found)",
            )


def _speaker_mistakes(lines: Sequence[Line]) -> Mistakes:
    first: dict[tuple, Line] = {}
    for line in lines:
        if line.speaker:
            other = first.setdefault(line.stretch, line)
            if other.speaker != line.speaker:
                yield (
                    line.number,
                    f"speaker {line.speaker!r}, for which line {other.number} says "
                    f"{other.speaker!r}",
                )


class _Recordings:
    """The files that lines speak of: each is found and opened once."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._known: dict[str, tuple[Path, int, float | None] | str] = {}

    def path(self, uri: str) -> Path:
        """Of a recording without a mistake."""
        found = self._open(uri)
        assert not isinstance(found, str)
        return found[0]

    def on_its_channel(self, line: Line) -> Line:
        """With the number of its channel, where there is only one."""
        found = self._open(line.uri)
        if line.channel is None and not isinstance(found, str) and found[1] == 1:
            return replace(line, channel=0)
        return line

    def mistakes(self, lines: Sequence[Line]) -> Mistakes:
        """Unknown or unreadable files, channels and times that are not in them."""
        for line in lines:
            found = self._open(line.uri)
            if isinstance(found, str):
                yield line.number, found
                continue
            _, channels, seconds = found
            if line.channel is None and channels > 1:
                yield line.number, f"{line.uri} has {channels} channels; say which, from 0"
            elif (line.channel or 0) >= channels:
                yield (
                    line.number,
                    f"channel {line.channel} found, but {line.uri} has {channels}, counted from 0",
                )
            if seconds is not None and max(line.start_s + _LEAST_S, line.end_s or 0) > (
                seconds + _SLACK_S
            ):
                upto = "" if line.end_s is None else f" to {line.end_s:g}"
                yield (
                    line.number,
                    f"{line.start_s:g}{upto} s found, but {line.uri} lasts {seconds:.2f} s",
                )

    def _open(self, uri: str) -> tuple[Path, int, float | None] | str:
        if uri not in self._known:
            self._known[uri] = self._opened(uri)
        return self._known[uri]

    def _opened(self, uri: str) -> tuple[Path, int, float | None] | str:
        try:
            path = self._locate(uri)
            if not path.is_file():
                return f"{uri}: no such file"
            with audio.open(path, uri) as stream:
                return path, stream.channels, stream.declared_s
        except AudioError as error:
            return str(error)
        except OSError as error:
            return f"{uri}: cannot be read ({error.strerror or error})"


# ---------------------------------------------------------------- stretches


def _utterance(corpus: str, path: Path, lines: Sequence[Line]) -> Utterance:
    """A stretch with the shares of its emotions; of several with the same share, the first."""
    counts = Counter(line.label for line in lines)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    first = lines[0]
    # Without a speaker's name, whoever speaks in a recording is somebody of its own. A name means
    # the same in every CSV: who is in two of them must not stand in training and test.
    speaker = next((line.speaker for line in lines if line.speaker), "") or (
        first.uri if "://" in first.uri else os.path.realpath(path)
    )
    return Utterance(
        path=path,
        emotion=ranked[0],
        speaker=f"{_OWN}-{speaker}",
        corpus=corpus,
        channel=first.channel or 0,
        start_s=first.start_s,
        end_s=first.end_s,
        shares=tuple((label, counts[label] / len(lines)) for label in ranked)
        if len(lines) > 1
        else (),
    )


def _named(lines: Sequence[Line]) -> list[Line]:
    """Lines without a speaker's name have the only one that other lines of their channel have."""
    names: dict[tuple, set[str]] = defaultdict(set)
    for line in lines:
        names[line.uri, line.channel].add(line.speaker)
    only = {
        where: next(iter(some - {""})) for where, some in names.items() if len(some - {""}) == 1
    }
    return [
        line if line.speaker else replace(line, speaker=only.get((line.uri, line.channel), ""))
        for line in lines
    ]


def _pieces(
    stretches: Sequence[Utterance], jobs: int | None, progress: Progress | None
) -> list[list[Utterance]]:
    """Each stretch, cut into segments of speech where it is longer than one."""
    import joblib

    long = [
        i
        for i, one in enumerate(stretches)
        if one.end_s is None or one.end_s - one.start_s > speech.MAX_SEGMENT_S
    ]
    pieces = [[one] for one in stretches]
    if long:
        with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
            work = joblib.Parallel(return_as="generator")(
                joblib.delayed(_segments)(stretches[i]) for i in long
            )
            for done, (i, found) in enumerate(zip(long, work, strict=True), 1):
                pieces[i] = [replace(stretches[i], start_s=a, end_s=b) for a, b in found]
                if progress:
                    progress("speech of long stretches", done, len(long))
    return pieces


def _segments(one: Utterance) -> list[tuple[float, float]]:
    """The speech of a stretch, as the nightly job cuts it."""
    samples, rate = read_part(one.path, one.channel, one.start_s, one.end_s)
    return [
        (round(one.start_s + some.start_s, 3), round(one.start_s + some.end_s, 3))
        for some in speech.find(samples, rate)
    ]


def read_part(
    path: Path, channel: int | None, start_s: float, end_s: float | None
) -> tuple[np.ndarray, int]:
    """A part of a recording, as the nightly job decodes it.

    Parameters
    ----------
    path : Path
    channel : int or None
        None: the mean of all.
    start_s, end_s : float
        From the start of the recording; None: its end.

    Returns
    -------
    samples float32 [n], and their rate in Hz

    Raises
    ------
    AudioError
        A file that cannot be decoded.
    """
    with audio.open(path) as stream:
        rate = stream.rate
        start, end = round(start_s * rate), None if end_s is None else round(end_s * rate)
        parts, at = [], 0
        for block in stream.blocks():
            one = block.mean(axis=0) if channel is None else block[channel]
            parts.append(one[max(start - at, 0) : None if end is None else max(end - at, 0)])
            at += len(one)
            if end is not None and at >= end:
                break
    return np.concatenate(parts), rate


def _warnings(lines: Sequence[Line]) -> tuple[str, ...]:
    recordings = {line.uri for line in lines}
    unnamed = len({line.uri for line in lines if not line.speaker})
    if not unnamed:
        return ()
    of = (
        "no line names a speaker"
        if unnamed == len(recordings)
        else (f"{unnamed:,} of {len(recordings):,} recordings have no speaker's name")
    )
    return (
        f"{of}: split by recording there; who called twice may stand in training and test, "
        "which flatters the figures",
    )
