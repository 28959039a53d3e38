"""Train on UCF-Crime.

python ucf_train.py --feature-root FEATURES
"""

import engine
import training
from ucf_option import parser

if __name__ == "__main__":
    engine.run(training.train, parser)
