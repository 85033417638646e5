"""Speech emotion recognition on call recordings: audio, speech, features, models, tables.

Arrays, models and tables only: nothing here imports Apache Beam, and TensorFlow
is imported only where a model is loaded or trained.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_core.labelling import label_file, label_files

__version__ = "0.3.0"
__all__ = ["__version__", "label_file", "label_files"]


def __getattr__(name: str) -> Any:
    """`label_file` and `label_files`, imported late, since they need models."""
    if name in ("label_file", "label_files"):
        return getattr(import_module("ser_core.labelling"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
