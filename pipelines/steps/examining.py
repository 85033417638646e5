"""Examining: recordings become facts, segments and vectors, in a child process that may die."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam

from pipelines.role_rule import RoleRule
from pipelines.steps.item import Item, inc_counter, naming_recording, tick
from pipelines.storage import forgotten, inputs
from pipelines.tried_with import TriedWith
from pipelines.uri_fields import UriFields
from ser_core.errors import AudioError
from ser_core.examine import Examined, Settings, Source
from ser_core.guarded import Examiner, Guard
from ser_core.roles import Roles


class ExamineRecordings(beam.DoFn):
    """Source -> Item.

    Parameters
    ----------
    settings : Settings
    guard : Guard
    fields : UriFields
    roles : RoleRule
    progress : str, optional
        A folder of this machine where workers count the recordings that are done.
    output : str, optional
        The output folder: recordings whose bytes were forgotten there are dropped.
    """

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        fields: UriFields,
        roles: RoleRule,
        progress: str | None = None,
        output: str | None = None,
    ) -> None:
        self._settings, self._guard = settings, guard
        self._fields, self._roles, self._progress = fields, roles, progress
        self._output = output

    def setup(self) -> None:
        # Here rather than where the job was submitted: the extras are this machine's.
        self._tried_with = TriedWith(
            self._settings, self._guard, self._roles, self._fields
        ).by_reason()
        self._marks = forgotten.read_marks(self._output) if self._output else None
        self._examiner = Examiner(self._settings, self._guard)
        self._examiner.start()

    def teardown(self) -> None:
        self._examiner.close()

    def process(self, source: Source) -> Iterable[Item]:
        call_time, meta = self._fields.read(source.uri)
        with naming_recording(source.uri):
            examined = self._examine(source, self._roles.roles(meta))
        tick(self._progress)
        if self._is_forgotten(examined):
            inc_counter("forgotten")
            yield Item(
                Examined(source, cpu_s=examined.cpu_s),
                decoder_peak_mb=self._examiner.peak_memory_mb,
                forgotten=True,
            )
            return
        inc_counter(examined.reason or "examined")
        tried_with = self._tried_with.get(examined.reason) if examined.reason else None
        yield Item(
            examined,
            call_time,
            meta,
            self._examiner.peak_memory_mb,
            tried_with,
            fence=self._examiner.fence,
        )

    def _is_forgotten(self, examined: Examined) -> bool:
        return bool(self._marks and self._marks.has_recordings([examined.recording_id])[0])

    def _examine(self, source: Source, roles: Roles) -> Examined:
        try:
            # Before it is fetched: it might fill the disk.
            self._settings.limits.check_size(source.size_bytes or 0, source.uri)
            with inputs.as_local_file(source) as path:
                return self._examiner.examine(path, source, roles)
        except AudioError as error:
            return Examined(source, reason=error.reason, detail=error.detail)
        except FileNotFoundError:
            return Examined(source, reason="unreadable", detail="not found")
        except OSError as error:
            return Examined(source, reason="unreadable", detail=f"not fetched: {error}")
