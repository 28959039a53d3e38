"""What scores are worth, on the command line.

    python metrics.py SCORES.npz [--gt-path GT.npy] [--test-list LIST.csv]

SCORES.npz is of any method: `video` (names) and `n_snippets` per video, `scores` in [0, 1] per snippet of 16 frames;
evaluation/scores_file.py says what else it may hold. Prints a table and writes SCORES.json, and with --table the table as CSV,
Markdown or LaTeX. Needs no torch.
"""

import json
from argparse import Namespace
from pathlib import Path

from evaluation import source, tables
from evaluation.evaluate import UNKNOWN, Thresholds, best_f1_threshold, evaluate_all, frames_of
from evaluation.scores import Scores
from evaluation.scores_file import read_arrays
from files import atomic, folder
from option import HOLD_LAST, NORMAL_LABEL, Parser, add_flags, check
from running.command import exit_codes

parser = Parser("What scores are worth: the field's figures and a live system's, each with how sure it is.")
parser.add_argument("scores", help="scores.npz of a test, or of another method")
parser.add_argument("--gt-path", help="ground truth of the frames, 0 or 1 (.npy); ours have it inside, as the array truth")
parser.add_argument("--test-list", help="CSV path,label or path,label,frames: the videos' labels and true frames")
parser.add_argument("--val-scores", help="scores of other videos, on which the threshold of the best F1 is chosen")
parser.add_argument("--val-gt-path", help="their ground truth, where it is not in them")
parser.add_argument("--out", help="where the figures go, a .json file; None = beside the scores")
parser.add_argument("--table", help="also write the table, to a .csv, .md or .tex file (LaTeX, with booktabs)")
add_flags(parser.add_argument, [NORMAL_LABEL, HOLD_LAST, *source.LIVE])


def main() -> None:
    args = parser.parse_args()
    if args.val_gt_path and not args.val_scores:
        parser.error("--val-gt-path is the ground truth of --val-scores; give them too")
    with exit_codes():
        check(args, ["live"])
        read = source.read_file(Path(args.scores), args)
        inputs = (args.scores, args.gt_path, args.test_list, args.val_scores, args.val_gt_path)
        out = tables.output(args.out or Path(args.scores).with_suffix(".json"), [".json"], inputs, "--out")
        if not args.out:
            folder.require_ours([out], out, b'"look_ahead"', "this script", "--out")
        table = args.table and tables.output(args.table, tables.ENDINGS, inputs, "--table")
        name = Path(args.scores).name
        columns = evaluate_all({name: read.scores}, read.truth, read.terms, thresholds_of(args, read.scores))
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(out, json.dumps(columns[name], indent=2) + "\n")
        if table:
            tables.write(table, tables.rows_of(columns))
        print(tables.text(columns))
        print(f"figures in {out}" + (f", table in {table}" if table else ""))


def thresholds_of(args: Namespace, scores: Scores) -> Thresholds:
    """The threshold of the best F1 on the validation scores, if there are any. Raises ValueError where videos are in both."""
    if args.val_scores is None:
        return UNKNOWN
    how = Namespace(gt_path=args.val_gt_path, test_list=None, hold_last=args.hold_last, normal_label=args.normal_label)
    validation, truth = source.with_truth(read_arrays(args.val_scores), Path(args.val_scores), how)
    both = {video.name for video in validation.videos} & {video.name for video in scores.videos}
    if both:
        raise ValueError(f"{args.val_scores}: {len(both)} videos are in the test too, {min(both)} among them; use other videos")
    return Thresholds(frames=best_f1_threshold(validation.scores, *frames_of(validation, truth)))


if __name__ == "__main__":
    main()
