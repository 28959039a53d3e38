"""UCF-Crime: the parser of `ucf_train.py` and `ucf_test.py`, and that of `longterm_test.py`. Edit a default, or pass a flag."""

import copy

from option import base_parser

parser = base_parser("LSHMA on UCF-Crime.")
parser.set_defaults(
    data_set="ucf",
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
    train_list="list/ucf_CLIP_rgb.csv",
    test_list="list/ucf_CLIP_rgbtest.csv",
    gt_path="list/gt_ucf.npy",
)

longterm = copy.deepcopy(parser)  # the same, but for
longterm.description = "LSHMA on long videos."
longterm.set_defaults(
    data_set="longterm",
    exit_threshold=1.0,  # every layer is used
    test_list="list/lt_CLIP_test.csv",
    gt_path="list/gt_lt.npy",
)
