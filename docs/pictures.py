"""Draws the two pictures of the page "How it is built": python docs/pictures.py

The way of a recording through the processes, and the layers of the code. A name that changes in
the code is changed here.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
LEFT, COLUMN, BOX, HEIGHT = 150, 166, 146, 62
INK, GREY = "#1f2933", "#52606d"
# Fill and edge of each lane.
BLUE, GREEN, ORANGE, VIOLET = (
    ("#e3f0fb", "#2f6fa7"),
    ("#e3f5ec", "#2b8a5b"),
    ("#fdeee0", "#b8651b"),
    ("#f0eafa", "#6b4fa0"),
)


def main() -> None:
    (FOLDER / "way-of-a-recording.svg").write_text(way_of_a_recording(), encoding="utf-8")
    (FOLDER / "layers.svg").write_text(layers(), encoding="utf-8")


def way_of_a_recording() -> str:
    """Lanes are processes and the output folder; steps go from left to right."""
    lanes = (
        ("Launcher", "the command ser", BLUE, 16),
        ("Worker", "one per core", GREEN, 136),
        ("Decoding child", "one per worker, may die", ORANGE, 256),
        ("OUT", "the output folder", VIOLET, 376),
    )
    parts = [lane(*about) for about in lanes]
    top = {name: y + 24 for name, _, _, y in lanes}
    steps = (
        ("Launcher", 0, "match", "storage/inputs.py", BLUE),
        ("Launcher", 1, "skip what is done", "ledger.py", BLUE),
        ("Launcher", 2, "deal in shares", "steps/dealing.py", BLUE),
        ("Launcher", 5, "publish", "storage/", BLUE),
        ("Worker", 2, "examine", "steps/examining.py", GREEN),
        ("Worker", 3, "predict", "steps/predicting.py", GREEN),
        ("Worker", 4, "write", "steps/writing.py", GREEN),
        ("Worker", 5, "check and seal", "books.py", GREEN),
        ("Decoding child", 1, "decode", "ser_core/audio/", ORANGE),
        ("Decoding child", 2, "find speech", "ser_core/speech.py", ORANGE),
        ("Decoding child", 3, "extract features", "ser_core/features/", ORANGE),
        ("OUT", 4, "_staging/<run_id>/", "parts, then a seal", VIOLET),
        ("OUT", 5, "the four tables", "read the next night", VIOLET),
    )
    parts += [
        box(LEFT + COLUMN * column, top[name], title, note, colours)
        for name, column, title, note, colours in steps
    ]

    def right(name: str, column: int) -> str:
        x, y = LEFT + COLUMN * column + BOX, top[name] + HEIGHT / 2
        return arrow((x, y), (x + COLUMN - BOX, y))

    def across(column: int, start: str, end: str, shift: int = 0) -> str:
        x = LEFT + COLUMN * column + BOX / 2 + shift
        if top[start] < top[end]:
            return arrow((x, top[start] + HEIGHT), (x, top[end]))
        return arrow((x, top[start]), (x, top[end] + HEIGHT))

    parts += [right("Launcher", 0), right("Launcher", 1)]
    parts += [right("Worker", column) for column in (2, 3, 4)]
    parts += [right("Decoding child", column) for column in (1, 2)]
    parts += [across(2, "Launcher", "Worker"), across(5, "Worker", "Launcher")]
    parts += [across(4, "Worker", "OUT")]
    # From the worker into the child, and back.
    middle = (top["Worker"] + HEIGHT + top["Decoding child"]) / 2
    examine, decode, extract = (LEFT + COLUMN * column + BOX / 2 for column in (2, 1, 3))
    parts += [
        arrow(
            (examine - 30, top["Worker"] + HEIGHT),
            (examine - 30, middle),
            (decode, middle),
            (decode, top["Decoding child"]),
        ),
        arrow(
            (extract, top["Decoding child"]),
            (extract, middle),
            (examine + 30, middle),
            (examine + 30, top["Worker"] + HEIGHT),
        ),
        text(decode - 8, middle + 14, "URI", 12, GREY, "end"),
        text(extract + 8, middle + 14, "facts, segments, vectors", 12, GREY),
    ]
    # The publication: a move inside OUT, made by the launcher.
    parts += [
        right("OUT", 4),
        text(LEFT + COLUMN * 5 - 10, top["OUT"] - 8, "published by renames", 12, GREY, "middle"),
    ]
    return svg(1170, 500, "The way of a recording through the processes", parts)


def layers() -> str:
    """Rows from top to bottom; a row imports only from the rows below it."""
    rows = (
        (
            "pipelines",
            BLUE,
            ("cli, commands", "nightly, graph, steps", "books, ledger", "runners, storage"),
        ),
        ("ser_core", GREEN, ("training",)),
        ("", GREEN, ("report",)),
        ("", GREEN, ("models",)),
        ("", GREEN, ("corpora", "guarded", "tables")),
        ("", GREEN, ("examine",)),
        ("", GREEN, ("features", "emotions", "conditions")),
        ("", GREEN, ("audio", "speech")),
        ("", GREEN, ("errors",)),
    )
    notes = {
        0: "Apache Beam, DuckDB",
        2: "matplotlib, Jinja2",
        3: "Keras, TensorFlow, scikit-learn",
        6: "numba, soxr",
        7: "soundfile, PyAV, WebRTC VAD",
    }
    parts = []
    for index, (package, colours, modules) in enumerate(rows):
        y = 16 + 58 * index + (14 if index else 0)
        parts.append(text(16, y + 27, package, 16, INK, weight="600"))
        width = (680 - 12 * (len(modules) - 1)) / len(modules)
        for place, name in enumerate(modules):
            parts.append(box(120 + place * (width + 12), y, name, "", colours, width, 44))
        parts.append(text(816, y + 27, notes.get(index, ""), 13, GREY))
    return svg(1060, 556, "The layers: a row imports only from the rows below it", parts)


def lane(name: str, note: str, colours: tuple[str, str], y: int) -> str:
    return (
        f'<rect x="8" y="{y}" width="1154" height="110" rx="8" fill="{colours[0]}" opacity="0.45"/>'
        + text(20, y + 50, name, 15, colours[1], weight="600")
        + text(20, y + 69, note, 11, GREY)
    )


def box(
    x: float,
    y: float,
    title: str,
    note: str,
    colours: tuple[str, str],
    width: float = BOX,
    height: float = HEIGHT,
) -> str:
    fill, edge = colours
    title_y = y + height / 2 + (-2 if note else 5)
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" '
        f'stroke="{edge}" stroke-width="1.5"/>'
        + text(x + width / 2, title_y, title, 13, INK, "middle", "600")
        + (text(x + width / 2, y + height / 2 + 17, note, 11, GREY, "middle") if note else "")
    )


def arrow(*points: tuple[float, float]) -> str:
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    return (
        f'<polyline points="{line}" fill="none" stroke="{INK}" stroke-width="1.5" '
        'marker-end="url(#head)"/>'
    )


def text(
    x: float,
    y: float,
    words: str,
    size: int,
    colour: str,
    anchor: str = "start",
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker>'
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="{FONT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<defs>{head}</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *filter(None, parts),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
