"""Features of videos, as the model takes them.

    python extract.py VIDEO_OR_FOLDER ... --out FEATURES
    python extract.py VIDEO_OR_FOLDER ... --out FEATURES --encoder clip --weights ViT-B-16.pt
    python extract.py compare FEATURES OTHERS

Writes FEATURES/.../NAME__N.npy, (snippets, width) float16, one file a crop; frames.csv, the videos' true frames, which
`list/make_list.py --frames` takes; and extract.json, how they were made. A finished video is not done again. The second form
says how alike two folders of features of the same videos are. Needs requirements-video.txt.
"""

import sys
from argparse import Namespace
from pathlib import Path

from video.encoders import ENCODERS, load_encoder

from files.interrupt import SIGNALS
from option import FLAGS, Flag, Parser, Range, add_flags, exit_codes
from running.loading import choose_device
from video import agreement, extraction, feature_folder
from video.finding import find
from video.snippets import RULES, places_of

DEVICE = next(flag for flag in FLAGS["running"] if flag.name == "device")
HOW = (  # how features are made; watch.py takes the same
    Flag("encoder", str, tuple(ENCODERS), "what makes a vector of a picture", "efficientnet-lite0"),
    Flag("weights", str, None, "clip: a Hugging Face folder or safetensors, OpenAI's ViT-B-16.pt, or open_clip's file"),
    Flag("rule", str, tuple(RULES), "how 16 frames become one vector; " + "; ".join(f"{k} = {v}" for k, v in RULES.items()),
         "mean"),
    Flag("frames_per_snippet", int, Range(1, 16), "frames that the mean is of; fewer are faster", 16),
)  # fmt: skip
OF_EXTRACTION = (
    Flag("by", str, ("frames", "time"), "frames = 16 frames in their order, as the field's features are; time = at --fps, "
         "whatever the video's own rate", "frames"),
    Flag("fps", float, Range(0.1, 1000), "--by time: frames a second", 30.0),
    Flag("batch_size", int, Range(1, 4096), "pictures encoded at a time", 64),
    Flag("workers", int, Range(1, 256), "videos decoded at a time", 2),
)  # fmt: skip
parser = Parser("Features of videos, as the model takes them.")
add = parser.add_argument
add("sources", nargs="+", metavar="VIDEO_OR_FOLDER", help="videos, and folders of them; `compare A B` compares two of features")
add("--out", type=Path, required=True, help="folder for the features; a finished video in it is not done again")
add_flags(add, [*HOW, *OF_EXTRACTION, DEVICE])
add("--crops", type=int, choices=(1, 10), default=1, help="1 = the centre; 10 = also the corners, and all mirrored")
add("--strict", action="store_true", help="a video that breaks off, or has damaged packets, gives no features")

comparing = Parser("How alike two folders of features of the same videos are.")
comparing.add_argument("folders", nargs=2, type=Path)
comparing.add_argument("--attn-window", type=int, default=4, help="snippets per clip, for the KCG's choices")


def main() -> None:
    if sys.argv[1:2] == ["compare"]:
        args = comparing.parse_args(sys.argv[2:])
        with exit_codes():
            compare(args)
    else:
        args = parser.parse_args()
        with exit_codes():
            extract(args)


def extract(args: Namespace) -> None:
    """Extract all videos. Raises ValueError, also at the end where some gave no features, or OSError."""
    places_of(args.rule, args.frames_per_snippet)
    videos = find(args.sources)
    encoder = load_encoder(args.encoder, args.weights, choose_device(args.device))
    out = feature_folder.Folder(args.out, feature_folder.origin_of(args, encoder))
    with out.held(), SIGNALS:
        failed = extraction.extract(videos, out, encoder, args)
    if failed:
        raise ValueError(extraction.failures(failed, len(videos)))


def compare(args: Namespace) -> None:
    """Print a row for each video and crop, and the figures over all."""
    table, figures = agreement.compare(tuple(args.folders), args.attn_window)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    for name, value in figures.items():
        print(f"{name} {value:.4f}")


if __name__ == "__main__":
    main()
