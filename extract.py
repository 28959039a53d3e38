"""Features of videos, as the model takes them.

    python extract.py VIDEO_OR_FOLDER ... --out FEATURES
    python extract.py VIDEO_OR_FOLDER ... --out FEATURES --encoder clip --weights ViT-B-16.pt
    python extract.py compare FEATURES OTHERS

Writes FEATURES/.../NAME__N.npy, (snippets, width) float16, one file a crop; frames.csv, the videos' true frames, which
`list/make_list.py --frames` takes; and extract.json, how they were made. A finished video is not done again. The last form
says how alike two folders of features of the same videos are. Needs requirements-video.txt.
"""

import sys
from argparse import Namespace
from pathlib import Path

from files.features import FRAMES_PER_SNIPPET
from option import BY_NAME, Parser, add_flags, require
from running.command import exit_codes
from running.loading import choose_device
from video import agreement, extraction, feature_folder
from video.encoders import load_encoder
from video.finding import find
from video.flags import HOW, OF_EXTRACTION, RATE

parser = Parser("Features of videos, as the model takes them.")
add = parser.add_argument
add("sources", nargs="+", metavar="VIDEO_OR_FOLDER", help="videos, and folders of them; `compare A B` compares two of features")
add("--out", type=Path, required=True, help="folder for the features; a finished video in it is not done again")
add_flags(add, [*HOW, *OF_EXTRACTION])
add("--crops", type=int, choices=(1, 10), default=1, help="1 = the centre; 10 = also the corners, and all mirrored")
add("--strict", action="store_true", help="a video that breaks off, or has damaged packets, gives no features")

comparing = Parser("How alike two folders of features of the same videos are.")
comparing.prog += " compare"
comparing.add_argument("folders", nargs=2, type=Path, metavar="FOLDER")
WINDOW = BY_NAME["attn_window"]._replace(default=4)  # for the KCG's choices
add_flags(comparing.add_argument, [WINDOW])


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
    require(args, [*HOW, *OF_EXTRACTION])
    if not args.out.name:
        raise ValueError(f"--out {args.out} names no folder of its own; name one, as features")
    if args.rule != "mean" and args.frames_per_snippet != FRAMES_PER_SNIPPET:
        raise ValueError(f"--frames-per-snippet counts with --rule mean alone; {args.rule} looks at one frame")
    if args.fps and args.by != "time":
        raise ValueError("--fps counts with --by time alone; by frames, the video's own rate is taken")
    args.fps = args.fps or RATE
    videos = find(args.sources, args.out)
    encoder = load_encoder(args.encoder, args.weights, choose_device(args.device))
    out = feature_folder.Folder(args.out, feature_folder.origin_of(args, encoder))
    with out.held():
        failed = extraction.extract(videos, out, encoder, args)
    if failed:
        raise ValueError(extraction.failures(failed, len(videos)))


def compare(args: Namespace) -> None:
    """Print a row for each video and crop, and the figures over all."""
    require(args, [WINDOW])
    if said := agreement.made_otherwise(*args.folders):
        print(f"{args.folders[0]} and {args.folders[1]} differ in: {said}")
    table, figures = agreement.compare(tuple(args.folders), args.attn_window)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    for name, value in figures.items():
        print(f"{name} {value:.4f}")


if __name__ == "__main__":
    main()
