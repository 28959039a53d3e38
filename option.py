"""The options that all scripts share; `ucf_option.py` and `xd_option.py` set each data set's values.

`base_parser` defines every flag once; `parse` turns a command line into options and says, before any work, what cannot be.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence

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


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes `_` for `-` in the names of flags, and no abbreviations of them."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([dashed(argument) for argument in given], namespace)


def dashed(argument: str) -> str:
    """`--max_epoch=3` -> `--max-epoch=3`; anything but a flag stays as it is."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def base_parser(description: str) -> Parser:
    """Every flag; the defaults that differ from data set to data set are set by its own file."""
    parser = Parser(description=description)
    switch = argparse.BooleanOptionalAction

    model = parser.add_argument_group("model")
    model.add_argument("--visual-width", type=int, help="width D of the features, a multiple of 128")
    model.add_argument("--visual-layers", type=int, help="HMA layers; 0 = a plain head on the features")
    model.add_argument("--attn-window", type=int, help="snippets per clip, even")
    model.add_argument("--cache-keep-max-len", type=int, help="a layer remembers one clip less than this; 1 = no memory")
    model.add_argument("--p", type=float, help="share of plain attention added to the memory's")
    model.add_argument("--variant", choices=tuple(VARIANTS), help="the method as the paper says, or as the released code does")
    model.add_argument(
        "--forgetting",
        choices=("ebbinghaus", "fifo", "released"),
        help="which clip a full memory drops; None = the variant's",
    )
    model.add_argument(
        "--attn-merge",
        choices=("token", "interleave"),
        help="whether attention's result is re-read across snippets and channels; None = the variant's",
    )
    model.add_argument("--drop-rate", default=0.0, type=float, help="dropout on the outputs of attention and MLP")
    model.add_argument("--drop-attn-rate", default=0.0, type=float, help="dropout on the attention weights")
    model.add_argument("--drop-qkv-rate", default=0.0, type=float, help="dropout on queries and keys")

    train = parser.add_argument_group("training")
    train.add_argument("--seed", type=int, help="of the weights, the order of the videos, dropout and dropped snippets")
    train.add_argument("--max-epoch", type=int, help="epochs")
    train.add_argument("--batch-size", type=int, help="videos per optimiser step")
    train.add_argument("--lr", type=float, help="learning rate of AdamW")
    train.add_argument("--scheduler-rate", type=float, help="factor on the learning rate at each milestone")
    train.add_argument("--scheduler-milestones", type=int, nargs="*", help="epochs after which the learning rate drops")
    train.add_argument("--keyclip-train", action=switch, help="train on key clips only (KCG)")
    train.add_argument(
        "--eval-every", type=int, help="videos between evaluations within an epoch; 0 = at each epoch's end only"
    )
    train.add_argument(
        "--val-share",
        default=0.0,
        type=float,
        help="share of the training videos held out to select the best weights; 0 = select on the test set",
    )
    train.add_argument("--select-by", choices=("auc", "ap"), help="the metric that the best weights have the highest of")

    test = parser.add_argument_group("testing")
    test.add_argument("--keyclip-test", action=switch, help="test on key clips only (KCG); the others inherit their logits")
    test.add_argument(
        "--exit-threshold",
        type=float,
        help="a clip stops at the first layer that scores a snippet above this; 1 = never",
    )
    test.add_argument("--smooth", choices=("slide", "fixed", "causal", "none"), help="how logits are averaged over time")
    test.add_argument("--smooth-width", type=int, help="snippets averaged")
    test.add_argument(
        "--smooth-pad", choices=("zero", "edge"), help="what follows a video's last snippet; None = the variant's"
    )
    test.add_argument("--drop-snippets", default=0.0, type=float, help="share of the snippets set to zero, to test robustness")

    data = parser.add_argument_group("data")
    data.add_argument("--train-list", help="CSV with the header path,label")
    data.add_argument("--test-list", help="CSV with the header path,label or path,label,frames")
    data.add_argument("--gt-path", help="ground truth of the test list's frames, 0 or 1 (.npy)")
    data.add_argument("--feature-root", help="folder the lists' paths are looked for in (by their longest tail that exists)")
    data.add_argument(
        "--zero-non-finite",
        default=False,
        action=switch,
        help="set NaN and infinite features to zero instead of stopping",
    )

    run = parser.add_argument_group("running")
    run.add_argument(
        "--model-path",
        help="test: the checkpoint to test; train: where the best weights go (None = best.pt in --out-dir)",
    )
    run.add_argument("--checkpoint-path", help="train: the checkpoint that is kept up to date (None = last.pt in --out-dir)")
    run.add_argument(
        "--use-checkpoint",
        default=False,
        action=switch,
        help="train: go on from --checkpoint-path; the authors' file is a starting point",
    )
    run.add_argument(
        "--save-minutes",
        default=5.0,
        type=float,
        help="train: minutes between checkpoints, beside those at each evaluation",
    )
    run.add_argument("--out-dir", help="folder for results (None = runs/<data set>-<time>)")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    run.add_argument("--workers", default=2, type=int, help="processes that load features; 0 = none")
    run.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of the matrix products")
    return parser


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


def adopt(options: argparse.Namespace, trained: dict | None, names: Iterable[str]) -> None:
    """Take the named options from a checkpoint's, where the command line does not say otherwise.

    A released checkpoint has none (None): it is of the variant `released`.
    """
    if trained is None:
        if "variant" not in options.given:
            options.variant = "released"
        return
    told = options.given | (set(VARIANTS["paper"]) if "variant" in options.given else set())
    for name in names:
        if name not in told:
            setattr(options, name, trained[name])


def resolve_variant(options: argparse.Namespace) -> None:
    """Fill in what the variant stands for where no flag says otherwise."""
    for name, value in VARIANTS[options.variant].items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def check(options: argparse.Namespace) -> None:
    """Raise a ValueError that names the first option with a value it cannot have."""

    def need(name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"--{name.replace('_', '-')} must be {expected}, not {getattr(options, name)}")

    need("visual_width", options.visual_width > 0 and options.visual_width % 128 == 0, "a positive multiple of 128")
    need("attn_window", options.attn_window > 0 and options.attn_window % 2 == 0, "a positive even number")
    need("cache_keep_max_len", options.cache_keep_max_len >= 1, "at least 1 (1 = no memory)")
    for name in ("visual_layers", "eval_every", "workers", "seed"):
        need(name, getattr(options, name) >= 0, "at least 0")
    for name in ("max_epoch", "batch_size", "smooth_width"):
        need(name, getattr(options, name) >= 1, "at least 1")
    for name in ("lr", "scheduler_rate"):
        need(name, 0 < getattr(options, name) < float("inf"), "above 0 and finite")
    for name in ("drop_rate", "drop_attn_rate", "drop_qkv_rate", "val_share"):
        need(name, 0 <= getattr(options, name) < 1, "at least 0 and below 1")
    for name in ("exit_threshold", "drop_snippets"):
        need(name, 0 <= getattr(options, name) <= 1, "between 0 and 1")
    need("p", abs(options.p) < float("inf"), "finite")
    need("save_minutes", options.save_minutes >= 0, "at least 0")
    need("scheduler_milestones", all(m >= 1 for m in options.scheduler_milestones), "epochs of at least 1")
