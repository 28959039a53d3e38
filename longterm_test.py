"""Test a UCF-Crime checkpoint on long videos: the set of `list/lt_CLIP_test.csv`, every layer used.

python longterm_test.py --feature-root FEATURES --model-path CHECKPOINT
"""

import copy

import ucf_option
from running import testing
from running.command import run

parser = copy.deepcopy(ucf_option.parser)
parser.description = "LSHMA on long videos."
parser.set_defaults(
    data_set="longterm",
    exit_threshold=1.0,
    test_list="list/lt_CLIP_test.csv",
    gt_path="list/gt_lt.npy",
)

if __name__ == "__main__":
    run(testing.test, parser)
