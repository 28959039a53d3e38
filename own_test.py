"""Test a checkpoint, ours or the authors', on a set of your own.

python own_test.py --feature-root FEATURES --normal-label LABEL --model-path CHECKPOINT
"""

from own_option import parser
from running import testing
from running.command import run

if __name__ == "__main__":
    run(testing.test, parser)
