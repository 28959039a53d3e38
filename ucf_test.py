"""Test a checkpoint, ours or the authors', on UCF-Crime.

python ucf_test.py --feature-root FEATURES --model-path CHECKPOINT
"""

from running import testing
from running.command import run
from ucf_option import parser

if __name__ == "__main__":
    run(testing.test, parser)
