"""Test a checkpoint, ours or the authors', on UCF-Crime.

python ucf_test.py --feature-root FEATURES --model-path CHECKPOINT
"""

import engine
from ucf_option import parser

if __name__ == "__main__":
    engine.run(engine.test, parser)
