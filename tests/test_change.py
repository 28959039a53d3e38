"""Change: how far a clip moves and how far it lies from its stream's past, by hand; and the variant that stands on it."""

import json

import numpy as np
import pytest
import torch
from conftest import WIDTH, make_model, refused, walk

import change
import lshma
import option
import own_option
import ucf_option
import xd_option
from change import Weights
from dataset import pack
from model import FUSE

CLIP = torch.tensor([[3.0, 4.0], [3.0, 1.0], [0.0, 1.0], [0.0, 1.0]])  # steps of 3, 3 and 0
PADDED = torch.cat((CLIP[:2], torch.zeros(2, 2)))
OURS = dict(layers=0, head="linear", change_weights=Weights(1.0, 1.0))


def log_odds(share):
    return np.log((share + 0.01) / 0.31)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (CLIP, log_odds(0.0)),  # the least counts: to the last snippet nothing moves
        (CLIP[[0, 1, 2, 0]], log_odds(18**0.5 / 5)),  # |(3, 3)| / |(3, 4)|, less than 3 / |(3, 1)| and 3 / 1
        (PADDED, log_odds(3 / 10**0.5)),  # a step into the padding is none
        (torch.cat((CLIP[:1], torch.zeros(3, 2))), 0.0),  # one snippet: nobody knows, so it is as usual
        (torch.zeros(4, 2), 0.0),
    ],
)
def test_motion_is_the_least_step_between_the_real_snippets_of_a_clip(clip, expected):
    assert change.motion(clip.unsqueeze(0)).item() == pytest.approx(expected, abs=1e-6)


def test_a_cut_is_no_motion_and_shaking_is():
    scene = torch.randn(2, WIDTH)
    cut = scene[[0, 0, 1, 1]]
    shaking = torch.randn(4, WIDTH)
    still, moved = change.motion(torch.stack((cut, shaking))).tolist()
    assert still == pytest.approx(log_odds(0.0)) and moved > 1


def test_novelty_is_the_distance_from_the_mean_of_all_clips_before():
    clips = torch.stack((CLIP, PADDED, CLIP))
    mean = torch.cat((CLIP, CLIP[:2])).mean(0)
    found = change.whole(clips, torch.tensor([0]), Weights(0.0, 2.0))
    assert found[0].eq(0).all()  # nothing came before
    assert found[1].tolist() == pytest.approx(
        [*(2 * log_odds(float((x - CLIP.mean(0)).norm() / x.norm())) for x in CLIP[:2]), 0, 0], abs=1e-6
    )
    assert found[2].tolist() == pytest.approx([2 * log_odds(float((x - mean).norm() / x.norm())) for x in CLIP], abs=1e-6)


def test_a_dropped_clip_inherits_the_scene_and_changes_by_itself():
    model = make_model(**OURS)
    with torch.no_grad():
        model.classifier.weight.normal_()
    clips, starts = pack([walk(90), walk(31, seed=1)], 4)
    out = model(clips, starts, key_clips=True, scales=FUSE)
    scene = out.logits - change.whole(clips, starts, Weights(1.0, 1.0))
    dropped = (~out.key).nonzero().squeeze(1)
    assert len(dropped) > 3
    torch.testing.assert_close(scene[dropped], scene[dropped - 1])
    assert not torch.allclose(out.logits[dropped], out.logits[dropped - 1])


def test_a_video_that_overflows_changes_no_other():
    clips, starts = pack([walk(33), walk(20, seed=1)], 4)
    weights = Weights(1.0, 1.0)
    fine = change.whole(clips, starts, weights)
    clips[2] = torch.inf
    broken = change.whole(clips, starts, weights)
    assert torch.equal(broken[9:], fine[9:]) and torch.equal(broken[:2], fine[:2])


@pytest.mark.parametrize("data_set", [ucf_option, xd_option, own_option])
def test_the_variant_is_one_option_away_and_a_flag_wins(data_set):
    def found(*flags):
        options = option.parse(data_set.parser, flags)
        option.resolve_variant(options)
        return [getattr(options, name) for name in ("visual_layers", "head", "motion", "novelty")]

    assert found()[1:] == ["mlp", 0, 0] and found()[0] > 0
    assert found("--variant", "ours") == [0, "linear", 2, 1]
    assert found("--variant", "ours", "--visual-layers", "2", "--motion", "0", "--head", "mlp") == [2, "mlp", 0, 1]


def test_ours_is_trained_tested_and_loaded_like_the_others(toy, run, undrawn):
    flags = [*toy.flags, "--variant", "ours", "--visual-layers", 0]
    done = run("ucf_train.py", *flags, "--max-epoch", 1, "--out-dir", toy.path / "run")
    assert done.code == 0 and "linear head, motion 2, novelty 1;" in done.out
    best, test = toy.path / "run" / "best.pt", [*toy.flags, "--visual-layers", 0]
    assert run("ucf_test.py", *test, "--model-path", best, "--out-dir", toy.path / "test").code == 0
    trained, tested = (json.loads((toy.path / name / "results.json").read_text()) for name in ("run", "test"))
    assert tested["auc"] == pytest.approx(trained["best"]["auc"])
    refused(run("ucf_test.py", *test, "--model-path", best, "--variant", "paper", "--out-dir", toy.path / "x"), "--head linear")

    detector = lshma.load(best, device="cpu", smooth="causal")
    features, streams = walk(40), detector.stream()
    streams.add("door")
    first = streams.push({"door": features[:18]})["door"].scores
    state = streams.state("door")
    again = detector.stream()
    again.restore("door", state)
    rest = again.push({"door": features[18:]})["door"].scores
    np.testing.assert_allclose(np.concatenate((first, rest)), detector.score(features), rtol=0, atol=1e-6)


def test_a_checkpoint_from_before_these_options_is_as_it_was(toy, run, undrawn):
    assert run("ucf_train.py", *toy.flags, "--max-epoch", 1, "--out-dir", toy.path / "run").code == 0
    content = torch.load(toy.path / "run" / "best.pt", weights_only=True)
    for name in option.ADDED:
        del content["options"][name]
    torch.save(content, toy.path / "old.pt")
    assert lshma.load(toy.path / "old.pt").options.head == "mlp"
