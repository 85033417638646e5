"""Signatures of bundles: Ed25519 over the SHA-256 of each file.

`signature.json` lies beside `card.json`. It names every file of the folder with its SHA-256, and
holds the signature of that list. Whoever requires a signature names the public key; a key inside
the bundle would prove nothing, so none is kept there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_core.errors import BundleError
from ser_core.models.file_checks import ADVICE, MAX_CARD_BYTES, read_bounded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "signature.json"
# The environment variable with the passphrase of a private key.
PASSPHRASE = "SER_KEY_PASSPHRASE"
_VERSION = 1
_PURPOSE = b"ser-pipeline bundle signature 1\n"


@dataclass(frozen=True)
class PublicKey:
    """Whose signature is required.

    Parameters
    ----------
    raw : bytes
        The 32 bytes of an Ed25519 public key.
    """

    raw: bytes

    @property
    def id(self) -> str:
        """The start of the key's SHA-256, as messages name it."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @classmethod
    def read(cls, path: str | os.PathLike) -> PublicKey:
        """Read a public key from a PEM file.

        Raises
        ------
        BundleError
            No such file, or no Ed25519 public key.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        content = _read_key(Path(path))
        try:
            key = serialization.load_pem_public_key(content)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PublicKey):
            kind = "a private key" if b"PRIVATE KEY" in content else "something else"
            raise BundleError(
                f"{path}: {kind} found, the PEM file of an Ed25519 public key expected, such as "
                "`ser model sign --new-key KEY` writes to KEY.pub"
            )
        return cls(key.public_bytes_raw())


def new_key(path: str | os.PathLike) -> PublicKey:
    """Make a key: the private one in `path`, readable for its owner only, the public in `path.pub`.

    The private key is encrypted if the environment has `SER_KEY_PASSPHRASE`.

    Raises
    ------
    BundleError
        One of the files exists already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = Path(path)
    public_path = path.with_name(path.name + ".pub")
    key = Ed25519PrivateKey.generate()
    phrase = os.environ.get(PASSPHRASE)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(phrase.encode())
        if phrase
        else serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        if public_path.exists():
            raise FileExistsError(17, "File exists", str(public_path))
        for target, content, mode in ((path, private, 0o600), (public_path, public, 0o644)):
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except OSError as error:
        raise BundleError(
            f"{error.filename or path}: no key can be written there ({error.strerror}); "
            "a key is never overwritten: give another name"
        ) from error
    return PublicKey(key.public_key().public_bytes_raw())


def sign(folder: Path, key_path: str | os.PathLike) -> PublicKey:
    """Sign all files of a bundle's folder; an older signature is replaced.

    Raises
    ------
    BundleError
        The key cannot be read, or the signature cannot be written.
    """
    key = _read_private(Path(key_path))
    names = sorted(path.name for path in folder.iterdir() if path.name != SIGNATURE)
    files = {name: hashlib.sha256(read_bounded(folder / name)).hexdigest() for name in names}
    signature = base64.b64encode(key.sign(_message(files))).decode()
    content = {
        "version": _VERSION,
        "algorithm": "Ed25519",
        "files": files,
        "signature": signature,
    }
    work = folder / f".{SIGNATURE}.part"
    try:
        work.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        os.replace(work, folder / SIGNATURE)
    except OSError as error:
        raise BundleError(
            f"{folder / SIGNATURE}: cannot be written ({error.strerror}); a bundle that comes with "
            "the package is signed as a copy: --save FOLDER"
        ) from error
    return PublicKey(key.public_key().public_bytes_raw())


def check_signature(folder: Path, key: PublicKey, contents: Mapping[str, bytes]) -> None:
    """Check a bundle's signature, and that it covers these files as they are.

    Parameters
    ----------
    folder : Path
    key : PublicKey
        Whose signature is required.
    contents : mapping of file name to bytes
        The files that are used.

    Raises
    ------
    BundleError
        No signature, another's, or a file that it does not cover.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    path = folder / SIGNATURE
    files, signature = _read_signature(path, key)
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, _message(files))
    except InvalidSignature:
        raise BundleError(
            f"{path}: not signed by the key {key.id} that --require-signature names, or changed "
            f"since; {ADVICE}"
        ) from None
    for name, content in contents.items():
        if files.get(name) != hashlib.sha256(content).hexdigest():
            found = "was changed after" if name in files else "is not covered by"
            raise BundleError(f"{folder / name}: {found} the signature; {ADVICE}")
    for other in sorted(entry.name for entry in folder.iterdir()):
        if other not in files and other != SIGNATURE:
            raise BundleError(
                f"{folder / other}: not covered by the signature; remove the file, or sign the "
                "bundle again"
            )


def _read_signature(path: Path, key: PublicKey) -> tuple[dict[str, str], bytes]:
    try:
        values = json.loads(read_bounded(path, MAX_CARD_BYTES))
        version, files = values["version"], values["files"]
        signature = base64.b64decode(values["signature"], validate=True)
    except FileNotFoundError:
        raise BundleError(
            f"{path.parent}: no {SIGNATURE} found, a signature by the key {key.id} expected "
            "(--require-signature); sign it: `ser model sign BUNDLE --key KEY`, a bundled model "
            "with --save FOLDER"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise BundleError(f"{path}: no signature ({error}); {ADVICE}") from None
    well_formed = isinstance(files, dict) and all(
        isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest)
        for digest in files.values()
    )
    if version != _VERSION or not well_formed:
        raise BundleError(
            f"{path}: version {version!r} of a signature found, {_VERSION} expected; sign the "
            "bundle again with this version"
        )
    return files, signature


def _message(files: Mapping[str, str]) -> bytes:
    """The bytes that are signed: equal lists of files give equal bytes."""
    return _PURPOSE + json.dumps(files, sort_keys=True, separators=(",", ":")).encode()


def _read_private(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    content = _read_key(path)
    phrase = os.environ.get(PASSPHRASE)
    try:
        key = serialization.load_pem_private_key(content, phrase.encode() if phrase else None)
    except (ValueError, TypeError) as error:
        # The message never quotes the file.
        encrypted = b"ENCRYPTED" in content
        advice = (
            f"it is encrypted: set {PASSPHRASE} to its passphrase"
            if encrypted
            else "the PEM file of `ser model sign --new-key KEY` expected"
            + (f", without {PASSPHRASE}" if phrase else "")
        )
        raise BundleError(f"{path}: no private key can be read; {advice}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(
            f"{path}: a key of another kind found, Ed25519 expected; "
            "make one with `ser model sign --new-key KEY`"
        )
    return key


def _read_key(path: Path) -> bytes:
    try:
        return read_bounded(path, 1 << 16)
    except OSError as error:
        raise BundleError(
            f"{path}: the key cannot be read ({error.strerror}); "
            "`ser model sign --new-key KEY` makes one"
        ) from error
