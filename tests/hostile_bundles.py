"""Bundles that an attacker might send: each a real file, with the hashes that belong to it.

Each function gets the folder of a valid bundle of `tests.tiny_bundle` and makes it hostile. The
card's hashes are those of the hostile files, as an attacker would write them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from ser_core.models.card import CARD, MODEL, REFERENCE
from tests.tiny_bundle import edit_card

# A file that the code of a hostile bundle would make.
MARK = Path("ran-code")


def put(folder: Path, name: str, content: bytes) -> None:
    """Replace a file of a bundle, and its hash in the card."""
    (folder / name).write_bytes(content)
    field = {MODEL: "model_sha256", REFERENCE: "reference_sha256"}[name]
    edit_card(folder, **{field: hashlib.sha256(content).hexdigest()})


def members(folder: Path, name: str = MODEL) -> dict[str, bytes]:
    """The members of a bundle's archive."""
    with zipfile.ZipFile(folder / name) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def packed(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def with_layer(folder: Path, layer: dict) -> None:
    """Replace the last layer in the network's configuration."""
    content = members(folder)
    config = json.loads(content["config.json"])
    config["config"]["layers"][-1] = layer
    put(folder, MODEL, packed({**content, "config.json": json.dumps(config).encode()}))


def with_weights(folder: Path, change: Callable[[h5py.File], None]) -> None:
    """Change the network's weights file."""
    content = members(folder)
    file = io.BytesIO(content["model.weights.h5"])
    with h5py.File(file, "r+") as weights:
        change(weights)
    put(folder, MODEL, packed({**content, "model.weights.h5": file.getvalue()}))


def lambda_layer(folder: Path) -> None:
    """Code in a Lambda layer, as Keras stores it."""
    from ser_core.models.runtime import load_keras

    keras = load_keras()
    mark = str(MARK)
    columns = members(folder) and 193
    model = keras.Sequential(
        [
            keras.Input((columns,)),
            keras.layers.Lambda(lambda x: (open(mark, "w").close(), x[:, :3])[1]),
        ]
    )
    model.save(folder / "hostile.keras")
    content = (folder / "hostile.keras").read_bytes()
    (folder / "hostile.keras").unlink()
    put(folder, MODEL, content)


def function_as_layer(folder: Path) -> None:
    """CVE-2025-1550: any function of any module."""
    with_layer(
        folder,
        {"module": "os", "class_name": "system", "config": {"command": f"touch {MARK}"}},
    )


def keras_function(folder: Path) -> None:
    """CVE-2025-9906: a function of Keras that ends the safe mode."""
    with_layer(
        folder,
        {
            "module": "keras.config",
            "class_name": "function",
            "config": "enable_unsafe_deserialization",
            "registered_name": "function",
        },
    )


def dead_operation(folder: Path) -> None:
    """A node beside the network that calls a function when it is made."""
    with_layer(
        folder,
        {"module": "keras.src.ops.core", "class_name": "Switch", "config": {"name": "switch"}},
    )


def saved_model_layer(folder: Path) -> None:
    """CVE-2026-1462: a layer that loads a SavedModel from elsewhere."""
    with_layer(
        folder,
        {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": "/tmp/elsewhere", "call_endpoint": "serve"},
        },
    )


def vocabulary_layer(folder: Path) -> None:
    """CVE-2025-12058: a layer that reads a file or an address."""
    with_layer(
        folder,
        {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": "/etc/passwd"},
        },
    )


def external_weights(folder: Path) -> None:
    """CVE-2026-1669: weights that are the bytes of another file."""

    def change(weights: h5py.File) -> None:
        weights.create_dataset("more", (64,), "u1", external=[("/etc/passwd", 0, 64)])

    with_weights(folder, change)


def linked_weights(folder: Path) -> None:
    """A link into another HDF5 file."""

    def change(weights: h5py.File) -> None:
        weights["more"] = h5py.ExternalLink("/tmp/other.h5", "/")

    with_weights(folder, change)


def virtual_weights(folder: Path) -> None:
    """A virtual dataset, whose bytes are in another file."""

    def change(weights: h5py.File) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (4,))
        weights.create_virtual_dataset("more", layout)

    with_weights(folder, change)


def endless_weights(folder: Path) -> None:
    """CVE-2026-0897: a dataset that promises 4 TB and stores nothing."""

    def change(weights: h5py.File) -> None:
        weights.create_dataset("more", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))

    with_weights(folder, change)


def climbing_member(folder: Path) -> None:
    """A path that climbs out of the archive."""
    put(folder, MODEL, packed({**members(folder), f"../../{MARK}": b"x"}))


def absolute_member(folder: Path) -> None:
    """An absolute path."""
    put(folder, MODEL, packed({**members(folder), "/tmp/ran-code": b"x"}))


def linked_member(folder: Path) -> None:
    """A symbolic link."""
    file = io.BytesIO(packed(members(folder)))
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("assets")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    put(folder, MODEL, file.getvalue())


def further_member(folder: Path) -> None:
    """An asset, which a layer might read."""
    put(folder, MODEL, packed({**members(folder), "assets/vocabulary.txt": b"x"}))


def double_member(folder: Path) -> None:
    """Two configurations: one to be checked, one to be loaded."""
    file = io.BytesIO(packed(members(folder)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("config.json", "{}")
    put(folder, MODEL, file.getvalue())


def zip_bomb(folder: Path) -> None:
    """256 MB of zeros in 260 kB, in the network's file."""
    bomb = packed(
        {**members(folder), "metadata.json": bytes(256 << 20)}, compression=zipfile.ZIP_DEFLATED
    )
    put(folder, MODEL, bomb)


def array_bomb(folder: Path) -> None:
    """256 MB of zeros in 260 kB, as an array."""
    content = members(folder, REFERENCE)
    file = io.BytesIO()
    np.save(file, np.zeros(64 << 20, np.float32))
    put(folder, REFERENCE, packed({**content, "more.npy": file.getvalue()}, zipfile.ZIP_DEFLATED))


def lying_bomb(folder: Path) -> None:
    """A bomb whose directory lies: many members that are the same bytes."""
    data = packed({**members(folder), "metadata.json": b"{}"})
    end = data.rindex(b"PK\x05\x06")
    size, start = struct.unpack("<II", data[end + 12 : end + 20])
    last = data[start : start + size].rindex(b"PK\x01\x02")
    entry = bytearray(data[start + last : end])
    entry[24:28] = struct.pack("<I", 4_000_000_000)
    put(folder, MODEL, data[: start + last] + bytes(entry) + data[end:])


def promised_array(folder: Path) -> None:
    """A header that promises 4 GB over four bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1_000_000_000,)}
    )
    content = {**members(folder, REFERENCE), "more.npy": header.getvalue() + b"1234"}
    put(folder, REFERENCE, packed(content))


class _Code:
    def __reduce__(self) -> tuple:
        return os.system, (f"touch {MARK}",)


def pickled_array(folder: Path) -> None:
    """An array of objects: a pickle that runs code."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    content = members(folder, REFERENCE)
    content["inputs.npy"] = header.getvalue() + pickle.dumps(_Code())
    put(folder, REFERENCE, packed(content))


def pickle_as_network(folder: Path) -> None:
    """A pickle under the name of the network."""
    put(folder, MODEL, pickle.dumps(_Code()))


def swapped_weights(folder: Path) -> None:
    """Other weights: the classes are turned round."""

    def change(weights: h5py.File) -> None:
        kernel = weights["layers/dense/vars/0"]
        kernel[...] = kernel[...][:, ::-1]

    with_weights(folder, change)


def swapped_network_alone(folder: Path) -> None:
    """Other weights, and the card as it was."""
    card = (folder / CARD).read_bytes()
    swapped_weights(folder)
    (folder / CARD).write_bytes(card)


def swapped_reference_alone(folder: Path) -> None:
    """Other answers to check by, and the card as it was."""
    with np.load(folder / REFERENCE) as kept:
        arrays = dict(kept)
    np.savez(folder / REFERENCE, **{**arrays, "outputs": arrays["outputs"][:, ::-1]})


def other_labels(folder: Path) -> None:
    """Labels in another order: the angry would be filed as calm."""
    edit_card(folder, labels=["angry", "sad", "calm"])


def fewer_labels(folder: Path) -> None:
    """Fewer labels than the network has outputs."""
    edit_card(folder, labels=["calm", "sad"])


def deep_card(folder: Path) -> None:
    """JSON so deep that a parser runs out of stack."""
    (folder / CARD).write_text("[" * 1_000_000)


def pipe_as_network(folder: Path) -> None:
    """A named pipe, which would keep a reader waiting for ever."""
    (folder / MODEL).unlink()
    os.mkfifo(folder / MODEL)


# Each with the words by which it is refused.
HOSTILE: dict[Callable[[Path], None], str] = {
    lambda_layer: r"holds keras\.layers\.Lambda, which may run code",
    function_as_layer: r"holds os\.system, which may run code",
    keras_function: r"holds keras\.config\.function, which may run code",
    dead_operation: r"holds keras\.src\.ops\.core\.Switch, which may run code",
    saved_model_layer: r"holds keras\.layers\.TFSMLayer, which may run code",
    vocabulary_layer: r"holds keras\.layers\.StringLookup, which may run code",
    external_weights: "/more of its weights reads another file",
    linked_weights: "more of its weights is a link to elsewhere",
    virtual_weights: "/more of its weights reads another file",
    endless_weights: "its weights promise more than 1,073,741,824 bytes",
    climbing_member: r"the path '\.\./\.\./ran-code' climbs out of the archive",
    absolute_member: "the path '/tmp/ran-code' climbs out of the archive",
    linked_member: "'assets' is a link",
    further_member: r"holds 'assets/vocabulary\.txt'; only config\.json",
    double_member: r"'config\.json' is there twice",
    zip_bomb: r"'metadata\.json' unpacks .* a zip bomb",
    array_bomb: r"'more\.npy' unpacks .* a zip bomb",
    lying_bomb: "a zip bomb",
    promised_array: r"more\.npy promises 4,000,000,000 bytes and holds 4",
    pickled_array: r"inputs\.npy holds pickled objects, which may run code",
    pickle_as_network: "not a Keras 3 file",
    swapped_weights: "answers are off by",
    swapped_network_alone: r"model\.keras: SHA-256 .* expected by card\.json",
    swapped_reference_alone: r"reference\.npz: SHA-256 .* expected by card\.json",
    other_labels: "labels angry, sad, calm found, but the network was trained on calm, sad, angry",
    fewer_labels: "labels calm, sad found, but the network was trained on calm, sad, angry",
    deep_card: r"card\.json: not JSON",
    pipe_as_network: "not a regular file",
}
