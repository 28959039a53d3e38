"""Train on XD-Violence.

python xd_train.py --feature-root FEATURES
"""

import engine
import training
from xd_option import parser

if __name__ == "__main__":
    engine.run(training.train, parser)
