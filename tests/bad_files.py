"""Make files that a night rejects: at least one for each reason that a file can have.

`too_large`, `timed_out` and `crashed` depend on a limit or a fault, and
`channel_roles_unknown` on the run, so there is no file for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

# Reason (ser_core.errors.REJECTION_REASONS) of each file that `make_bad_files` writes.
BAD_FILES = {
    "empty.wav": "empty",
    "no_samples.wav": "empty",
    "text.wav": "unsupported_format",
    "unknown.dat": "unsupported_format",
    "damaged.flac": "corrupt",
    "too_long.flac": "too_long",
    "channels_32.wav": "too_many_channels",
    "nan.wav": "not_finite",
    "out_of_range.wav": "out_of_range",
    "rate_1hz.wav": "bad_sample_rate",
    "rate_1mhz.wav": "bad_sample_rate",
    "broken_link.wav": "unreadable",
}
RATE_HZ = 8000
TOO_LONG_MINUTES = 246  # 4.1 h


def make_bad_files(folder: Path) -> dict[str, str]:
    """Write the files of `BAD_FILES` into `folder`, half a megabyte together.

    Returns
    -------
    dict of file name to the reason that its rejection must give
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)

    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "no_samples.wav", noise[:0], RATE_HZ)
    (folder / "text.wav").write_text("This is a note on a call, and not its recording.\n" * 40)
    (folder / "unknown.dat").write_bytes(b"CALLREC\0" + np.random.default_rng(1).bytes(4096))
    _damaged_flac(folder / "damaged.flac", noise)
    with soundfile.SoundFile(folder / "too_long.flac", "w", RATE_HZ, 1, "PCM_16") as file:
        minute = np.zeros(60 * RATE_HZ, np.int16)
        for _ in range(TOO_LONG_MINUTES):
            file.write(minute)
    soundfile.write(folder / "channels_32.wav", np.tile(noise[:800, None], 32), RATE_HZ)
    holed = noise.copy()
    holed[100:110] = np.nan
    soundfile.write(folder / "nan.wav", holed, RATE_HZ, subtype="FLOAT")
    holed[100:110] = 1e37
    soundfile.write(folder / "out_of_range.wav", holed, RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "rate_1hz.wav", noise[:100], 1)
    soundfile.write(folder / "rate_1mhz.wav", noise, 1_000_000)
    link = folder / "broken_link.wav"
    link.unlink(missing_ok=True)
    link.symlink_to("not_there.wav")
    return dict(BAD_FILES)


def _damaged_flac(path: Path, noise: np.ndarray) -> None:
    """A FLAC whose header is whole and whose frames are overwritten from the first third on."""
    soundfile.write(path, noise, RATE_HZ)
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third:] = np.random.default_rng(2).bytes(len(data) - third)
    path.write_bytes(data)


if __name__ == "__main__":
    for name, reason in make_bad_files(Path(sys.argv[1])).items():
        print(f"{name:20} {reason}")
