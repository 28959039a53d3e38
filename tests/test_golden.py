"""The released model's numbers, through the modules and through the scripts."""

import golden
import numpy as np
import pytest
import torch
from conftest import write_list

import kcg
from dataset import Batch, pack
from evaluation import smoothing
from files import checkpoint
from model import FUSE, LSHMA, Select
from running import products
from running.training import loss_of

SMOOTHED = {"slide8": ("slide", 8), "fixed8": ("fixed", 8), "fixed15": ("fixed", 15)}


def released_model(config):
    state = golden.released_state(config)
    found = checkpoint.interpret({"model_state_dict": state}, "golden.pth")
    assert found.options is None and found.released
    model = LSHMA(
        width=golden.WIDTH,
        layers=config["visual_layers"],
        window=config["attn_window"],
        cache_keep_max_len=config["cache_keep_max_len"],
        p=config["p"],
        forgetting="released",
        attn_merge="interleave",
    )
    model.load_state_dict(found.weights)
    return model, state


def our_name(name):
    """Our name of a released parameter, None for the unused ones."""
    found = checkpoint.interpret({**REQUIRED, name: torch.full((1,), 7.0)}, "x").weights
    return next((ours for ours, value in found.items() if value.eq(7).all()), None)


REQUIRED = {name: torch.zeros(1) for name in ("frame_position_embeddings.weight", "linear.weight", "classifier.weight")}


def close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", golden.CASES)
def test_testing_gives_the_released_logits_layers_and_smoothing(name):
    numbers, config = golden.case(name)
    model, _ = released_model(config)
    lengths = dict(config["videos"])
    clips, starts = pack([golden.features(config["seed"], v, n) for v, n in lengths.items()], config["attn_window"])
    with torch.no_grad():
        out = model(clips, starts, key_clips=False, scales=Select(config["threshold"]))
    logits, layers = out.logits.tensor_split(starts[1:]), out.exit_layer.tensor_split(starts[1:])
    for (video, length), found, layer in zip(lengths.items(), logits, layers, strict=True):
        close(found.flatten(), numbers[f"test/{video}/logits"], 1e-5)
        np.testing.assert_array_equal(layer, numbers[f"test/{video}/depth"])
        for key, (kind, width) in SMOOTHED.items():
            smoothed = smoothing.smooth(found.flatten()[:length].numpy(), kind, width, "zero")
            close(smoothed, numbers[f"test/{video}/{key}"], 1e-5)


@pytest.mark.parametrize("as_trained", [False, True])
@pytest.mark.parametrize("name", [name for name in golden.CASES if name != "longterm"])
def test_training_gives_the_released_losses_gradients_and_weights(name, as_trained):
    numbers, config = golden.case(name)
    model, state = released_model(config)
    if as_trained:
        products.train_by(model)
    optimizer = torch.optim.AdamW(model.parameters(), config["lr"], weight_decay=0.01, fused=True)
    parameters = dict(model.named_parameters())
    names = sorted(state)
    for i, (video, length) in enumerate(config["train_videos"]):
        clips, starts = pack([golden.features(config["seed"], video, length)], config["attn_window"])
        expected = {key: numbers[f"train/{video}/{key}"] for key in ("similarity", "selected", "key_logits", "loss")}
        close(kcg.similarity(clips), expected["similarity"], 1e-6)

        out = model(clips, starts, key_clips=True, scales=FUSE)
        np.testing.assert_array_equal(out.key, expected["selected"])
        close(out.logits[out.key].detach().flatten(), expected["key_logits"], 1e-5)

        batch = Batch(clips, starts, torch.tensor([length]), torch.tensor([float(i % 2)]), [video])
        loss = loss_of(out.judges, batch).mean()
        close(loss.item(), expected["loss"], 1e-5)
        optimizer.zero_grad()
        loss.backward()
        norms = [-1.0 if our_name(n) is None else parameters[our_name(n)].grad.norm().item() for n in names]
        np.testing.assert_allclose(norms, numbers[f"train/{video}/grad_norms"], rtol=1e-4)
        optimizer.step()
        norms = [(state[n] if our_name(n) is None else parameters[our_name(n)]).norm().item() for n in names]
        np.testing.assert_allclose(norms, numbers[f"train/{video}/weight_norms_after"], rtol=1e-4)


@pytest.mark.parametrize("name", golden.CASES)
def test_the_test_scripts_give_the_released_numbers_from_a_released_file(name, tmp_path, run, undrawn):
    numbers, config = golden.case(name)
    torch.save({"epoch": 0, "model_state_dict": golden.released_state(config), "ap": np.float64(0.5)}, tmp_path / "model.pth")
    rows = []
    for video, length in config["videos"]:
        np.save(tmp_path / f"{video}.npy", golden.features(config["seed"], video, length))
        rows.append((f"{video}.npy", {"xd": "B1-0-0"}.get(name, "Normal")))
    write_list(tmp_path / "test.csv", rows)
    truth = np.zeros(16 * sum(length for _, length in config["videos"]))
    truth[100:300] = 1
    np.save(tmp_path / "gt.npy", truth)
    script = {"xd": "xd_test.py", "longterm": "longterm_test.py"}.get(name, "ucf_test.py")
    if name == "xd":  # the authors' file of another data set is its own model, too
        write_list(tmp_path / "ucf.csv", [(path, "Normal") for path, _ in rows])
        inputs = ["--feature-root", tmp_path, "--test-list", tmp_path / "ucf.csv", "--gt-path", tmp_path / "gt.npy"]
        how = ["--model-path", tmp_path / "model.pth", "--out-dir", tmp_path / "other", "--workers", 0]
        done = run("ucf_test.py", *inputs, *how)
        assert done.code == 0 and "attn-window 8, p 1.0, cache-keep-max-len 2" in done.out, done
    flags = ["--feature-root", tmp_path, "--test-list", tmp_path / "test.csv", "--gt-path", tmp_path / "gt.npy"]
    flags += ["--model-path", tmp_path / "model.pth", "--out-dir", tmp_path / "out", "--workers", 0]
    if name == "shifted":
        for option in ("visual_layers", "cache_keep_max_len", "p"):
            flags += [f"--{option}", config[option]]
        flags += ["--exit-threshold", config["threshold"]]
    done = run(script, *flags)
    assert done.code == 0, done.err
    assert "taken for it" not in done.out
    scores = np.load(tmp_path / "out" / "scores.npz")
    at = 0
    for video, length in config["videos"]:
        here = slice(at, at + length)
        close(scores["logits"][here], numbers[f"test/{video}/logits"][:length], 1e-5)
        layers = numbers[f"test/{video}/depth"].repeat(config["attn_window"])[:length]
        np.testing.assert_array_equal(scores["exit_layer"][here], layers)
        smoothed = numbers[f"test/{video}/{'fixed8' if name == 'xd' else 'slide8'}"]
        close(scores["scores"][here], smoothing.sigmoid(smoothed), 1e-5)
        at += length
    if name == "xd":
        np.testing.assert_array_equal(np.load(tmp_path / "other" / "scores.npz")["logits"], scores["logits"])
    assert at == len(scores["logits"]) and scores["logits"].dtype == np.float32 and scores["scores"].dtype == np.float64
