"""The options that all scripts share; `ucf_option.py` and `xd_option.py` set each data set's values.

`base_parser` defines every flag once; `parse` turns a command line into options and says, before any work, what cannot be.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

# what --variant stands for; each can also be chosen by its own flag
VARIANTS = {
    "paper": {"forgetting": "ebbinghaus", "attn_merge": "token", "smooth_pad": "edge"},
    "released": {"forgetting": "released", "attn_merge": "interleave", "smooth_pad": "zero"},
}
MODEL = (  # what testing takes from a checkpoint, to rebuild the model that was trained
    "visual_width",
    "visual_layers",
    "attn_window",
    "cache_keep_max_len",
    "p",
    "variant",
    "forgetting",
    "attn_merge",
)


TESTING = ("keyclip_test", "scales", "exit_threshold", "smooth", "smooth_width", "smooth_pad", "drop_snippets", "precision")
CHOICES = {
    "variant": tuple(VARIANTS),
    "forgetting": ("ebbinghaus", "fifo", "salience", "released"),
    "attn_merge": ("token", "interleave"),
    "select_by": ("auc", "ap"),
    "scales": ("select", "fuse"),
    "smooth": ("slide", "fixed", "causal", "none"),
    "smooth_pad": ("zero", "edge"),
    "precision": ("fp32", "bf16"),
}
SWITCH = argparse.BooleanOptionalAction


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes `_` for `-` in the names of flags, and no abbreviations of them."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([dashed(argument) for argument in given], namespace)


@contextmanager
def exit_codes() -> Iterator[None]:
    """What the user gave wrongly ends as one message and exit code 2, a stop by the user as 130."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(stop.args[0] if stop.args else "stopped", file=sys.stderr)
        sys.exit(130)


def dashed(argument: str) -> str:
    """`--max_epoch=3` -> `--max-epoch=3`; anything but a flag stays as it is."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def base_parser(description: str) -> Parser:
    """Every flag; the defaults that differ from data set to data set are set by its own file."""
    parser = Parser(description=description)
    model_flags(parser.add_argument_group("model").add_argument)
    training_flags(parser.add_argument_group("training").add_argument)
    testing_flags(parser.add_argument_group("testing").add_argument)
    data_flags(parser.add_argument_group("data").add_argument)
    running_flags(parser.add_argument_group("running").add_argument)
    return parser


def model_flags(flag: Callable) -> None:
    """The flags of the model; a checkpoint carries them."""
    flag("--visual-width", type=int, help="width D of the features, a multiple of 128")
    flag("--visual-layers", type=int, help="HMA layers; 0 = a plain head on the features")
    flag("--attn-window", type=int, help="snippets per clip, even")
    flag("--cache-keep-max-len", type=int, help="a layer remembers one clip less than this; 1 = no memory")
    flag("--p", type=float, help="share of plain attention added to the memory's")
    flag("--variant", choices=CHOICES["variant"], help="the method as the paper says, or as the released code does")
    flag("--forgetting", choices=CHOICES["forgetting"], help="which clip a full memory drops; None = the variant's")
    flag("--attn-merge", choices=CHOICES["attn_merge"], help="interleave = re-read attention across snippets and channels; "
         "None = the variant's")  # fmt: skip
    flag("--drop-rate", default=0.0, type=float, help="dropout on the outputs of attention and MLP")
    flag("--drop-attn-rate", default=0.0, type=float, help="dropout on the attention weights")
    flag("--drop-qkv-rate", default=0.0, type=float, help="dropout on queries and keys")


def training_flags(flag: Callable) -> None:
    """The flags of training."""
    flag("--seed", type=int, help="of the weights, the order of the videos, dropout and dropped snippets")
    flag("--max-epoch", type=int, help="epochs")
    flag("--batch-size", type=int, help="videos per optimiser step")
    flag("--lr", type=float, help="learning rate of AdamW")
    flag("--weight-decay", type=float, help="weight decay of AdamW")
    flag("--scheduler-rate", type=float, help="factor on the learning rate at each milestone")
    flag("--scheduler-milestones", type=int, nargs="*", help="epochs after which the learning rate drops")
    flag("--keyclip-train", action=SWITCH, help="train on key clips only (KCG)")
    flag("--eval-every", type=int, help="videos between evaluations within an epoch; 0 = at each epoch's end only")
    flag("--val-share", default=0.0, type=float, help="share of the training videos held out to select the best weights; "
         "0 = select on the test set")  # fmt: skip
    flag("--select-by", choices=CHOICES["select_by"], help="the metric that the best weights have the highest of")


def term_flags(flag: Callable) -> None:
    """The flags that the figures of a live system depend on."""
    flag("--fps", default=30.0, type=float, help="frames per second of the videos")
    flag("--false-alarms", default=1.0, type=float, help="false alarms allowed an hour of normal footage: sets the threshold "
         "that events are detected with")  # fmt: skip


def testing_flags(flag: Callable) -> None:
    """The flags of testing."""
    flag("--keyclip-test", action=SWITCH, help="test on key clips only (KCG); the others inherit their logits")
    flag("--scales", choices=CHOICES["scales"], help="what is scored: select = the first layer that is sure, else the last; "
         "fuse = the maximum of all layers' features, as in training")  # fmt: skip
    flag("--exit-threshold", type=float, help="a clip stops at the first layer that scores a snippet above this; 1 = never")
    flag("--smooth", choices=CHOICES["smooth"], help="how logits are averaged over time")
    flag("--smooth-width", type=int, help="snippets averaged")
    flag("--smooth-pad", choices=CHOICES["smooth_pad"], help="what follows a video's last snippet; None = the variant's")
    flag("--drop-snippets", default=0.0, type=float, help="share of the snippets set to zero, to test robustness")
    flag("--report", default=False, action=SWITCH, help="test: also write the report, as report.py does")
    term_flags(flag)


def data_flags(flag: Callable) -> None:
    """The flags of what is read."""
    flag("--train-list", help="CSV with the header path,label")
    flag("--test-list", help="CSV with the header path,label or path,label,frames")
    flag("--gt-path", help="ground truth of the test list's frames, 0 or 1 (.npy)")
    flag("--feature-root", help="folder the lists' paths are looked for in (by their longest tail that exists)")
    flag("--zero-non-finite", default=False, action=SWITCH, help="set NaN and infinite features to zero instead of stopping")


def running_flags(flag: Callable) -> None:
    """The flags of where and how it runs."""
    flag("--model-path", help="test: the checkpoint to test; train: where the best weights go (None = best.pt in --out-dir)")
    flag("--checkpoint-path", help="train: the checkpoint that is kept up to date (None = last.pt in --out-dir)")
    flag("--use-checkpoint", default=False, action=SWITCH, help="train: go on from --checkpoint-path; the authors' file is a "
         "starting point")  # fmt: skip
    flag("--save-minutes", default=5.0, type=float, help="train: minutes between checkpoints, beside each evaluation's")
    flag("--out-dir", help="folder for results (None = runs/<data set>-<time>)")
    flag("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    flag("--workers", default=2, type=int, help="processes that load features; 0 = none")
    flag("--precision", default="fp32", choices=CHOICES["precision"], help="of the matrix products")


def parse(parser: Parser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options from a command line, checked; `options.given` is the set of names that the command line itself gave.

    Exits with 2 and a message where an option cannot be.
    """
    defaults = vars(parser.parse_args([]))
    unset = object()
    found = parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(defaults, unset)))
    given = {name: value for name, value in vars(found).items() if value is not unset}
    options = argparse.Namespace(**defaults | given, given=set(given))
    try:
        check(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def adopt(options: argparse.Namespace, trained: dict | None, names: Iterable[str], path: str) -> None:
    """Take the named options from a checkpoint's, where the command line does not say otherwise.

    A released checkpoint has none (None): it is of the variant `released`. Raises ValueError that names `path` where a value
    cannot be.
    """
    if trained is None:
        if "variant" not in options.given:
            options.variant = "released"
        return
    told = options.given | (set(VARIANTS["paper"]) if "variant" in options.given else set())
    for name in names:
        value, here = trained.get(name), getattr(options, name)
        if name not in trained or not (value is None or here is None or type(value) is type(here)):
            raise ValueError(f"{path}: damaged: its option {name} is {value!r}")
        if name not in told:
            setattr(options, name, value)
    try:
        check(options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: with the options of this checkpoint, {error}") from error


def resolve_variant(options: argparse.Namespace) -> None:
    """Fill in what the variant stands for where no flag says otherwise."""
    for name, value in VARIANTS[options.variant].items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def check(options: argparse.Namespace) -> None:
    """Raise a ValueError that names the first option with a value it cannot have."""

    def need(name: str, holds: bool, expected: str) -> None:
        require(options, name, holds, expected)

    for name, choices in CHOICES.items():
        need(name, getattr(options, name) in (None, *choices), f"one of {', '.join(choices)}")
    need("visual_width", 0 < options.visual_width <= 2**14 and options.visual_width % 128 == 0, "a multiple of 128 to 16384")
    need("attn_window", 0 < options.attn_window <= 1024 and options.attn_window % 2 == 0, "a positive even number to 1024")
    need("cache_keep_max_len", 1 <= options.cache_keep_max_len <= 4096, "at least 1 (1 = no memory), at most 4096")
    need("smooth_width", 1 <= options.smooth_width <= 4096, "at least 1, at most 4096")
    need("seed", 0 <= options.seed < 2**63, "at least 0 and below 2^63")
    need("visual_layers", 0 <= options.visual_layers <= 256, "at least 0, at most 256")
    for name in ("eval_every", "workers", "save_minutes", "weight_decay"):
        need(name, 0 <= getattr(options, name) < 10**9, "at least 0 and finite")
    for name in ("max_epoch", "batch_size"):
        need(name, 1 <= getattr(options, name) < 10**9, "at least 1")
    for name in ("lr", "scheduler_rate"):
        need(name, 0 < getattr(options, name) < float("inf"), "above 0 and finite")
    for name in ("drop_rate", "drop_attn_rate", "drop_qkv_rate", "val_share"):
        need(name, 0 <= getattr(options, name) < 1, "at least 0 and below 1")
    for name in ("exit_threshold", "drop_snippets"):
        need(name, 0 <= getattr(options, name) <= 1, "between 0 and 1")
    check_terms(options)
    need("p", abs(options.p) < 10**9, "finite")
    need("scheduler_milestones", all(m >= 1 for m in options.scheduler_milestones), "epochs of at least 1")


def check_terms(options: argparse.Namespace) -> None:
    """Raise a ValueError where a flag of `term_flags` has a value it cannot have."""
    require(options, "fps", 0.001 <= options.fps < 10**6, "at least 0.001 and below a million")
    require(options, "false_alarms", 0 <= options.false_alarms < 10**6, "at least 0 and finite")


def require(options: argparse.Namespace, name: str, holds: bool, expected: str) -> None:
    """Raise a ValueError that names the option and what it must be, unless it holds."""
    if not holds:
        raise ValueError(f"--{name.replace('_', '-')} must be {expected}, not {getattr(options, name)}")
