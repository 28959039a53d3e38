"""Test a checkpoint, ours or the authors', on UCF-Crime.

python ucf_test.py --feature-root FEATURES --model-path CHECKPOINT
"""

from option import run
from running import testing
from ucf_option import parser

if __name__ == "__main__":
    run(testing.test, parser)
