"""Train on UCF-Crime.

python ucf_train.py --feature-root FEATURES
"""

from running import training
from running.command import run
from ucf_option import parser

if __name__ == "__main__":
    run(training.train, parser, of_many=True)
