"""The containers and codecs that are read: tables.

A container is a line in `CONTAINERS`, with a function in `headers` if its header declares a
duration. A codec is a line in `CODECS` if it needs a name of ours, a WAV tag or an extension of
headerless files. libsndfile and, where PyAV is installed, FFmpeg also try files of all other
formats.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from ser_core.audio import amr, headers
from ser_core.audio.headers import Declared
from ser_core.audio.views import View
from ser_core.errors import SerError

# Headerless telephone files have one channel at this rate, unless `RawFormat` says otherwise.
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
    raw_endian : str
        Byte order of headerless files, for soundfile; empty where the codec cannot be headerless.
    """

    name: str
    libsndfile: str = ""
    wav_tag: int | None = None
    headerless: tuple[str, ...] = ()
    framed: bool = False
    raw_endian: str = ""


CODECS = (
    Codec("pcm_u8", "PCM_U8", wav_tag=0x0001, raw_endian="FILE"),
    Codec("pcm_s8", "PCM_S8", raw_endian="FILE"),
    Codec("pcm_s16", "PCM_16", wav_tag=0x0001, raw_endian="LITTLE"),
    Codec("pcm_s16be", "PCM_16", raw_endian="BIG"),
    Codec("pcm_s24", "PCM_24", wav_tag=0x0001, raw_endian="LITTLE"),
    Codec("pcm_s32", "PCM_32", wav_tag=0x0001, raw_endian="LITTLE"),
    Codec("pcm_f32", "FLOAT", wav_tag=0x0003, raw_endian="LITTLE"),
    Codec("pcm_f64", "DOUBLE", wav_tag=0x0003, raw_endian="LITTLE"),
    Codec("mulaw", "ULAW", wav_tag=0x0007, headerless=(".ulaw", ".ul"), raw_endian="FILE"),
    Codec("alaw", "ALAW", wav_tag=0x0006, headerless=(".alaw", ".al"), raw_endian="FILE"),
    Codec("gsm", "GSM610", wav_tag=0x0031, headerless=(".gsm",), raw_endian="FILE"),
    Codec("adpcm_oki", "VOX_ADPCM", raw_endian="FILE"),
    Codec("adpcm_ima", "IMA_ADPCM", wav_tag=0x0011),
    Codec("adpcm_ms", "MS_ADPCM", wav_tag=0x0002),
    Codec("vorbis", "VORBIS", framed=True),
    Codec("opus", "OPUS", framed=True),
    Codec("mp1", "MPEG_LAYER_I"),
    Codec("mp2", "MPEG_LAYER_II"),
    Codec("mp3", "MPEG_LAYER_III", wav_tag=0x0055, framed=True),
    Codec("flac", framed=True),
)
# libsndfile reads one channel of these only.
_MONO_ONLY = {"gsm", "adpcm_oki"}
# "Extensible" without the rest of it: the codec stands elsewhere, and libsndfile looks there.
WAV_EXTENSIBLE = 0xFFFE
# Codecs in WAV files that only FFmpeg reads, for messages.
_WAV_TAG_NAMES = {
    0x0010: "OKI ADPCM", 0x0014: "G.723.1", 0x0020: "Yamaha ADPCM", 0x0022: "TrueSpeech",
    0x0042: "G.723.1", 0x0045: "G.726", 0x0050: "MPEG layer I or II", 0x0064: "G.726",
    0x0065: "G.722", 0x0083: "G.729", 0x00FF: "AAC", 0x0160: "WMA", 0x0161: "WMA",
    0x0162: "WMA", 0x028F: "G.722", 0xA109: "Speex",
}  # fmt: skip

_BY_LIBSNDFILE = {codec.libsndfile: codec for codec in reversed(CODECS) if codec.libsndfile}
_BY_EXTENSION = {extension: codec for codec in CODECS for extension in codec.headerless}
_WAV_TAGS = {codec.wav_tag for codec in CODECS} | {WAV_EXTENSIBLE}
_FRAMED = {codec.name for codec in CODECS if codec.framed}
MPEG_CODECS = {codec.name for codec in CODECS if codec.libsndfile.startswith("MPEG")}
_RAW_CODECS = {codec.name: codec for codec in CODECS if codec.raw_endian}
RAW_CODECS = tuple(_RAW_CODECS)
# Extensions of headerless files that `RawFormat` applies to unless it names others.
RAW_EXTENSIONS = (*_BY_EXTENSION, ".vox", ".pcm", ".sln", ".raw")


@dataclass(frozen=True)
class RawFormat:
    """Format of files that have no header.

    Parameters
    ----------
    codec : str
        One of `RAW_CODECS`; PCM is little-endian unless the name ends in "be".
    rate_hz : int > 0
    channels : int > 0
        Interleaved.
    extensions : tuple of str
        Of the files; `RAW_EXTENSIONS` unless given.

    Raises
    ------
    SerError
        An unknown codec, or more channels than the codec has.
    """

    codec: str
    rate_hz: int = HEADERLESS_RATE_HZ
    channels: int = 1
    extensions: tuple[str, ...] = RAW_EXTENSIONS

    def __post_init__(self) -> None:
        if self.codec not in _RAW_CODECS:
            raise SerError(f"codec {self.codec!r} found, one of {', '.join(RAW_CODECS)} expected")
        for name in ("rate_hz", "channels"):
            if getattr(self, name) < 1:
                raise SerError(f"{name}={getattr(self, name)} found, at least 1 expected")
        if self.channels > 1 and self.codec in _MONO_ONLY:
            raise SerError(f"{self.channels} channels of {self.codec} found, 1 expected")

    @classmethod
    def parse(cls, text: str) -> RawFormat:
        """A format in words, such as "codec=mulaw,rate=8000,channels=2" or "ext=vox,codec=…".

        Raises
        ------
        SerError
        """
        values: dict[str, str] = {}
        for item in text.split(","):
            name, equals, value = item.strip().partition("=")
            if not equals or name not in ("codec", "rate", "channels", "ext") or name in values:
                raise SerError(f"{item.strip()!r} found, codec=, rate=, channels= or ext= expected")
            values[name] = value.strip()
        if "codec" not in values:
            raise SerError(f"no codec found, codec= with one of {', '.join(RAW_CODECS)} expected")
        for name in ("rate", "channels"):
            if not values.get(name, "1").isdecimal():
                raise SerError(f"{name}={values[name]} found, a whole number expected")
        return cls(
            values["codec"],
            int(values.get("rate", HEADERLESS_RATE_HZ)),
            int(values.get("channels", 1)),
            ("." + values["ext"].lower().lstrip("."),) if values.get("ext") else RAW_EXTENSIONS,
        )

    @classmethod
    def of_row(cls, uri: str, codec: str, rate_hz: int, channels: int) -> tuple[RawFormat, ...]:
        """The format that a file had when its row was written; none where it has a header."""
        if codec not in _RAW_CODECS:
            return ()
        return (cls(codec, rate_hz, channels, (PurePosixPath(uri.lower()).suffix,)),)

    @property
    def libsndfile(self) -> str:
        return _RAW_CODECS[self.codec].libsndfile

    @property
    def endian(self) -> str:
        return _RAW_CODECS[self.codec].raw_endian


def raw_format(uri: str, given: Sequence[RawFormat] = ()) -> RawFormat | None:
    """Format of a headerless file, by its extension; None where it must have a header."""
    extension = PurePosixPath(uri.lower()).suffix
    for format in given:
        if extension in format.extensions:
            return format
    codec = _BY_EXTENSION.get(extension)
    return RawFormat(codec.name) if codec else None


@dataclass(frozen=True)
class Container:
    """A file format, recognised by its first bytes.

    Parameters
    ----------
    name : str
        For messages.
    magics : tuple of bytes
        One of them is in the file, `magic_at` bytes after its start.
    matches : callable
        Whether the first `headers.HEADER_BYTES` of a file, which have a magic, are this format's.
    for_libsndfile : callable
        Whether libsndfile reads the codec in it, by the same bytes. If so, its refusal means that
        the file is damaged.
    declared : callable
        What the header declares, from the file, its first bytes and its size.
    ends_with_audio : bool
        Whether libsndfile reads a whole file to its last byte.
    """

    name: str
    magics: tuple[bytes, ...]
    matches: Callable[[bytes], bool] = lambda header: True
    magic_at: int = 0
    for_libsndfile: Callable[[bytes], bool] = lambda header: True
    declared: Callable[[BinaryIO | View, bytes, int], Declared] = lambda file, header, size: (
        Declared()
    )
    ends_with_audio: bool = False

    def is_start(self, header: bytes) -> bool:
        """Whether the first bytes of a file are this format's."""
        return header.startswith(self.magics, self.magic_at) and self.matches(header)


def _never(header: bytes) -> bool:
    return False


def _ogg_codec_is_known(header: bytes) -> bool:
    return b"OpusHead" in header or b"\x01vorbis" in header


def _is_flac(header: bytes) -> bool:
    """Whether the first block is a STREAMINFO, as it must be."""
    return header[4:5] in (b"\0", b"\x80") and header[5:8] == b"\0\0\x22"


def _is_au(header: bytes) -> bool:
    offset, _, encoding, rate_hz, channels = (
        int.from_bytes(header[at : at + 4], "big") for at in range(4, 24, 4)
    )
    return 24 <= offset < 1 << 16 and 1 <= encoding < 64 and rate_hz > 0 and 1 <= channels < 256


def _is_matroska(header: bytes) -> bool:
    return b"webm" in header or b"matroska" in header


WAV = Container("WAV", (b"WAVE",), headers.is_wav, magic_at=8, declared=headers.declared_by_wav)
FLAC = Container("FLAC", (b"fLaC",), _is_flac, ends_with_audio=True)
AMR = Container("AMR", amr.MAGICS, for_libsndfile=_never)
OGG = Container("Ogg", (b"OggS",), for_libsndfile=_ogg_codec_is_known)
MPEG = Container("MP3", ())  # recognised by its frames
CONTAINERS = (
    WAV,
    FLAC,
    OGG,
    Container(
        "AIFF", (b"AIFF", b"AIFC"), headers.is_aiff, magic_at=8, declared=headers.declared_by_aiff
    ),
    Container("CAF", (b"caff\0\1\0\0desc",), declared=headers.declared_by_caf),
    Container(
        "Wave64", (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",),
        declared=headers.declared_by_w64,
    ),
    Container("AU", (b".snd",), _is_au, declared=headers.declared_by_au),
    Container(
        "MP4 or M4A", (b"ftyp",), lambda header: header[:3] == b"\0\0\0", magic_at=4,
        for_libsndfile=_never,
    ),
    Container(
        "Matroska or WebM", (b"\x1a\x45\xdf\xa3",), _is_matroska, for_libsndfile=_never,
    ),
    AMR,
    Container(
        "WMA", (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),), for_libsndfile=_never,
        declared=headers.declared_by_asf,
    ),
)  # fmt: skip


def container_of(header: bytes) -> Container | None:
    """Container with these first bytes; None where no magic is known. MP3 has none."""
    return next((container for container in CONTAINERS if container.is_start(header)), None)


def followers(container: Container) -> tuple[Container, ...]:
    """Other formats that a file of a format is searched for, if it does not say where it ends."""
    # The header of a FLAC file is also in MP4 and Matroska with FLAC.
    return tuple({WAV, FLAC} - {container} if container in (WAV, FLAC) else {WAV})


def codec_name(subtype: str) -> str:
    """Our name of libsndfile's subtype; the subtype in small letters where the table has none."""
    codec = _BY_LIBSNDFILE.get(subtype)
    return codec.name if codec else subtype.lower()


def is_framed(codec: str) -> bool:
    """Whether no sample of a codec means damage (see `Codec.framed`)."""
    return codec in _FRAMED


def for_libsndfile(container: Container | None, header: bytes, declared: Declared) -> bool:
    """Whether libsndfile reads such files, so that its refusal means damage."""
    if container is None:
        return False
    tag = declared.wav_tag
    return container.for_libsndfile(header) and (tag is None or tag in _WAV_TAGS)


def advice(uri: str) -> str:
    """What to do about a file that no decoder reads; empty where nothing helps."""
    extension = PurePosixPath(uri.lower()).suffix
    if extension in RAW_EXTENSIONS:
        return f"; if it has no header, say what it holds: --raw ext={extension[1:]},codec=…"
    return ""


def describe(container: Container | None, header: bytes, declared: Declared) -> str:
    """What a file seems to be, for a person whose file no decoder reads."""
    if container and declared.wav_tag is not None:
        name = _WAV_TAG_NAMES.get(declared.wav_tag)
        tag = f"the format tag 0x{declared.wav_tag:04x}"
        return f"WAV with {f'{name} ({tag})' if name else tag}"
    if container:
        codec = "Speex" if b"Speex" in header else "FLAC" if b"\x7fFLAC" in header else ""
        return f"{container.name} with {codec}" if codec else container.name
    if is_text(header):
        return "text, not audio"  # which is not quoted: it may be anything of anybody's
    return f"not a format that is known (begins with {header[:4].hex(' ')})"


def is_text(header: bytes) -> bool:
    """Whether the first bytes of a file are text, such as a playlist that is named like audio."""
    try:
        # The last character may be cut.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(header)
    except UnicodeDecodeError:
        return False
    is_sphere = header.startswith(b"NIST_1A")  # audio behind a header of text
    printable = all(character.isprintable() or character in "\r\n\t" for character in text)
    return bool(text.strip()) and printable and not is_sphere
