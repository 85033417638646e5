"""Small drawings in SVG, for pages: the arc of a call, a share with its range, nights in a row.

They have no colours of their own: a page's style gives them by class, so that they follow light and
dark. What they show stands in numbers beside them, so a screen reader leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

ARC_WIDTH, ARC_HEIGHT = 120, 28
RANGE_WIDTH, RANGE_HEIGHT = 120, 16
# Of the nights: the width of one, and of all at most; beside them is room for a number.
NIGHT_WIDTH, NIGHTS_WIDTH, NIGHTS_HEIGHT, MARGIN = 20.0, 560.0, 110, 64


def arc(
    segments: Sequence[tuple[float, float, float]],
    duration_s: float | None,
    stretch: tuple[float, float],
) -> Markup:
    """Negativity of a call over its time: a bar for each stretch of speech.

    Parameters
    ----------
    segments : sequence of (start_s, end_s, negativity)
        Negativity in [0, 1].
    duration_s : float or None
        None is the end of the last segment.
    stretch : (from_s, to_s)
        What is marked.
    """
    end = max([duration_s or 0.0, *(item[1] for item in segments), 1e-3])
    paths = {"m": "", "s": ""}
    last: dict[str, float] = {}
    for start_s, end_s, value in segments:
        marked = "m" if stretch[0] <= start_s and end_s <= stretch[1] else "s"
        left = ARC_WIDTH * start_s / end
        # Neighbours that fall on one point of the drawing are one bar.
        if left < last.get(marked, -1.0):
            continue
        width = max(ARC_WIDTH * (end_s - start_s) / end, 1.5)
        height = max(ARC_HEIGHT * min(1.0, value), 0.7)
        last[marked] = left + 1.2
        paths[marked] += f"M{left:.1f} {ARC_HEIGHT}v-{height:.1f}h{width:.1f}V{ARC_HEIGHT}z"
    drawn = [
        Markup('<path class="{}" d="{}"/>').format(name, path)
        for name, path in paths.items()
        if path
    ]
    return _svg("arc", ARC_WIDTH, ARC_HEIGHT, drawn)


def share_range(
    share: float,
    low: float,
    high: float,
    usual_low: float | None,
    usual_high: float | None,
    top: float,
    verdict: str,
) -> Markup:
    """A share with its interval, over the range of ordinary nights; `top` is the right edge."""

    def at(value: float) -> float:
        return 4 + (RANGE_WIDTH - 8) * min(1.0, value / top)

    middle = RANGE_HEIGHT / 2
    drawn = []
    if usual_low is not None and usual_high is not None:
        drawn.append(
            Markup('<rect class="usual" x="{:.1f}" y="1" width="{:.1f}" height="{}"/>').format(
                at(usual_low), max(1.0, at(usual_high) - at(usual_low)), RANGE_HEIGHT - 2
            )
        )
    drawn.append(
        Markup('<path class="interval" d="M{:.1f} {}H{:.1f}"/>').format(at(low), middle, at(high))
    )
    drawn.append(
        Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="3.5"/>').format(
            verdict, at(share), middle
        )
    )
    return _svg("range", RANGE_WIDTH, RANGE_HEIGHT, drawn)


def nights(
    shares: Sequence[float | None],
    usual_low: float | None = None,
    usual_high: float | None = None,
) -> Markup:
    """Shares of nights in a row, the last one marked, over the range of ordinary nights."""
    known = [value for value in shares if value is not None]
    top = max([*known, usual_high or 0.0, 0.02]) * 1.1
    count = max(len(shares), 1)
    night_width = min(NIGHT_WIDTH, NIGHTS_WIDTH / count)
    width = night_width * count

    def at(value: float) -> float:
        return (NIGHTS_HEIGHT - 14) * (1 - value / top) + 4

    drawn = [_text(width + 6, at(0.0) + 4, "0 %")]
    if usual_low is not None and usual_high is not None:
        drawn.append(
            Markup('<rect class="usual" x="0" y="{:.1f}" width="{:.0f}" height="{:.1f}"/>').format(
                at(usual_high), width, max(1.0, at(usual_low) - at(usual_high))
            )
        )
    drawn.append(Markup('<path class="axis" d="M0 {:.1f}H{:.0f}"/>').format(at(0.0), width))
    places = [
        (night_width * (i + 0.5), at(value)) for i, value in enumerate(shares) if value is not None
    ]
    if len(places) > 1:
        line = " ".join(f"{x:.0f},{y:.1f}" for x, y in places)
        drawn.append(Markup('<polyline class="trend" points="{}"/>').format(line))
    for i, (x, y) in enumerate(places):
        kind, radius = ("tonight", 5) if i + 1 == len(places) else ("night", 3)
        drawn.append(
            Markup('<circle class="{}" cx="{:.0f}" cy="{:.1f}" r="{}"/>').format(kind, x, y, radius)
        )
    if places:
        x, y = places[-1]
        drawn.append(_text(x + 10, y + 4, f"{100 * known[-1]:.0f} %", "now"))
    return _svg("nights", width + MARGIN, NIGHTS_HEIGHT, drawn)


def _text(x: float, y: float, text: str, kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{:.0f}" y="{:.0f}">{}</text>').format(kind, x, y, text)


def _svg(kind: str, width: float, height: float, drawn: Sequence[Markup]) -> Markup:
    opening = Markup(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" aria-hidden="true">'
    ).format(kind, width, height, width, height)
    return opening + Markup("").join(drawn) + Markup("</svg>")
