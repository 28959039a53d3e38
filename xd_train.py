"""Train on XD-Violence.

python xd_train.py --feature-root FEATURES
"""

from running import training
from running.command import run
from xd_option import parser

if __name__ == "__main__":
    run(training.train, parser, of_many=True)
