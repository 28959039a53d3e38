"""Train on UCF-Crime.

python ucf_train.py --feature-root FEATURES
"""

from option import run
from running import training
from ucf_option import parser

if __name__ == "__main__":
    run(training.train, parser, of_many=True)
