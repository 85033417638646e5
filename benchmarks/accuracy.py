"""How well the bundled models hold on voices that they have never heard: docs/accuracy.md.

    python benchmarks/accuracy.py [--work FOLDER] [--only PART …] [--also NAME=PATH …] [--write]

Corpora and noises are read from the folder SER_DATA, or from ../shared/data beside this checkout.
`--also` adds any corpus, such as `csv=labels.csv` (see docs/own-data.md) or `--also NAME=FOLDER`.
The parts are:

    unheard    bundles on corpora that they were not trained on, by condition, alone and adapted
    left-out   the recipe trained without a corpus and tested on it, among the open ones and all
    by-sex     women and men of the corpora never heard
    by-actor   6 folds of RAVDESS by actor, 8 emotions, for comparison with the literature
    calls      200 built telephone calls of RAVDESS's actors: turns, and calls with anger
    archives   the default bundle adapted to archives with 20 to 95 % neutral clips
    sounds     noise, music, prompts
    cost       CPU time and size

Bundles are those that `make models` wrote; what the parts train is kept in the work folder, and so
are figures, until a bundle, a corpus or a setting changes: a stopped run continues, and `--again`
measures again. Everything takes some hours on 2
cores. The page's template is accuracy.md.jinja beside this file; `--write` writes docs/accuracy.md
and its pictures, with the parts that were measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.unheard import built_calls, cost, protocols, sounds
from benchmarks.unheard.bench import Bench
from pipelines import corpus_options
from pipelines.terminal import progress_bars
from ser_core import models
from ser_core.conditions import CONDITIONS
from ser_core.corpora import vectors
from ser_core.errors import SerError
from ser_core.models.recipes.calls.recipe import CallsRecipe
from ser_core.models.scores import Scores
from ser_core.report import training_pictures

ROOT = Path(__file__).resolve().parents[1]
MUSIC = Path("/usr/share/asterisk/moh")
PROMPTS = Path("/usr/share/asterisk/sounds")
TEMPLATE = Path(__file__).with_name("accuracy.md.jinja")
PAGE = ROOT / "docs" / "accuracy.md"
CORPORA = ("cremad", "emodb", "emovo", "ravdess")
OPEN = ("CREMA-D", "EMO-DB")
BUNDLES = ("calls", "calls-fast", "seed")
SHOWN = ("clean", "mulaw", "hard", "gsm")
PARTS = ("unheard", "left-out", "by-sex", "by-actor", "calls", "archives", "sounds", "cost")


def main() -> None:
    options = parse()
    data = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    options.corpus = [(name, str(data / name)) for name in CORPORA if (data / name).is_dir()]
    options.corpus += options.also
    options.work.mkdir(parents=True, exist_ok=True)
    with corpus_options.open_corpora(options) as opened, progress_bars() as progress:
        bench = Bench(options.work, tuple(opened), OPEN, SHOWN, options.jobs, progress)
        test = Test(
            bench, load_all(options.bundles), CallsRecipe(noise=data / "noise"), data, options
        )
        figures = {
            part: kept(options, part, test.key, lambda part=part: measure(part, test))
            for part in options.only
        }
    page = render({**figures, "cards": [bundle.card for bundle in test.bundles]})
    if options.write:
        PAGE.write_text(page, encoding="utf-8")
        draw(figures)
    else:
        print(page)


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=__doc__.partition("\n\n")[2],
    )  # fmt: skip
    parser.add_argument("--work", type=Path, default=vectors.cache_folder().parent / "accuracy")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--again", nargs="*", choices=PARTS, default=(), metavar="PART")
    parser.add_argument("--also", nargs="+", type=_corpus, default=[], metavar="NAME=PATH")
    parser.add_argument("--label-map", metavar="CSV", help="as for ser evaluate")
    parser.add_argument("--bundles", nargs="+", default=BUNDLES, help="names or folders")
    parser.add_argument("--calls", type=int, default=built_calls.CALLS, help="calls to build")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--music", type=Path, default=MUSIC)
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/accuracy.md, with the parts that were measured",
    )
    options = parser.parse_args()
    if options.write and "unheard" not in options.only:
        parser.error("--write needs the part unheard, which the pictures show")
    return options


def _corpus(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not (name and path):
        raise argparse.ArgumentTypeError(f"{text!r} found, NAME=PATH expected")
    return name, path


@dataclass(frozen=True)
class Test:
    """What is measured: corpora, bundles, a recipe; the folder SER_DATA; the options."""

    bench: Bench
    bundles: Sequence[models.Bundle]
    recipe: CallsRecipe
    data: Path
    options: argparse.Namespace

    @property
    def key(self) -> str:
        """A hash that changes with what is measured."""
        corpora = [(corpus.name, len(corpus.utterances)) for corpus in self.bench.corpora]
        bundles = [bundle.id for bundle in self.bundles]
        # Without the folder of noises, which is elsewhere on another machine.
        recipe = replace(self.recipe, noise=None)
        named = repr((corpora, bundles, recipe, self.bench.conditions, self.options.calls))
        return hashlib.sha256(named.encode()).hexdigest()[:8]


def kept(options: argparse.Namespace, part: str, key: str, measure: Callable[[], Any]) -> Any:
    """The figures of a part, from the work folder if they are there."""
    file = options.work / f"{part}-{key}.json"
    if file.exists() and part not in options.again:
        return json.loads(file.read_text("utf-8"))
    found = json.loads(json.dumps(measure(), allow_nan=False))
    file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return found


def measure(part: str, test: Test) -> Any:
    """The figures of a part."""
    bench, bundles, recipe, options = test.bench, test.bundles, test.recipe, test.options
    ravdess = bench.corpus("RAVDESS")
    match part:
        case "unheard":
            return protocols.unheard(bench, bundles)
        case "left-out":
            return protocols.one_left_out(bench, recipe)
        case "by-sex":
            return protocols.by_sex(bench, bundles)
        case "by-actor":
            return ravdess and protocols.by_actor(bench, ravdess, recipe)
        case "calls":
            return built_calls.on_calls(bench, test.data, bundles, recipe, options.calls)
        case "archives":
            return protocols.archives(bench, bundles[0])
        case "sounds":
            music, prompts = options.music, options.prompts
            model = models.card.find(options.bundles[0])
            return {
                "domains": sounds.out_of_domain(bench, bundles[0], test.data, music, prompts),
                "prompts": sounds.run_prompts(options.work, bundles[0], model, prompts),
            }
        case _:
            return cost.costs(bench, bundles)


def load_all(names: Sequence[str]) -> list[models.Bundle]:
    """The bundles that are there."""
    found = []
    for name in names:
        try:
            found.append(models.load(name))
        except SerError as error:
            print(f"accuracy: {error}", file=sys.stderr)
    return found


def render(figures: dict[str, Any]) -> str:
    """The page; parts that were not measured are left out."""
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["uar"] = _uar
    environment.filters["detected"] = _detected
    environment.filters["percent"] = _percent
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = {part.replace("-", "_"): figures.get(part) for part in PARTS}
    titles = {name: row.title for name, row in CONDITIONS.items()}
    page = template.render(
        **names, cards=figures["cards"], titles=titles, shown=SHOWN, piece_s=sounds.PIECE_S,
        archive_clips=protocols.ARCHIVE_CLIPS, minutes=built_calls.MINUTES,
    )  # fmt: skip
    return "".join(f"{line.rstrip()}\n" for line in page.splitlines())


def _uar(figures: dict[str, Any] | None, interval: bool = True) -> str:
    """UAR in percent, with its interval."""
    if not figures:
        return ""
    scores = figures["scores"]
    text = f"{100 * scores['uar']:.1f}"
    if not interval or scores["uar_low"] is None:
        return text
    return f"{text} ({100 * scores['uar_low']:.1f} to {100 * scores['uar_high']:.1f})"


def _percent(share: float | None, digits: int = 0) -> str:
    return "" if share is None else f"{100 * share:.{digits}f} %"


def _detected(figures: dict[str, Any] | None) -> str:
    """AUC in percent, and the share found at 5 % false alarms."""
    return f"{100 * figures['auc']:.1f}, {_percent(figures['found'])}" if figures else ""


def draw(figures: dict[str, Any]) -> None:
    """Pictures of the default bundle on the first corpus that it has not heard."""
    name = next(iter(figures["unheard"]))["bundle"]
    for row in figures["unheard"]:
        if row["bundle"] == name and row["corpus"] == "RAVDESS":
            by_way = {
                way: {
                    CONDITIONS[condition].title: Scores(
                        **{**found[way]["scores"], "protocol": f"RAVDESS over mu-law, {way}"}
                    )
                    for condition, found in row["conditions"].items()
                    if found[way]
                }
                for way in ("alone", "adapted")
            }
            shown = {way: scores for way, scores in by_way.items() if scores}
            pictures = {
                "conditions": training_pictures.conditions(shown),
                "confusion": training_pictures.confusion(
                    [scores[CONDITIONS["mulaw"].title] for scores in shown.values()]
                ),
            }
            for picture, content in pictures.items():
                PAGE.with_name(f"accuracy-{picture}.png").write_bytes(content)


if __name__ == "__main__":
    main()
