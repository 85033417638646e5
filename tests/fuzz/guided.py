"""Fuzzing guided by coverage (Atheris, the extra `fuzz`): `python -m tests.fuzz.guided TARGET`.

TARGET is `recording` or one of `tests.fuzz.texts.TARGETS`; other options go to libFuzzer, such as
`-max_total_time=600` or a folder in which the corpus is kept. The Python code of this project is
followed; of the C libraries, only what they return.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ser_core", "pipelines"]):
    from tests.fuzz import decoding, texts
    from tests.fuzz.seeds import recordings


def main() -> None:
    name, *options = sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="ser-fuzz-"))
    seeds = list(recordings().values()) if name == "recording" else texts.seeds_of(name)
    (folder / "seeds").mkdir()
    for i, data in enumerate(seeds):
        (folder / "seeds" / str(i)).write_bytes(data)

    def read(data: bytes) -> None:
        if name == "recording":
            decoding.judge(data, "call.wav", decoding.Outcomes())
            return
        target, extension = texts.TARGETS[name]
        path = folder / f"file{extension}"
        path.write_bytes(data)
        try:
            target(path)
        except texts.EXPECTED:
            return

    # What a target imports late must be instrumented, too.
    with atheris.instrument_imports(include=["ser_core", "pipelines"]):
        for data in seeds:
            read(data)
    atheris.Setup([sys.argv[0], *options, str(folder / "seeds")], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
