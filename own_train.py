"""Train on a set of your own, with lists of `list/make_list.py own`.

python own_train.py --feature-root FEATURES --normal-label LABEL
"""

from own_option import parser
from running import training
from running.command import run

if __name__ == "__main__":
    run(training.train, parser, of_many=True)
