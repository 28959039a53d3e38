"""Test a checkpoint, ours or the authors', on XD-Violence.

python xd_test.py --feature-root FEATURES --model-path CHECKPOINT
"""

import testing
from option import run
from xd_option import parser

if __name__ == "__main__":
    run(testing.test, parser)
