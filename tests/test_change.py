"""Change: how far a clip moves and how far it lies from its stream's past, by hand; and the variant that stands on it."""

import json

import numpy as np
import pytest
import torch
from conftest import WIDTH, make_change, make_model, refused, walk

import change
import lshma
import option
import own_option
import ucf_option
import xd_option
from change import Change, Measured, joined
from dataset import Batch, pack
from model import FUSE
from running.training import loss_of

CLIP = torch.tensor([[3.0, 4.0], [3.0, 1.0], [0.0, 1.0], [0.0, 1.0]])  # steps of 3, 3 and 0
PADDED = torch.cat((CLIP[:2], torch.zeros(2, 2)))


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
    assert change.motion(Measured.of(clip.unsqueeze(0))).item() == pytest.approx(expected, abs=1e-6)


def test_a_cut_is_no_motion_and_shaking_is():
    scene = torch.randn(2, WIDTH)
    cut = scene[[0, 0, 1, 1]]
    shaking = torch.randn(4, WIDTH)
    still, moved = change.motion(Measured.of(torch.stack((cut, shaking)))).tolist()
    assert still == pytest.approx(log_odds(0.0)) and moved > 1


def test_novelty_is_the_distance_from_the_mean_of_all_clips_before():
    clips = torch.stack((CLIP, PADDED, CLIP))
    mean = torch.cat((CLIP, CLIP[:2])).mean(0)
    found = Change(2, motion=0.0, novelty=2.0, channels=False).whole(clips, torch.tensor([0]))
    assert found[0].eq(0).all()  # nothing came before
    assert found[1].tolist() == pytest.approx(
        [*(2 * log_odds(float((x - CLIP.mean(0)).norm() / x.norm())) for x in CLIP[:2]), 0, 0], abs=1e-6
    )
    assert found[2].tolist() == pytest.approx([2 * log_odds(float((x - mean).norm() / x.norm())) for x in CLIP], abs=1e-6)


def test_channels_weigh_the_least_step_of_each():
    moving = torch.tensor([[3.0, 4.0], [1.0, 1.0], [4.0, 3.0], [2.0, 5.0]])  # steps of 2, 3, 2 and of 3, 2, 2
    clips, weight = torch.stack((CLIP, PADDED, moving)), torch.tensor([10.0, 1.0])
    rms = torch.linalg.vector_norm(clips, dim=-1) / 2**0.5
    found = change.channels(Measured.of(clips), weight)
    assert found[0].tolist() == [0, 0, 0, 0]  # to the last snippet nothing moves
    assert found[1].tolist() == pytest.approx([*(3 / rms[1, :2]).tolist(), 0, 0])  # a step into the padding is none
    assert found[2].tolist() == pytest.approx((22 / rms[2]).tolist())
    assert change.channels(Measured.of(torch.zeros(1, 4, 2)), weight).tolist() == [[0, 0, 0, 0]]


def test_the_score_of_two_judges_is_the_geometric_mean_of_theirs():
    scene, changed = torch.tensor([3.0, 200.0, -300.0, 300.0]), torch.tensor([-1.0, 0.0, -300.0, 300.0])
    found = joined(scene, changed)
    torch.testing.assert_close(found.sigmoid(), (scene.sigmoid() * changed.sigmoid()).sqrt())
    torch.testing.assert_close(found[2:], torch.tensor([-300.0, 300.0]))
    assert joined(scene) is scene


def test_in_anomalous_videos_each_judge_learns_where_the_other_is_sure():
    """And in normal ones, or without co-training, where it is sure itself."""
    scene, changed = torch.tensor([[4.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 4.0]])

    def learned(anomalous, **how):
        judges = [logits.clone().requires_grad_() for logits in (scene, changed)]
        clips, starts = pack([walk(4)], 4)
        loss_of(judges, Batch(clips, starts, torch.tensor([4]), torch.tensor([anomalous]), ["door"]), **how).sum().backward()
        return [judge.grad.nonzero()[:, 1].tolist() for judge in judges]

    assert learned(1.0) == [[3], [0]]
    assert learned(0.0) == [[0], [3]] == learned(1.0, co_training=False)


def test_one_judge_learns_where_it_is_sure_itself():
    logits = torch.randn(5, 4)
    clips, starts = pack([walk(20)], 4)
    batch = Batch(clips, starts, torch.tensor([20]), torch.tensor([1.0]), ["door"])
    expected = -logits.sigmoid().flatten().topk(2).values.mean().log()
    torch.testing.assert_close(loss_of([logits], batch), expected.unsqueeze(0))


def test_a_dropped_clip_inherits_the_scene_and_changes_by_itself():
    model = make_model(layers=0, head="linear", change=make_change())
    with torch.no_grad():
        model.classifier.weight.normal_()
    clips, starts = pack([walk(90), walk(31, seed=1)], 4)
    out = model(clips, starts, key_clips=True, scales=FUSE)
    scene, changed = out.judges
    torch.testing.assert_close(out.logits, joined(scene, model.change.whole(clips, starts)))
    dropped = (~out.key).nonzero().squeeze(1)
    assert len(dropped) > 3
    torch.testing.assert_close(scene[dropped], scene[dropped - 1])
    assert not torch.allclose(changed[dropped], changed[dropped - 1])


def test_a_video_that_overflows_changes_no_other():
    clips, starts = pack([walk(33), walk(20, seed=1)], 4)
    judge = make_change()
    fine = judge.whole(clips, starts)
    clips[2] = torch.inf
    broken = judge.whole(clips, starts)
    assert torch.equal(broken[9:], fine[9:]) and torch.equal(broken[:2], fine[:2])


@pytest.mark.parametrize("data_set", [ucf_option, xd_option, own_option])
def test_the_variant_is_one_option_away_and_a_flag_wins(data_set):
    def found(*flags):
        options = option.parse(data_set.parser, flags)
        option.resolve_variant(options)
        return [getattr(options, name) for name in ("visual_layers", "head", "motion", "novelty", "channels")]

    assert found()[1:] == ["mlp", 0, 0, False] and found()[0] > 0
    assert found("--variant", "ours") == [0, "linear", 2, 1, True]
    assert found("--variant", "ours", "--visual-layers", "2", "--motion", "0", "--head", "mlp") == [2, "mlp", 0, 1, True]
    assert found("--variant", "ours", "--no-channels")[-1] is False


def test_ours_is_trained_tested_and_loaded_like_the_others(toy, run, undrawn):
    flags = [*toy.flags, "--variant", "ours", "--visual-layers", 0, "--co-training"]
    done = run("ucf_train.py", *flags, "--max-epoch", 1, "--out-dir", toy.path / "run")
    assert done.code == 0 and "note:" not in done.out
    assert "linear head, motion 2, novelty 1, channels, running mean of the weights (0.97);" in done.out
    best, test = toy.path / "run" / "best.pt", [*toy.flags, "--visual-layers", 0]
    done = run("ucf_test.py", *test, "--model-path", best, "--out-dir", toy.path / "test", "--report")
    assert done.code == 0 and "layer" not in done.out, "it has none"
    page = (toy.path / "test" / "report.html").read_text()
    assert "Bars below a timeline: key clips." in page and "at layer" not in page
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
    done = run("ucf_train.py", *toy.flags, "--max-epoch", 1, "--no-co-training", "--out-dir", toy.path / "run")
    assert done.code == 0, done
    assert "note: --co-training has no effect where motion is 0, novelty is 0, channels is False" in done.out
    content = torch.load(toy.path / "run" / "best.pt", weights_only=True)
    for name in option.ADDED:
        del content["options"][name]
    torch.save(content, toy.path / "old.pt")
    assert lshma.load(toy.path / "old.pt").options.head == "mlp"
