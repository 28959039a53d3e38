"""The options that all scripts share; `ucf_option.py`, `xd_option.py` and `own_option.py` set each data set's values.

`FLAGS` defines every flag once, with the values it may have; `parse` turns a command line into options and says, before any
work, what cannot be.
"""

import argparse
import math
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

# what --variant stands for; each can also be chosen by its own flag. What only ours sets wins over a data set's file, too
PAPER = {"forgetting": "ebbinghaus", "attn_merge": "token", "smooth_pad": "edge"}
PAPER |= {"head": "mlp", "motion": 0.0, "novelty": 0.0, "channels": False}
VARIANTS = {
    "paper": PAPER,
    "released": PAPER | {"forgetting": "released", "attn_merge": "interleave", "smooth_pad": "zero"},
    "ours": PAPER | {"head": "linear", "motion": 2.0, "novelty": 1.0, "channels": True},
}
VARIANTS["ours"] |= {"visual_layers": 0, "weight_average": 0.97}
# what older checkpoints, without them, had: a new flag of the model that is not here makes them useless
ADDED = {"weight_average": 0.0} | {name: PAPER[name] for name in ("head", "motion", "novelty", "channels")}
# which clip a full memory drops, the paper's first; a rule stands here and, with how it drops, in hma.RULES, and nowhere else
FORGETTING = {
    "ebbinghaus": "the paper's: the one of the highest age / strength",
    "fifo": "the oldest",
    "salience": "as ebbinghaus, but what looked suspicious is strong",
    "released": "as in the released code: the newest, nearly always",
}
SWITCH = argparse.BooleanOptionalAction


@dataclass(frozen=True)
class Range:
    """The values that a number may have."""

    low: float = -math.inf
    high: float = math.inf
    multiple: int = 1
    open: str = ""  # "(" where low is not among them, ")" where high is not

    def __contains__(self, value: float) -> bool:
        if not isinstance(value, Real) or not math.isfinite(value):  # in a damaged file it may be a text
            return False
        above = value > self.low if "(" in self.open else value >= self.low
        below = value < self.high if ")" in self.open else value <= self.high
        return above and below and (self.multiple == 1 or value % self.multiple == 0)

    def __str__(self) -> str:
        multiple = f"a multiple of {self.multiple}, " if self.multiple > 1 else ""
        low = f"{'above' if '(' in self.open else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'below' if ')' in self.open else 'at most'} {self.high:g}" if self.high < math.inf else "finite"
        return multiple + " and ".join(part for part in (low, high) if part)


class Flag(NamedTuple):
    """One flag, under its name among the options."""

    name: str
    type: type | Any  # int, float, str, or SWITCH
    values: Range | tuple[str, ...] | None  # those that it may have
    help: str
    default: Any = None  # None: set by the data set's file, or nothing
    many: bool = False


def label(text: str) -> str:
    """A label on the command line. Raises ArgumentTypeError where it is empty: that would say nothing."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a label, found nothing; name one, or leave the flag out")
    return unicodedata.normalize("NFC", text)


SHARE, COUNT = Range(0, 1, open=")"), Range(0, 10**9)
HOLD_LAST = Flag("hold_last", SWITCH, None, "features may lack a video's last snippet, as where it was rounded down: its "
                 "last score holds to the video's end", False)  # fmt: skip
NORMAL_LABEL = Flag("normal_label", label, None, "the label of normal videos in lists; None = the data set's")
FIGURE_FORMAT = Flag("format", str, ("png", "pdf", "svg"), "of the figures", "png")
FLAGS = {
    "model": (  # a checkpoint carries them
        Flag("visual_width", int, Range(128, 2**14, 128), "width D of the features"),
        Flag("visual_layers", int, Range(0, 256), "HMA layers; 0 = a plain head on the features"),
        Flag("attn_window", int, Range(2, 1024, 2), "snippets per clip, even"),
        Flag("cache_keep_max_len", int, Range(1, 4096), "a layer remembers one clip less than this; 1 = no memory"),
        Flag("p", float, Range(), "share of plain attention added to the memory's"),
        Flag("variant", str, tuple(VARIANTS), "paper = as the paper says; released = as the released code does; "
             "ours = a linear head without layers, whatever the data set's file says, beside a judge of change"),
        Flag("forgetting", str, tuple(FORGETTING), "which clip a full memory drops; None = the variant's; "
             + "; ".join(f"{rule} = {what}" for rule, what in FORGETTING.items())),
        Flag("attn_merge", str, ("token", "interleave"), "interleave = re-read attention across snippets and channels; None = "
             "the variant's"),
        Flag("head", str, ("mlp", "linear"), "mlp = the paper's; linear = one weight a channel; None = the variant's"),
        Flag("motion", float, Range(0, 100), "power, in the odds of an anomaly, of the least change within a clip; 0 = without "
             "it; None = the variant's"),
        Flag("novelty", float, Range(0, 100), "power, in the odds of an anomaly, of a snippet's distance from the mean of all "
             "clips before it; 0 = without it; None = the variant's"),
        Flag("channels", SWITCH, None, "weigh, in the odds of an anomaly, how far each channel moves within a clip; None = the "
             "variant's"),
        Flag("drop_rate", float, SHARE, "dropout on the outputs of attention and MLP", 0.0),
        Flag("drop_attn_rate", float, SHARE, "dropout on the attention weights", 0.0),
        Flag("drop_qkv_rate", float, SHARE, "dropout on queries and keys", 0.0),
    ),
    "training": (
        Flag("seed", int, Range(0, 2**63, open=")"), "of the weights, the order of the videos, dropout and dropped snippets"),
        Flag("max_epoch", int, Range(1, 10**9), "epochs"),
        Flag("batch_size", int, Range(1, 10**9), "videos per optimiser step"),
        Flag("lr", float, Range(0, open="("), "learning rate of AdamW"),
        Flag("weight_decay", float, COUNT, "weight decay of AdamW"),
        Flag("scheduler_rate", float, Range(0, open="("), "factor on the learning rate at each milestone"),
        Flag("scheduler_milestones", int, Range(1, 10**9), "epochs after which the learning rate drops", many=True),
        Flag("co_training", SWITCH, None, "in anomalous videos, let the scene learn where change is largest, and change where "
             "the scene looks worst; else each learns where it is largest itself, as without change", True),
        Flag("weight_average", float, Range(0, 1, open=")"), "evaluate and keep a running mean of the weights, in which the "
             "mean before a step counts at most so much; 0 = the weights themselves", 0.0),
        Flag("keyclip_train", SWITCH, None, "train on key clips only (KCG)"),
        Flag("eval_every", int, COUNT, "videos between evaluations within an epoch; 0 = at each epoch's end only"),
        Flag("val_share", float, SHARE, "share of the training videos held out to select the best weights; 0 = select on the "
             "test set", 0.0),
        Flag("select_by", str, ("auc", "ap"), "the metric by which the best weights are chosen"),
        Flag("patience", int, COUNT, "stop after so many evaluations in a row without a better validation value, as "
             "--select-by says; needs --val-share; 0 = never", 0),
    ),
    "testing": (  # where a test differs from its training in them, it says so
        Flag("keyclip_test", SWITCH, None, "test on key clips only (KCG); the others inherit their logits"),
        Flag("scales", str, ("select", "fuse"), "what is scored: select = the first layer that is sure, else the last; fuse = "
             "the maximum of all layers' features, as in training"),
        Flag("exit_threshold", float, Range(0, 1), "a clip stops at the first layer that scores a snippet above this; 1 = "
             "never"),
        Flag("crops", str, ("one", "mean"), "what is tested of a video's crops: one = that of the list, or the first in a file "
             "of several; mean = the mean of the scores of all, in the same file or beside it", "one"),
        Flag("smooth", str, ("slide", "fixed", "causal", "none"), "how logits are averaged over time"),
        Flag("smooth_width", int, Range(1, 4096), "snippets averaged"),
        Flag("smooth_pad", str, ("zero", "edge"), "what follows a video's last snippet; None = the variant's"),
        Flag("drop_snippets", float, Range(0, 1), "share of the snippets set to zero, to test robustness", 0.0),
        Flag("precision", str, ("fp32", "bf16"), "of the matrix products", "fp32"),
    ),
    "live": (  # what the figures of a live system depend on
        Flag("fps", float, Range(0.001, 10**6, open=")"), "frames per second of the videos", 30.0),
        Flag("false_alarms", float, Range(0, 10**6, open=")"), "false alarms allowed an hour of normal footage: sets the "
             "threshold that events are detected with", 1.0),
    ),
    "data": (
        Flag("train_list", str, None, "CSV with the header path,label"),
        Flag("test_list", str, None, "CSV with the header path,label or path,label,frames"),
        Flag("gt_path", str, None, "ground truth of the test list's frames, 0 or 1 (.npy)"),
        Flag("feature_root", str, None, "the only folder in which listed files are looked for, by the longest tail of "
             "their paths that exists"),
        NORMAL_LABEL,
        Flag("zero_non_finite", SWITCH, None, "set features that are NaN, infinite or beyond 1e17 to zero instead of "
             "stopping", False),
        HOLD_LAST,
        Flag("allow_other_features", SWITCH, None, "test: go on where features were made in another way than those of the "
             "training, by their extract.json", False),
        Flag("allow_test_in_training", SWITCH, None, "train: go on where test videos are in the training list, by name or "
             "content", False),
    ),
    "running": (
        Flag("model_path", str, None, "test: the checkpoint, or export.py's .onnx; train: where the best weights go, None = "
             "best.pt in --out-dir"),
        Flag("checkpoint_path", str, None, "train: the checkpoint that is kept up to date (None = last.pt in --out-dir)"),
        Flag("use_checkpoint", SWITCH, None, "train: go on from --checkpoint-path; the authors' file is a starting point",
             False),
        Flag("save_minutes", float, COUNT, "train: minutes between checkpoints, beside each evaluation's", 5.0),
        Flag("out_dir", str, None, "folder for the results, of this run alone (None = runs/<data set>-<time>)"),
        Flag("device", str, None, "auto, cpu, cuda or cuda:N", "auto"),
        Flag("workers", int, COUNT, "processes that load features; 0 = none", 2),
        Flag("report", SWITCH, None, "test: also write the report, as report.py does", False),
        Flag("overwrite", SWITCH, None, "replace the earlier run in --out-dir, once all input is checked (a training) or at "
             "the end (a test, predict.py; never a training); checkpoints elsewhere, as of --model-path, are not replaced",
             False),
        Flag("tensorboard", SWITCH, None, "train: also write losses and figures for TensorBoard, into tensorboard/ in "
             "--out-dir; needs requirements-tensorboard.txt", False),
    ),
}  # fmt: skip
OF_LAYERS = ("cache_keep_max_len", "p", "forgetting", "attn_merge", "drop_rate", "drop_attn_rate", "drop_qkv_rate")
UNUSED = (  # options, and the flags that nothing reads where they have these values
    ({"visual_layers": 0}, (*OF_LAYERS, "scales", "exit_threshold")),
    ({"visual_layers": 1}, ("exit_threshold",)),
    ({"cache_keep_max_len": 1}, ("forgetting",)),
    ({"scales": "fuse"}, ("exit_threshold",)),
    ({"smooth": "none"}, ("smooth_width", "smooth_pad")),
    ({"smooth": "causal"}, ("smooth_pad",)),
    ({"scheduler_milestones": []}, ("scheduler_rate",)),
    ({"motion": 0, "novelty": 0, "channels": False}, ("co_training",)),
)
BY_NAME = {flag.name: flag for flags in FLAGS.values() for flag in flags}
MODEL_PATH = BY_NAME["model_path"]._replace(help="needed: the checkpoint, ours or the authors', or export.py's .onnx")
MODEL = tuple(flag.name for flag in FLAGS["model"])
TESTING = tuple(flag.name for flag in FLAGS["testing"])


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes `_` for `-` in the names of flags, and no abbreviations of them."""

    def __init__(self, description: str):
        formatter = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([dashed(argument) for argument in given], namespace)


def dashed(argument: str) -> str:
    """`--max_epoch=3` -> `--max-epoch=3`; anything but a flag stays as it is."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def flag_of(name: str) -> str:
    """`max_epoch` -> `--max-epoch`"""
    return "--" + name.replace("_", "-")


def add_flags(add: Callable, flags: Iterable[Flag]) -> None:
    """Add flags to a parser or a group of it, by its `add_argument`."""
    for flag in flags:
        kind = {"action": SWITCH} if flag.type is SWITCH else {"type": flag.type}
        if flag.many:
            kind["nargs"] = "*"
        text = flag.help
        if isinstance(flag.values, tuple):
            kind["choices"] = flag.values
        elif flag.values:
            text += f" ({flag.values})"
        add(flag_of(flag.name), default=flag.default, help=text, **kind)


def base_parser(description: str) -> Parser:
    """Every flag; the defaults that differ from data set to data set are set by its own file."""
    parser = Parser(description)
    for group, flags in FLAGS.items():
        add_flags(parser.add_argument_group(group).add_argument, flags)
    return parser


def parse(parser: Parser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options from a command line, checked; `options.given` is the set of names that the command line itself gave.

    Exits with 2 and a message where an option cannot be.
    """
    defaults = vars(parser.parse_args([]))
    unset = object()
    told = vars(parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(defaults, unset))))
    given = {name: value for name, value in told.items() if value is not unset}
    variant = VARIANTS[(defaults | given)["variant"]]
    alone = {name: value for name, value in variant.items() if name not in PAPER}
    options = argparse.Namespace(**defaults | alone | given, given=set(given))
    try:
        check(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def unset(flags: Iterable[Flag]) -> list[Flag]:
    """The flags with None, not given, as their default."""
    return [flag._replace(default=None) for flag in flags]


def check(options: argparse.Namespace, groups: Iterable[str] = FLAGS) -> None:
    """Raise ValueError that names the first option, of these groups, with a value it cannot have."""
    require(options, (flag for group in groups for flag in FLAGS[group]))


def require(options: argparse.Namespace, flags: Iterable[Flag]) -> None:
    """Raise ValueError that names the first option, of these flags, with a value it cannot have."""
    for flag in flags:
        value = getattr(options, flag.name)
        for one in value if flag.many else [value]:
            if flag.values and one is not None and one not in flag.values:
                allowed = flag.values if isinstance(flag.values, Range) else f"one of {', '.join(flag.values)}"
                raise ValueError(f"{flag_of(flag.name)} must be {allowed}, not {one}")


def require_used(options: argparse.Namespace, *, training: bool) -> None:
    """Raise ValueError that names a flag, of those given, that a training, or else a test, would ignore."""
    work, other = ("training", "test:") if training else ("test", "train:")
    ignored = {name for name, flag in BY_NAME.items() if flag.help.startswith(other)} - {"model_path"}
    ignored |= set() if training else {flag.name for flag in FLAGS["training"]} - {"seed"}
    if found := sorted(ignored & options.given):
        raise ValueError(f"{', '.join(map(flag_of, found))} would be ignored by a {work}; leave that out")


def note_unused(options: argparse.Namespace) -> None:
    """Say which flags, of those given, have no effect beside the others."""
    for values, names in UNUSED:
        if all(getattr(options, name) == value for name, value in values.items()):
            why = ", ".join(f"{name.replace('_', '-')} is {value}" for name, value in values.items())
            for name in sorted(options.given.intersection(names) - set(values)):
                print(f"note: {flag_of(name)} has no effect where {why}")


def adopt(options: argparse.Namespace, trained: dict, names: Iterable[str], path: str) -> None:
    """Take the named options from a checkpoint's, where the command line does not say otherwise.

    Raises ValueError that names `path` where one is missing or cannot be.
    """
    told = options.given | (set(PAPER) if "variant" in options.given else set())
    try:
        for name in names:
            if name not in told:
                setattr(options, name, (ADDED | trained)[name])
                if getattr(options, name) is None and name in BY_NAME and BY_NAME[name].values and name not in PAPER:
                    raise ValueError(f"{flag_of(name)} None")
        check(options)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: with the options of this checkpoint, {error} is wrong; use another one") from error


def resolve_variant(options: argparse.Namespace) -> None:
    """Fill in what the variant stands for where no flag says otherwise."""
    for name, value in VARIANTS[options.variant].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
