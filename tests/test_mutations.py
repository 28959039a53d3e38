"""2,000 damaged files: each is refused with one clear error, or changes nothing.

What cannot be noticed is a feature value that became another finite value: a `.npy` file has no checksum.
"""

import random
import types

import numpy as np
import pytest
import torch
from conftest import WIDTH, make_model, walk, write_list

from files import checkpoint
from files.features import load_features
from files.truth import read_ground_truth
from files.videos import read_videos, require_distinct

N = 500  # of each of four kinds


def mutate(content, rng):
    """A few bytes changed, removed, added, moved, or the end cut off."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(content)) if rng.random() < 0.6 else rng.randrange(min(len(content), 160))
        kind, size = rng.randrange(6), rng.choice((1, 1, 2, 8, 100))
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at] = rng.randrange(256)
        elif kind == 2:
            del content[at : at + size]
        elif kind == 3:
            content[at:at] = rng.randbytes(size)
        elif kind == 4:
            content[at:at] = content[at : at + size]
        else:
            del content[at:]
        if not content:
            break
    return bytes(content)


def survey(path, read, judge, seed):
    """Damage a file N times; `read` may raise what the scripts turn into one message, or return what `judge` accepts."""
    original, rng, refused = path.read_bytes(), random.Random(seed), 0
    for _ in range(N):
        path.write_bytes(mutate(original, rng))
        try:
            found = read()
        except (ValueError, OSError) as error:
            assert str(error) and len(str(error)) < 3000
            refused += 1
        else:
            judge(found)
    path.write_bytes(original)
    return refused


@pytest.fixture
def files(tmp_path):
    rows, lengths = [], [5, 8, 13, 21, 34]
    for i, n in enumerate(lengths):
        np.save(tmp_path / f"v{i}__5.npy", walk(n).astype(np.float16))
        rows.append((f"v{i}__5.npy", ("Normal", "Abuse", "Robbery")[i % 3], 16 * n - i))
    write_list(tmp_path / "test.csv", rows, ("path", "label", "frames"))
    truth = np.zeros(sum(row[2] for row in rows), np.float32)
    truth[100:300] = 1
    np.save(tmp_path / "gt.npy", truth)
    return tmp_path, rows, truth


def read_all(path):
    videos = read_videos(path / "test.csv", str(path), "ucf", width=WIDTH, zero_non_finite=False)
    require_distinct(path / "test.csv", videos)
    return videos, read_ground_truth(path / "gt.npy", videos, path / "test.csv")


def test_damaged_feature_files(files):
    path, _, _ = files
    file = path / "v3__5.npy"
    before = load_features(file, WIDTH, False)
    original = file.read_bytes()

    def judge(found):
        assert found.shape == before.shape and found.dtype == before.dtype
        content = file.read_bytes()
        assert len(content) == len(original) and found.tobytes() == content[-found.nbytes :]

    assert survey(file, lambda: load_features(file, WIDTH, False), judge, 1) > N / 2


def test_damaged_lists(files):
    path, rows, _ = files

    def judge(found):
        assert [(v.path.name, v.label, v.n_frames) for v in found[0]] == rows

    assert survey(path / "test.csv", lambda: read_all(path), judge, 2) > N / 2


def test_damaged_ground_truth(files):
    path, _, truth = files
    refused = survey(path / "gt.npy", lambda: read_all(path), lambda found: np.testing.assert_array_equal(found[1], truth), 3)
    assert refused > N / 2


def test_damaged_checkpoints(tmp_path):
    model = make_model(layers=1)
    options = types.SimpleNamespace(visual_layers=1, attn_window=4, visual_width=WIDTH, head="mlp")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"model": before, "options": vars(options)})

    def read():
        loaded = checkpoint.load(path)
        checkpoint.load_weights(model, loaded, options)
        return loaded.options

    def judge(found):
        assert found == vars(options)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    assert survey(path, read, judge, 4) > N / 2
