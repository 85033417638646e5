"""The containers and codecs that are read: two tables.

A container is a line in `CONTAINERS`, with a function in `headers` if its header declares a
duration. A codec is a line in `CODECS` if it needs a name of ours, a WAV tag or an extension of
headerless files. libsndfile and, where PyAV is installed, FFmpeg also try files of all other
formats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from ser_core.audio import headers
from ser_core.audio.headers import Declared

# Headerless telephone files have one channel at this rate.
HEADERLESS_RATE_HZ = 8_000


@dataclass(frozen=True)
class Codec:
    """A codec of the samples.

    Parameters
    ----------
    name : str
        As in the column `codec` of the tables; FFmpeg's name where it has one.
    libsndfile : str
        libsndfile's subtype; empty where libsndfile reports the codec under another name.
    wav_tag : int, optional
        Format tag in a WAV file that libsndfile decodes.
    headerless : tuple of str
        Extensions of files that hold this codec's bytes and no header.
    framed : bool
        Whether samples come in frames that can be damaged: no sample means `corrupt`, not `empty`.
    """

    name: str
    libsndfile: str = ""
    wav_tag: int | None = None
    headerless: tuple[str, ...] = ()
    framed: bool = False


CODECS = (
    Codec("pcm_u8", "PCM_U8", wav_tag=0x0001),
    Codec("pcm_s8", "PCM_S8"),
    Codec("pcm_s16", "PCM_16", wav_tag=0x0001),
    Codec("pcm_s24", "PCM_24", wav_tag=0x0001),
    Codec("pcm_s32", "PCM_32", wav_tag=0x0001),
    Codec("pcm_f32", "FLOAT", wav_tag=0x0003),
    Codec("pcm_f64", "DOUBLE", wav_tag=0x0003),
    Codec("mulaw", "ULAW", wav_tag=0x0007, headerless=(".ulaw", ".ul")),
    Codec("alaw", "ALAW", wav_tag=0x0006, headerless=(".alaw", ".al")),
    Codec("gsm", "GSM610", wav_tag=0x0031, headerless=(".gsm",)),
    Codec("adpcm_ima", "IMA_ADPCM", wav_tag=0x0011),
    Codec("adpcm_ms", "MS_ADPCM", wav_tag=0x0002),
    Codec("vorbis", "VORBIS", framed=True),
    Codec("opus", "OPUS", framed=True),
    Codec("mp1", "MPEG_LAYER_I"),
    Codec("mp2", "MPEG_LAYER_II"),
    Codec("mp3", "MPEG_LAYER_III", framed=True),
    Codec("flac", framed=True),
)
# "Extensible": the format chunk names the codec elsewhere, and libsndfile looks there.
WAV_EXTENSIBLE = 0xFFFE

_BY_LIBSNDFILE = {codec.libsndfile: codec for codec in CODECS if codec.libsndfile}
_BY_EXTENSION = {extension: codec for codec in CODECS for extension in codec.headerless}
_WAV_TAGS = {codec.wav_tag for codec in CODECS} | {WAV_EXTENSIBLE}
_FRAMED = {codec.name for codec in CODECS if codec.framed}


@dataclass(frozen=True)
class Container:
    """A file format, recognised by its first bytes.

    Parameters
    ----------
    name : str
        For messages.
    matches : callable
        Whether the first `headers.HEADER_BYTES` of a file are this format's.
    for_libsndfile : callable
        Whether libsndfile reads the codec in it, by the same bytes. If so, its refusal means that
        the file is damaged; if not, FFmpeg is asked.
    declared : callable, optional
        Duration and sample rate in the header, from the file, its first bytes and its size.
    """

    name: str
    matches: Callable[[bytes], bool]
    for_libsndfile: Callable[[bytes], bool] = lambda header: True
    declared: Callable[[BinaryIO, bytes, int], Declared | None] = lambda file, header, size: None


def _begins(*magics: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda header: header[at:].startswith(magics)


def _never(header: bytes) -> bool:
    return False


def _wav_codec_is_known(header: bytes) -> bool:
    tag = headers.wav_tag(header)
    return tag is None or tag in _WAV_TAGS


CONTAINERS = (
    Container("WAV", headers.is_wav, _wav_codec_is_known, headers.declared_by_wav),
    Container("AIFF", headers.is_aiff, declared=headers.declared_by_aiff),
    Container("FLAC", _begins(b"fLaC")),
    Container("Ogg", _begins(b"OggS"), lambda header: b"Speex" not in header),
    Container("MP3", _begins(b"ID3")),
    Container("MP4 or M4A", _begins(b"ftyp", at=4), _never),
    Container("AMR", _begins(b"#!AMR"), _never),
    Container("WMA", _begins(bytes.fromhex("3026b275")), _never),
)


def container_of(header: bytes) -> Container | None:
    """Recognise a container by the first bytes of a file."""
    return next((container for container in CONTAINERS if container.matches(header)), None)


def headerless_codec(uri: str) -> Codec | None:
    """Codec of a headerless file, by its extension."""
    return _BY_EXTENSION.get(PurePosixPath(uri.lower()).suffix)


def codec_name(subtype: str) -> str:
    """Our name of libsndfile's subtype; the subtype in small letters where the table has none."""
    codec = _BY_LIBSNDFILE.get(subtype)
    return codec.name if codec else subtype.lower()


def is_framed(codec: str) -> bool:
    """Whether no sample of a codec means damage (see `Codec.framed`)."""
    return codec in _FRAMED


def describe(header: bytes) -> str:
    """What a file seems to be, for a person whose file no decoder reads."""
    container = container_of(header)
    if container and container.name == "WAV":
        return f"WAV with the format tag 0x{headers.wav_tag(header) or 0:04x}"
    if container:
        return container.name
    if header.strip() and all(32 <= byte < 127 or byte in b"\r\n\t" for byte in header):
        return f"text, not audio ({header[:24].decode()!r})"
    return f"not a format that is known (begins with {header[:8].hex(' ')})"
