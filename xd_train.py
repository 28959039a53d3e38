"""Train on XD-Violence.

python xd_train.py --feature-root FEATURES
"""

import training
from option import run
from xd_option import parser

if __name__ == "__main__":
    run(training.train, parser)
