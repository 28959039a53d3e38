"""XD-Violence: the parser of `xd_train.py` and `xd_test.py`. Edit a default here or pass its flag."""

from option import base_parser

parser = base_parser("LSHMA on XD-Violence.")
parser.set_defaults(
    data_set="xd",
    # model
    visual_width=512,
    visual_layers=2,
    attn_window=8,
    cache_keep_max_len=2,
    p=1.0,
    variant="paper",  # ours brings its own layers, head and weight average, whatever stands here
    # training
    seed=234,
    max_epoch=15,
    batch_size=1,
    lr=1e-5,
    weight_decay=0.01,
    scheduler_rate=0.1,
    scheduler_milestones=[3, 6, 10],
    keyclip_train=True,
    eval_every=4800,
    select_by="ap",
    # testing
    keyclip_test=False,
    scales="select",
    exit_threshold=0.6,
    smooth="fixed",
    smooth_width=8,
    smooth_pad=None,  # zero or edge; None = the variant's
    fps=24.0,
    false_alarms=1.0,
    # data
    train_list="list/xd_CLIP_rgb.csv",
    test_list="list/xd_CLIP_rgbtest.csv",
    gt_path="list/gt.npy",
)
