"""Recordings: bytes -> samples by channel, with the facts that the tables carry.

`open` reads a recording block by block, so that a call of hours takes the memory of seconds;
`decode` is built on it. Whatever cannot be decoded raises `AudioError` with a reason. A cut
recording gives the part that is there, with a remark.

`formats` is the table of containers and codecs, `parts` finds the recordings in a file, with
`headers` (what WAV and AIFF declare) and `mpeg` (the frames of MP3); `decoders` reads them
(soundfile; PyAV for the rest, where it is installed), `chain` joins them, `levels` finds the scale
of floating point, `facts` measures, and `stream` puts them together.

Examples
--------
>>> import io, numpy as np, soundfile
>>> file = io.BytesIO()
>>> soundfile.write(file, np.zeros((8_000, 2)), 8_000, format="WAV", subtype="ULAW")
>>> recording = decode(file.getvalue(), uri="call.wav")
>>> recording.samples.shape, recording.rate, recording.facts.codec
((2, 8000), 8000, 'mulaw')
"""

from ser_core.audio.facts import CLIPPED_FROM, LESS_THAN_HALF, LEVEL_FRAME_S, SILENT_DB, Facts
from ser_core.audio.formats import RawFormat
from ser_core.audio.regular import open_regular
from ser_core.audio.stream import BLOCK_S, Audio, AudioStream, Limits, decode, open

__all__ = [
    "BLOCK_S",
    "CLIPPED_FROM",
    "LESS_THAN_HALF",
    "LEVEL_FRAME_S",
    "SILENT_DB",
    "Audio",
    "AudioStream",
    "Facts",
    "Limits",
    "RawFormat",
    "decode",
    "open",
    "open_regular",
]
