"""A set of your own: the parser of `own_train.py` and `own_test.py`. Edit a default here or pass its flag."""

from option import base_parser

parser = base_parser("LSHMA on a set of your own, whose labels are any.")
parser.set_defaults(
    data_set="own",
    # model
    visual_width=512,
    visual_layers=4,
    attn_window=4,
    cache_keep_max_len=4,
    p=0.0,
    variant="paper",  # ours brings its own layers, head and weight average, whatever stands here
    # training
    seed=234,
    max_epoch=15,
    batch_size=1,
    lr=2e-5,
    weight_decay=0.01,
    scheduler_rate=0.1,
    scheduler_milestones=[3, 5],
    keyclip_train=True,
    eval_every=1280,
    select_by="auc",
    # testing
    keyclip_test=False,
    scales="select",
    exit_threshold=0.6,
    smooth="slide",
    smooth_width=8,
    smooth_pad=None,  # zero or edge; None = the variant's
    fps=30.0,
    false_alarms=1.0,
    # data
    train_list="list/own_train.csv",
    test_list="list/own_test.csv",
    gt_path="list/own_gt.npy",
    normal_label="Normal",  # all other labels are names of classes of anomaly
)
