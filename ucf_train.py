"""Train on UCF-Crime.

python ucf_train.py --feature-root FEATURES
"""

import training
from option import run
from ucf_option import parser

if __name__ == "__main__":
    run(training.train, parser)
