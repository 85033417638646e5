"""The command `ser`. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import argparse
import datetime as dt
import difflib
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence

from pipelines import errors
from pipelines.errors import CommandError, UsageError
from ser_core import __version__
from ser_core.conditions import CONDITIONS
from ser_core.emotions import GROUPINGS
from ser_core.errors import SerError

# Of `pipelines.commands.review`.
REVIEWED = ("least_sure", "disagreement", "random")
_RAW = argparse.RawDescriptionHelpFormatter
EXIT_STATUSES = """exit status:
  0 done                 1 failed                2 the command line asks for what cannot be
  3 too many rejections  4 nothing matched       5 another run holds the output
  130 Ctrl-C             143 ended by SIGTERM"""


class _Terminated(BaseException):
    """SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    parser, leaves = _parser()
    argv = list(sys.argv[1:] if argv is None else argv)
    options, rest = parser.parse_known_args(argv)
    options.command_line = _without_secrets(["ser", *argv])
    signal.signal(signal.SIGTERM, _terminate)
    if not getattr(options, "debug", False):
        logging.disable(logging.CRITICAL)  # Beam says in many lines what we say in one
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if rest and not getattr(options, "takes_beam_options", False):
            _refuse(rest[0], leaves[options.leaf])
        options.beam_options = _beam_options(rest, leaves[options.leaf]) if rest else []
        _tell_stores(options)
        return options.do(options)
    except CommandError as error:
        return _end(str(error), error.status)
    except SerError as error:
        return _end(str(error), errors.USAGE)
    except KeyboardInterrupt:
        return _end(_STOPPED.format("interrupted"), errors.INTERRUPTED)
    except _Terminated:
        return _end(_STOPPED.format("ended by SIGTERM"), errors.TERMINATED)
    except BrokenPipeError:
        # Whoever read our lines has seen enough (`ser plan | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.DONE
    except Exception as error:
        if getattr(options, "debug", False):
            raise
        return _end(
            f"failed: {type(error).__name__}: {error} (--debug shows the whole trace)",
            errors.FAILED,
        )


_STOPPED = "{}; what was published stays, and the next command does what is left"


def _end(message: str, status: int) -> int:
    print(f"ser: {message}", file=sys.stderr)
    return status


def _terminate(number, frame) -> None:
    raise _Terminated


# ---------------------------------------------------------------- what can be said


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="ser",
        description="Learn from call recordings how callers felt: one emotion label a "
        "recording and one a stretch of speech, as Parquet tables.",
        epilog=EXIT_STATUSES,
        formatter_class=_RAW,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ser {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    leaves: dict[str, argparse.ArgumentParser] = {}

    def command(group, name: str, do: Callable, text: str, *examples: str, leaf: str = ""):
        one = group.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=_RAW,
            allow_abbrev=False,
        )
        leaf = leaf or name
        one.set_defaults(do=do, leaf=leaf)
        one.add_argument("--debug", action="store_true", help="show whole traces")
        leaves[leaf] = one
        return one

    run = command(
        commands, "run", _run, "label the recordings of an archive that are new",
        "ser run --input /calls --output /tables --channel-roles agent,customer",
        "ser run --input '/calls/{date:%Y/%m/%d}/**/*.wav' --output /tables \\",
        "    --uri-fields '(?P<queue>[^/]+)/(?P<time>[^/_]+)_(?P<call_id>[^/]+)\\.wav$'",
        "ser run --input @list.txt --output /tables --model my-bundle --workers 8",
    )  # fmt: skip
    _inputs(run)
    _model(run)
    _examination(run)
    _work(run)

    extract = command(
        commands, "extract", _extract, "store features only; `ser label` labels them later",
        "ser extract --input /calls --output /tables --channel-roles agent,customer",
    )  # fmt: skip
    _inputs(extract)
    extract.add_argument("--feature-set", metavar="NAME", help="default: that of the default model")
    _examination(extract)
    _work(extract)

    label = command(
        commands, "label", _label, "label stored features with another model, without the audio",
        "ser label --output /tables --model my-bundle",
    )  # fmt: skip
    _output(label)
    _model(label, required=True)
    _work(label)

    plan = command(
        commands, "plan", _plan, "say what a run would do: counts, hours, time, problems",
        "ser plan --input /calls --output /tables --channel-roles agent,customer",
    )  # fmt: skip
    _inputs(plan)
    _model(plan)
    _examination(plan)
    plan.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="the night (default: today)")
    plan.add_argument("--workers", type=_positive(int), metavar="N", help="as for ser run")
    plan.set_defaults(takes_beam_options=True)

    show = command(
        commands, "show", _show, "draw one call: waves, segments, emotions over time",
        "ser show --output /tables --recording billing/20260301T091500_c0001.wav --save call.png",
        "ser show --output /tables --recording 3f2a91c0",
        "ser show --output /tables",
    )  # fmt: skip
    _output(show)
    show.set_defaults(takes_beam_options=True)
    show.add_argument(
        "--recording", metavar="ID|URI",
        help="its id or URI, or a beginning of the id or an end of the URI that fits only one; "
        "without it, the first rows of the tables are printed",
    )  # fmt: skip
    show.add_argument("--save", metavar="F.png", help="default: call-<id>.png in this folder")

    review = command(
        commands, "review", _review, "pick segments worth a listen, with a page that takes labels",
        "ser review --output /tables --save monday.csv",
        "ser review --output /tables --date 2026-03-01 --n 60 --clips clips --labels calm,angry",
        "ser review --output /tables --against my-bundle --by disagreement=0.7,random=0.3",
        "ser train --corpus csv=review-ana.csv --save my-bundle",
    )  # fmt: skip
    _output(review)
    review.set_defaults(takes_beam_options=True)
    which = review.add_mutually_exclusive_group()
    which.add_argument(
        "--date", type=_date, metavar="YYYY-MM-DD", help="the night (default: the latest there)"
    )
    which.add_argument("--run-id", metavar="R", help="one run alone")
    review.add_argument(
        "--n", type=_positive(int), default=200, metavar="N", help="segments (default: 200)"
    )
    review.add_argument(
        "--by", type=_shares, metavar="KIND=SHARE,…",
        help="least-sure, disagreement, random, with shares in proportion; random ones are drawn "
        "from all segments, so that they tell how often something is so (default: least-sure, "
        "random; with --against also disagreement; equal shares)",
    )  # fmt: skip
    review.add_argument(
        "--against", metavar="BUNDLE", help="another bundle, asked over the stored features"
    )
    review.add_argument(
        "--per-recording", type=_positive(int), default=3, metavar="N",
        help="the most of one recording, random ones apart (default: 3)",
    )  # fmt: skip
    review.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    review.add_argument(
        "--save", default="review.csv", metavar="F.csv",
        help="the list that `ser train` reads once it has labels (default: review.csv)",
    )  # fmt: skip
    review.add_argument(
        "--page", metavar="F.html", help="plays and labels them (default: beside the list)"
    )
    review.add_argument(
        "--clips", metavar="DIR",
        help="copy each segment's audio there, its channel alone; without it the page plays the "
        "recordings, where a browser can reach them",
    )  # fmt: skip
    review.add_argument(
        "--labels", type=_names, default=(), metavar="A,B,…",
        help="buttons of the page (default: the labels in the tables)",
    )  # fmt: skip
    review.add_argument("--annotator", default="", metavar="NAME", help="who is going to listen")
    review.add_argument(
        "--speaker-field", metavar="NAME", help="the column meta_NAME says who speaks"
    )
    review.add_argument(
        "--show-guess", action="store_true",
        help="give the model's label in the list, and in the page after an answer",
    )  # fmt: skip

    train = command(
        commands, "train", _train, "train a model on labelled speech",
        "ser train --corpus ravdess=RAVDESS emodb=EMODB --noise NOISE --save my-bundle",
        "ser train --corpus ravdess=RAVDESS --emotions angry,happy,sad,neutral --save four",
        "ser train --corpus csv=labels.csv --from calls --save ours",
        "ser train --corpus csv=labels.csv ravdess=RAVDESS --architecture dnn --save ours",
        "ser train --corpus ravdess=RAVDESS --recipe seed --scale zscore --save the-article",
    )  # fmt: skip
    _corpus(train, "; of several, the first gives the labels and the test")
    train.add_argument("--save", required=True, metavar="BUNDLE", help="folder to write")
    train.add_argument(
        "--recipe", choices=["calls", "seed"], default="calls",
        help="calls: several networks for the telephone, an hour of two cores for RAVDESS; "
        "seed: the article's, minutes (default: calls)",
    )  # fmt: skip
    train.add_argument("--emotions", type=_names, metavar="A,B,…", help="default: all there are")
    train.add_argument(
        "--folds", type=int, metavar="N", help="of speakers (default: 6, or as many as speak)"
    )
    train.add_argument("--seed", type=int, metavar="N", help="default: 0")
    train.add_argument("--jobs", type=_positive(int), metavar="N", help="default: one a core")
    group = train.add_argument_group("recipe calls")
    group.add_argument(
        "--from", dest="start", metavar="BUNDLE",
        help="start from a bundle of this recipe and fit its last layers only: for few labels",
    )  # fmt: skip
    group.add_argument(
        "--architecture", choices=["dnn", "cnn", "rnn"],
        help="one kind of network: dense over the functionals, convolutional or recurrent over "
        "the picture (default: all, averaged)",
    )  # fmt: skip
    group.add_argument("--noise", metavar="DIR", help="recorded noises to train with")
    group.add_argument(
        "--effort", type=float, metavar="X", help="times the steps: 0.1 for a first look"
    )
    group = train.add_argument_group("recipe seed")
    group.add_argument(
        "--split", choices=["random", "speaker"],
        help="how the headline figures are held out (default: random, and both are reported; "
        "for your own recordings speaker, since one voice in training and test flatters)",
    )  # fmt: skip
    group.add_argument("--scale", choices=["none", "zscore"], help="default: none, as the article")
    group.add_argument(
        "--layers", type=_numbers, metavar="N,N,…", help="default: 2x, 1x and half the features"
    )
    group.add_argument("--dropout", type=float, metavar="P", help="after each layer (default: 0.2)")
    group.add_argument("--optimizer", metavar="NAME", help="of Keras (default: adam)")
    group.add_argument("--epochs", type=int, metavar="N", help="default: 200")
    group.add_argument("--batch-size", type=int, metavar="N", help="default: 4")

    evaluate = command(
        commands, "evaluate", _evaluate, "say how well a model does on a labelled corpus",
        "ser evaluate --model my-bundle --corpus ravdess=RAVDESS --codec mulaw",
        "ser evaluate --corpus emovo=EMOVO --groups angry --page evaluation.html",
        "ser evaluate --model my-bundle --against calls --corpus emovo=EMOVO --json figures.json",
    )  # fmt: skip
    _corpus(evaluate)
    _model(evaluate)
    evaluate.add_argument(
        "--against", metavar="BUNDLE", help="another model, and the difference between the two"
    )
    evaluate.add_argument(
        "--codec", nargs="+", choices=CONDITIONS, metavar="CONDITION",
        help="what the audio goes through first, one or several of " + ", ".join(CONDITIONS)
        + " (default: each of them in turn)",
    )  # fmt: skip
    evaluate.add_argument(
        "--groups", choices=GROUPINGS,
        help="compare groups of labels: angry or not, negative or not, or neutral, happy, sad, "
        "angry (default: the labels)",
    )  # fmt: skip
    evaluate.add_argument("--json", metavar="F.json", help="write all figures there")
    evaluate.add_argument("--page", metavar="F.html", help="write a page with pictures there")
    evaluate.add_argument("--jobs", type=_positive(int), metavar="N", help="default: one a core")

    explore = command(
        commands, "explore", _explore, "look at labelled speech: a page of pictures and problems",
        "ser explore --corpus ravdess=RAVDESS emodb=EMODB --page explore.html",
    )  # fmt: skip
    _corpus(explore)
    explore.add_argument(
        "--page", default="explore.html", metavar="FILE.html", help="default: explore.html"
    )
    explore.add_argument(
        "--examples", type=_positive(int), default=1, metavar="N",
        help="utterances of each emotion to show as wave and spectrogram (default: 1)",
    )  # fmt: skip
    explore.add_argument("--jobs", type=_positive(int), metavar="N", help="default: one a core")

    model = commands.add_parser("model", help="look into a model", allow_abbrev=False)
    kinds = model.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show_model = command(
        kinds, "show", _show_model, "show a model's card: data, licence, results, use",
        "ser model show calls",
        leaf="model show",
    )  # fmt: skip
    show_model.add_argument("model", metavar="BUNDLE", nargs="?", help="default: the default model")
    return parser, leaves


def _output(parser) -> None:
    parser.add_argument(
        "--output", required=True, metavar="OUT", help="folder of the tables; local, gs:// or s3://"
    )


def _inputs(parser) -> None:
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="PATTERN",
        help="a glob (quote it; ** is any folders), a folder, or @list.txt; {date:%%Y/%%m/%%d} "
        "in it is the run's date; local, gs:// or s3://",
    )  # fmt: skip
    _output(parser)


def _model(parser, *, required: bool = False) -> None:
    parser.add_argument(
        "--model", required=required, metavar="BUNDLE",
        help="a bundled model's name or a folder, local, gs:// or s3://"
        + ("" if required else " (default: calls)"),
    )  # fmt: skip


def _corpus(parser, more: str = "") -> None:
    parser.add_argument(
        "--corpus", required=True, nargs="+", type=_named, metavar="NAME=PATH",
        help="a corpus and where it lies, such as ravdess=FOLDER (also emodb, emovo), or "
        "csv=FILE: labels of your own recordings" + more,
    )  # fmt: skip
    parser.add_argument(
        "--label-map", metavar="CSV",
        help="a table label,emotion: what labels are called here; an empty emotion leaves one out",
    )  # fmt: skip
    parser.add_argument(
        "--cache", metavar="DIR", help="keep features there (default: user's cache)"
    )


def _examination(parser) -> None:
    group = parser.add_argument_group("calls")
    group.add_argument(
        "--channel-roles", type=_names, default=(), metavar="ROLE,ROLE",
        help="whose the channels are, in their order: agent, customer, unknown",
    )  # fmt: skip
    group.add_argument(
        "--analyse", type=_names, default=("customer",), metavar="ROLE,…",
        help="whose speech is labelled (default: customer; labelling employees at work is "
        "forbidden in the EU)",
    )  # fmt: skip
    group.add_argument(
        "--uri-fields", default="", metavar="REGEX",
        help="named groups over the URI become columns meta_<name>; `time` becomes call_time",
    )  # fmt: skip
    group.add_argument("--time-format", metavar="FORMAT", help="of `time`, for strptime")
    group = parser.add_argument_group("limits")
    group.add_argument("--max-hours", type=_positive(float), default=4.0, metavar="H")
    group.add_argument("--max-size-mb", type=_positive(int), default=2048, metavar="MB")
    group.add_argument(
        "--timeout-s", type=_positive(float), default=120.0, metavar="S",
        help="without progress on a recording, after which it is rejected (default: 120)",
    )  # fmt: skip
    group.add_argument(
        "--memory-mb", type=_positive(int), default=2048, metavar="MB",
        help="what decoding one recording may take (default: 2048)",
    )  # fmt: skip
    group.add_argument(
        "--max-reject-ratio", type=_ratio, default=0.2, metavar="R",
        help="more rejections than this of the recordings examined: exit status 3 (default: 0.2)",
    )  # fmt: skip


def _work(parser) -> None:
    parser.set_defaults(takes_beam_options=True)
    group = parser.add_argument_group("work")
    group.add_argument(
        "--date", type=_date, metavar="YYYY-MM-DD", help="the night (default: today)"
    )
    group.add_argument(
        "--workers", type=_positive(int), metavar="N",
        help="processes that work (default: one a core; on a cluster, all that it has room for)",
    )  # fmt: skip
    group.add_argument(
        "--chunk", type=_positive(int), metavar="N",
        help="recordings published at a time (default: 5,000 on one machine, else all)",
    )  # fmt: skip
    group.add_argument("--profile", metavar="FILE", help="add CPU seconds by stage, as JSON lines")
    group.add_argument(
        "--runner", metavar="NAME",
        help="Beam's runner (default: this machine); further options go to Beam as they are",
    )  # fmt: skip


# ---------------------------------------------------------------- what words mean


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} found, a date such as 2026-03-01 expected"
        ) from None


def _positive(kind: type) -> Callable[[str], float]:
    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not value > 0:
            word = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} found, {word} above 0 expected")
        return value

    return convert


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} found, a number from 0 to 1 expected")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} found, whole numbers such as 386,193,96 expected"
        ) from None


def _shares(text: str) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for part in _names(text):
        name, equals, share = part.partition("=")
        kind = name.strip().replace("-", "_")
        if kind not in REVIEWED or kind in found:
            known = ", ".join(one.replace("_", "-") for one in REVIEWED)
            raise argparse.ArgumentTypeError(f"{name!r} found; {known} expected, each once")
        found[kind] = _positive(float)(share) if equals else 1.0
    if not found:
        raise argparse.ArgumentTypeError("nothing found, one kind or more expected")
    return tuple(found.items())


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} found, NAME=DIR such as ravdess=data expected")
    return name, folder


_SECRET = ("secret", "password", "token", "access_key", "credential")


def _without_secrets(words: Sequence[str]) -> str:
    """The command line for the table of runs."""
    kept: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        if name.startswith("--") and equals and any(part in name for part in _SECRET):
            word = f"{name}=***"
        elif kept and kept[-1].startswith("--") and any(part in kept[-1] for part in _SECRET):
            word = "***" if "=" not in kept[-1] else word
        kept.append(word)
    return shlex.join(kept)


def _beam_options(rest: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """What we do not know goes to Beam; what Beam does not know either is a mistake."""
    from apache_beam.options.pipeline_options import PipelineOptions

    beam = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in _all_subclasses(PipelineOptions):
        kind._add_argparse_args(_Lenient(beam))  # type: ignore[attr-defined]
    _, unknown = beam.parse_known_args(list(rest))
    if unknown:
        _refuse(unknown[0], parser, beam)
    return list(rest)


def _tell_stores(options) -> None:
    """Of endpoints, keys and the like, where one of them is asked for."""
    told = ("input", "output", "model", "against")
    said = [getattr(options, name, None) or () for name in told]
    words = [one for some in said for one in ([some] if isinstance(some, str) else some)]
    if any("://" in word for word in words):
        from apache_beam.options.pipeline_options import PipelineOptions

        from pipelines.storage import files

        files.set_beam_options(PipelineOptions(list(options.beam_options)))


class _Lenient:
    """Beam's classes name some options twice."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def add_argument(self, *names, **about):
        try:
            return self._parser.add_argument(*names, **about)
        except argparse.ArgumentError:
            return None

    add_value_provider_argument = add_argument

    def __getattr__(self, name):
        return getattr(self._parser, name)


def _all_subclasses(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [
        one
        for child in children
        for one in (child, *_all_subclasses(child))
        if one.__module__.startswith("apache_beam.options")
    ]


def _refuse(word: str, *parsers: argparse.ArgumentParser) -> None:
    if not word.startswith("-"):
        raise UsageError(f"{word!r}: an option with -- expected (quote patterns with *)")
    name = word.partition("=")[0]
    known = [option for parser in parsers for option in parser._option_string_actions]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--help lists the options"
    raise UsageError(f"{name}: no such option; {hint}")


# ---------------------------------------------------------------- the commands


def _settings(options, feature_set: str):
    from ser_core.audio import Limits
    from ser_core.examine import Settings

    return Settings(
        feature_set=feature_set,
        channel_roles=options.channel_roles,
        analyse=options.analyse,
        limits=Limits(max_duration_s=options.max_hours * 3600, max_bytes=options.max_size_mb << 20),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _job(options, model: str | None, card, settings, **more):
    from pipelines.nightly import Job
    from pipelines.runners import local

    runner, chosen = local.settled(
        options.runner, options.workers, options.beam_options, options.debug
    )
    if chosen:
        _say(chosen)
    return Job(
        output=options.output,
        date=options.date or dt.date.today(),
        command=options.command_line,
        model=model,
        card=card,
        settings=settings,
        runner=runner,
        chunk=options.chunk or (5_000 if runner.local else None),
        profile=options.profile,
        say=_say,
        **more,
    )


def _say(line: str) -> None:
    print(f"ser: {line}", flush=True)


def _examining(options, model: str | None, card, feature_set: str):
    from pipelines.uri_fields import UriFields
    from ser_core.guarded import Guard

    return _job(
        options,
        model,
        card,
        _settings(options, feature_set),
        inputs=tuple(options.input),
        guard=Guard(timeout_s=options.timeout_s, memory_mb=options.memory_mb),
        fields=UriFields(options.uri_fields, options.time_format),
        max_reject_ratio=options.max_reject_ratio,
    )


def _card(options):
    """The model's name, absolute path or URL, and its card."""
    from pipelines.storage import bundles, files
    from ser_core import models

    name = options.model or models.default_name()
    card = bundles.check(name)
    return (name if name in models.bundled_names() else files.absolute(name)), card


def _run(options) -> int:
    from pipelines import nightly

    model, card = _card(options)
    _say(f"model {card.id}: {card.licence}")
    return _done(options, nightly.run(_examining(options, model, card, card.feature_set)))


def _extract(options) -> int:
    from pipelines import nightly
    from ser_core import features, models

    name = options.feature_set or models.read_card(models.default_name()).feature_set
    features.get(name)
    return _done(options, nightly.run(_examining(options, None, None, name)))


def _label(options) -> int:
    from pipelines import nightly
    from ser_core.examine import Settings

    model, card = _card(options)
    _say(f"model {card.id}: {card.licence}")
    settings = Settings(card.feature_set)
    return _done(options, nightly.label(_job(options, model, card, settings)))


def _done(options, status: int) -> int:
    from pipelines.storage import files

    _say(f"tables: {files.absolute(options.output)}")
    return status


def _plan(options) -> int:
    from pipelines.commands import plan
    from pipelines.uri_fields import UriFields

    _, card = _card(options)
    plan.show(
        inputs=options.input,
        output=options.output,
        date=options.date or dt.date.today(),
        settings=_settings(options, card.feature_set),
        fields=UriFields(options.uri_fields, options.time_format),
        workers=options.workers or _cores(),
    )
    return errors.DONE


def _show(options) -> int:
    from pipelines.commands import show

    if options.recording is None:
        show.first_rows(options.output)
        return errors.DONE
    for line in show.show(options.output, options.recording, options.save):
        print(line)
    return errors.DONE


def _review(options) -> int:
    from pipelines.commands import review
    from pipelines.commands.train import progress_bars

    kinds = [kind for kind in REVIEWED if options.against or kind != "disagreement"]
    wanted = review.Wanted(
        output=options.output,
        date=options.date and options.date.isoformat(),
        run_id=options.run_id,
        n=options.n,
        by=options.by or tuple((kind, 1.0) for kind in kinds),
        against=options.against,
        seed=options.seed,
        per_recording=options.per_recording,
        speaker_field=options.speaker_field,
    )
    with progress_bars() as progress:
        review.review(
            wanted,
            save=options.save,
            page=options.page,
            clips=options.clips,
            labels=options.labels,
            annotator=options.annotator,
            show_guess=options.show_guess,
            say=_say,
            progress=progress,
        )
    return errors.DONE


def _train(options) -> int:
    from pipelines.commands import train

    return train.train(options)


def _evaluate(options) -> int:
    from pipelines.commands import evaluate

    return evaluate.evaluate(options)


def _explore(options) -> int:
    from pipelines.commands import explore

    return explore.run(options)


def _show_model(options) -> int:
    from pipelines.commands import train

    return train.show_model(options.model)


if __name__ == "__main__":
    sys.exit(main())
