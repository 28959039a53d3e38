"""Test a UCF-Crime checkpoint on long videos: the set of `list/lt_CLIP_test.csv`, every layer used.

python longterm_test.py --feature-root FEATURES --model-path CHECKPOINT
"""

from running import testing
from running.command import run
from ucf_option import longterm

if __name__ == "__main__":
    run(testing.test, longterm)
