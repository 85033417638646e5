"""Files of bundles that come from elsewhere: checked before a library parses them.

A bundle is other people's bytes. A zip archive may climb out of its folder or unpack to more than
the disk holds, an array may be a pickle that runs code, a network may call any function, and HDF5
may read other files. Each of these is refused by name, on the bytes that are then used.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ser_core.errors import BundleError

# Far above any bundle of this package (1 MB), far below what harms a machine.
MAX_FILE_BYTES = 1 << 30
MAX_CARD_BYTES = 16 << 20
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBERS = 1_000
# Deflate packs weights to about a half, and text to a tenth; a bomb to a thousandth.
MAX_RATIO = 100
_RATIO_COUNTS_FROM_BYTES = 1 << 20
ADVICE = "get the bundle again from whoever trained it, and do not use this one"

# The members of a .keras file. Assets, which some layers read, are not among them.
KERAS_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
# Layers that only calculate. Others run code (Lambda), load files (TFSMLayer, StringLookup), or
# are not needed.
LAYERS = frozenset(
    """
    Activation ActivityRegularization Add Attention Average AveragePooling1D AveragePooling2D
    BatchNormalization Bidirectional Concatenate Conv1D Conv2D Cropping1D Cropping2D Dense
    DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D
    GlobalMaxPooling2D GroupNormalization Identity InputLayer LSTM LSTMCell LayerNormalization
    LeakyReLU Masking MaxPooling1D MaxPooling2D Maximum Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute ReLU RepeatVector Rescaling Reshape SeparableConv1D SeparableConv2D
    SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D Subtract TimeDistributed
    UnitNormalization ZeroPadding1D ZeroPadding2D
    """.split()  # noqa: SIM905
)
_MODELS = frozenset({"Functional", "Sequential", "DTypePolicy"})
_ACTIVATIONS = frozenset(
    """
    elu exponential gelu hard_sigmoid hard_silu leaky_relu linear log_softmax mish relu relu6 selu
    sigmoid silu softmax softplus softsign tanh
    """.split()  # noqa: SIM905
)
# Modules all of whose classes only calculate. `keras.src.ops.core` is not: its Switch calls any
# function.
_CALCULATING = (
    "keras.initializers", "keras.regularizers", "keras.constraints",
    "keras.src.ops.numpy", "keras.src.ops.nn",
)  # fmt: skip
_VALUES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__tuple__", "__slice__"})


def read_bounded(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file, at most `most` of them.

    Raises
    ------
    BundleError
        A device, a pipe or another thing that is no file; or a larger file.
    OSError
        It cannot be read.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"{path}: not a regular file; {ADVICE}")
        if found.st_size > most:
            raise BundleError(
                f"{path}: {found.st_size:,} bytes found, {most:,} at most expected; {ADVICE}"
            )
        return file.read(found.st_size)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_zip(path: Path, content: bytes) -> list[zipfile.ZipInfo]:
    """The members of a zip archive, of which nothing is unpacked yet.

    Raises
    ------
    BundleError
        A member that climbs out of the archive, is a link, encrypted or there twice; or a bomb.
    zipfile.BadZipFile
        Not a zip archive.
    """
    members = zipfile.ZipFile(io.BytesIO(content)).infolist()
    if len(members) > MAX_MEMBERS:
        raise BundleError(
            f"{path}: {len(members):,} members found, {MAX_MEMBERS:,} at most; {ADVICE}"
        )
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0] or "\\" in name:
            raise BundleError(f"{path}: the path {name!r} climbs out of the archive; {ADVICE}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BundleError(f"{path}: {name!r} is a link; {ADVICE}")
        if member.flag_bits & 1:
            raise BundleError(f"{path}: {name!r} is encrypted; {ADVICE}")
        if name in seen:
            raise BundleError(f"{path}: {name!r} is there twice; {ADVICE}")
        seen.add(name)
        if member.file_size > max(
            _RATIO_COUNTS_FROM_BYTES, MAX_RATIO * min(member.compress_size, len(content))
        ):
            raise BundleError(
                f"{path}: {name!r} unpacks {member.compress_size:,} bytes to "
                f"{member.file_size:,}, a zip bomb; {ADVICE}"
            )
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        raise BundleError(
            f"{path}: unpacks to {unpacked:,} bytes, {MAX_UNPACKED_BYTES:,} at most, a zip bomb; "
            f"{ADVICE}"
        )
    return members


# What damaged files of these kinds make zipfile and numpy raise. RuntimeError is for what is
# encrypted, or compressed in a way that zipfile does not know.
DAMAGED = (
    *(ValueError, KeyError, EOFError, OSError, OverflowError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


def read_arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, none of which is a pickle.

    Raises
    ------
    BundleError
        As `check_zip`; or pickled objects; or a header that promises other bytes than are there.
    Exception
        One of `DAMAGED`: not an .npz file.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in check_zip(path, content):
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
                header = file.tell()
            if dtype.hasobject:
                raise BundleError(
                    f"{path}: {member.filename} holds pickled objects, which may run code; {ADVICE}"
                )
            # Whole numbers of Python: no overflow.
            size = dtype.itemsize
            for count in shape:
                size *= int(count)
            if size != member.file_size - header:
                raise BundleError(
                    f"{path}: {member.filename} promises {size:,} bytes and holds "
                    f"{member.file_size - header:,}; {ADVICE}"
                )
    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def check_keras(path: Path, content: bytes) -> None:
    """Check a `.keras` file without Keras.

    Raises
    ------
    BundleError
        Not a file of Keras 3; or as `check_zip`; or a part that does more than calculate; or
        weights that refer to other files.
    """
    try:
        names = [member.filename for member in check_zip(path, content)]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = json.loads(archive.read("config.json"))
            weights = archive.read("model.weights.h5")
    except DAMAGED as error:  # too deep a JSON is a RuntimeError
        found = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(
            f"{path}: not a Keras 3 file ({found}); save the model as .keras"
        ) from error
    for name in names:
        if name not in KERAS_MEMBERS:
            raise BundleError(
                f"{path}: holds {name!r}; only {', '.join(KERAS_MEMBERS)} are read; {ADVICE}"
            )
    for part in _parts(config):
        if not _only_calculates(part):
            raise BundleError(
                f"{path}: holds {part.get('module')}.{part.get('class_name')}, which may run code; "
                f"only Keras's own layers that calculate are loaded: {ADVICE}"
            )
    _check_weights(path, weights)


def _parts(config: Any) -> Iterator[dict]:
    """All objects of a nested Keras configuration; also of those that are JSON in a string."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _only_calculates(part: dict) -> bool:
    module, name, config = part.get("module"), part.get("class_name"), part.get("config")
    if not isinstance(name, str):
        return False
    if module is None:
        return name in _VALUES
    if module == "builtins":  # Keras looks an activation up by its name.
        return name == "function" and _is_among(config, _ACTIVATIONS)
    if name == "function":
        return module == "keras.activations" and _is_among(config, _ACTIVATIONS)
    if module == "keras.layers":
        return name in LAYERS
    if module in ("keras", "keras.src.models.functional", "keras.src.models.sequential"):
        return name in _MODELS
    return module in _CALCULATING and name.isidentifier()


def _is_among(value: Any, names: Collection[str]) -> bool:
    return isinstance(value, str) and value in names


def _check_weights(path: Path, weights: bytes) -> None:
    """Refuse HDF5 that refers to other files, or promises more than it may hold."""
    import h5py

    total = 0

    def visit(group: h5py.Group, depth: int) -> None:
        nonlocal total
        if depth > 64:
            raise BundleError(f"{path}: groups more than 64 deep in its weights; {ADVICE}")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise BundleError(
                    f"{path}: {group.name}/{name} of its weights is a link to elsewhere; {ADVICE}"
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, depth + 1)
                continue
            if item.external or item.is_virtual:
                raise BundleError(
                    f"{path}: {item.name} of its weights reads another file; {ADVICE}"
                )
            total += item.nbytes
            if total > MAX_UNPACKED_BYTES:
                raise BundleError(
                    f"{path}: its weights promise more than {MAX_UNPACKED_BYTES:,} bytes, a bomb; "
                    f"{ADVICE}"
                )

    try:
        with h5py.File(io.BytesIO(weights), "r") as file:
            visit(file, 0)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path}: its weights are no HDF5 ({error}); {ADVICE}") from error
