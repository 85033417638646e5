"""The style of all pictures: colours, fonts, lines, and how a figure becomes a PNG.

A drawing function is decorated with `styled`, makes its figure with `figure`, and returns `png` of
it. Nothing here needs a display or pyplot.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

INK, SOFT, FAINT = "#24292f", "#66707a", "#d7dde3"
WAVE = "#3c4048"
# Bars of counts: the colour `--mark` of the pages.
BAR = "#4c78a8"
# Okabe & Ito (2008): colours that differ with every kind of colour vision.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")

# The same palette by emotion; grey stands for neutral.
_EMOTION_COLOURS = {
    "neutral": "#9A9A9A",
    "calm": "#56B4E9",
    "happy": "#E69F00",
    "sad": "#0072B2",
    "angry": "#D55E00",
    "fearful": "#CC79A7",
    "disgust": "#009E73",
    "surprised": "#F0E442",
}
# Any other label takes the next of these (Tol's "muted"), in alphabetical order.
_OTHER_COLOURS = ("#882255", "#44AA99", "#332288", "#999933", "#AA4499", "#117733", "#DDCC77")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def styled(size: float = 8.0) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Decorator of a drawing function: our style while it draws.

    Parameters
    ----------
    size : float
        Points of labels, ticks and legends.
    """
    names = ("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    settings: Any = {
        **dict.fromkeys(names, size),
        "axes.axisbelow": True,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": SOFT,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": size + 0.5,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "hatch.linewidth": 1.4,
        "legend.frameon": False,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }

    def decorate(draw: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(draw)
        def draw_in_style(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with rc_context(settings):
                return draw(*args, **kwargs)

        return draw_in_style

    return decorate


def figure(width_in: float, height_in: float) -> Figure:
    """Empty figure with a constrained layout."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def png(drawn: Figure, *, dpi: int = 110, colours: int = 128) -> bytes:
    """Write a figure as PNG; equal figures give equal bytes.

    Parameters
    ----------
    drawn : Figure
    dpi : int > 0
    colours : int in 2 … 256
        Size of the palette: a third of the bytes of full colour, and no visible difference.
    """
    canvas = FigureCanvasAgg(drawn)
    drawn.set_dpi(dpi)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font does not have
        canvas.draw()
    file = io.BytesIO()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(colours).save(file, format="png", optimize=True)
    return file.getvalue()


def distinct_labels(names: Iterable[str], longest: int) -> dict[str, str]:
    """Names cut to a length, and still told apart.

    A name that is too long loses its end; where two would then be equal they lose their middle, and
    where that is not enough they are numbered.

    Examples
    --------
    >>> distinct_labels(["calm", "surprised, sad", "surprised, glad"], 10)
    {'calm': 'calm', 'surprised, sad': 'surp… sad', 'surprised, glad': 'surp…glad'}
    """
    names = [*dict.fromkeys(names)]
    short = {name: name if len(name) <= longest else name[: longest - 1] + "…" for name in names}
    half = (longest - 1) // 2
    for name in _colliding(short):
        short[name] = f"{name[:half]}…{name[-half:]}" if len(name) > longest else name
    for number, name in enumerate(_colliding(short), 1):
        mark = f"…{number}"
        short[name] = name[: longest - len(mark)] + mark
    return short


def _colliding(short: Mapping[str, str]) -> list[str]:
    counts = Counter(short.values())
    return [name for name, text in short.items() if counts[text] > 1]


def emotion_colours(labels: Iterable[str]) -> dict[str, str]:
    """Colour of each label: fixed for RAVDESS's eight, the next free one for others."""
    labels = list(labels)
    others = sorted({label for label in labels if label not in _EMOTION_COLOURS})
    extra = {label: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, label in enumerate(others)}
    return {label: _EMOTION_COLOURS.get(label) or extra[label] for label in labels}
