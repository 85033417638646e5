"""A long list of recordings is worked off in chunks, each of which is one run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipelines import ledger, logs
from pipelines.books import Books, of_matched
from pipelines.errors import NothingMatchedError
from pipelines.job import Job, Task


@dataclass(frozen=True)
class Chunk:
    """The work of one run.

    Parameters
    ----------
    elements : list or None
        Source or Stored. None if a worker finds them.
    counts : ledger.Matched
        Of what matched; what was left out counts in the first chunk.
    left : int
        Recordings of later chunks.
    """

    elements: list | None
    counts: ledger.Matched = field(default_factory=lambda: ledger.Matched(0))
    left: int = 0

    @property
    def nothing_new(self) -> bool:
        """Whether there is nothing to do."""
        return self.elements is not None and not self.elements

    @property
    def uris(self) -> list[str]:
        """URIs of its recordings."""
        return [uri for element in self.elements or () for uri in ledger.uris(element)]

    @property
    def recordings(self) -> int | None:
        """Number of its recordings; None if a worker finds them."""
        return None if self.elements is None else len(self.uris)


def chunks(job: Job, task: Task) -> Generator[Chunk, None, None]:
    """All there is to do, in chunks.

    Raises
    ------
    NothingMatchedError
        Nothing matches.
    """
    if job.chunk is None:
        yield Chunk(None)
        return
    with task.finder.found() as todo:
        counts = todo.counts
        if not counts.matched:
            raise nothing_matched(task, of_matched(counts))
        if not counts.todo:
            yield Chunk([], counts)
        if counts.redone:
            job.say(f"done again: {counts.redone:,} (--redo {', '.join(job.redo)})")
        number = -(-counts.todo // job.chunk)
        left = counts.todo
        for i, elements in enumerate(_cut(todo.elements, job.chunk)):
            if number > 1:
                logs.set_run(None)  # that of the chunk before has ended
                job.say(f"chunk {i + 1} of {number}")
            todo_here = sum(len(ledger.uris(element)) for element in elements)
            left_out = counts if i == 0 else ledger.Matched(0)
            matched = todo_here + left_out.matched - left_out.todo
            left -= todo_here
            yield Chunk(elements, replace(left_out, matched=matched), left)


def _cut(elements: Iterable, size: int) -> Iterator[list]:
    """Group elements into chunks of `size` recordings. A stored part is not cut."""
    chunk: list = []
    count = 0
    for element in elements:
        chunk.append(element)
        count += len(ledger.uris(element))
        if count >= size:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk


def nothing_matched(task: Task, books: Books) -> NothingMatchedError:
    beside = f"; {books.skipped:,} files beside recordings were skipped" if books.skipped else ""
    return NothingMatchedError("; ".join([task.nothing() + beside, *books.warnings]))
