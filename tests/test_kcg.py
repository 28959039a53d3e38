"""The key clip generator: its rule, its stream, and what rounding must not change."""

import numpy as np
import pytest
import torch
from conftest import walk

import kcg
from dataset import pack


def by_hand(clips):
    """s_n as METHOD says it, one clip, block and pair at a time."""
    found = []
    for clip in clips.double().numpy():
        half = len(clip) // 2
        blocks = []
        for channels in np.split(np.arange(clip.shape[1]), 64):
            pairs = [(clip[i, channels], clip[half + i, channels]) for i in range(half)]
            norms = [np.linalg.norm(a) * np.linalg.norm(b) for a, b in pairs]
            cosines = [a @ b / n if n else 0.0 for (a, b), n in zip(pairs, norms, strict=True)]
            blocks.append(np.mean([(c + 1) / 2 for c in cosines]))
        found.append(min(blocks))
    return np.array(found)


@pytest.mark.parametrize("window", [2, 4, 8])
def test_similarity_and_choice_are_what_the_method_says(window):
    clips, starts = pack([walk(150, seed=window), walk(37)], window)
    s = by_hand(clips)
    np.testing.assert_allclose(kcg.similarity(clips), s, atol=1e-6)
    key = kcg.select(clips, starts)
    for first, end in ((0, int(starts[1])), (int(starts[1]), len(clips))):
        for n in range(first, end):
            if n - first < 4:
                assert key[n]
                continue
            d, before = s[n] - s[n - 1], s[n - 1] - s[n - 2]
            threshold = np.std([before, d])
            assert bool(key[n]) == (threshold > 0 and abs(d) > threshold)
    assert 0.2 < key.float().mean() < 1


def test_streaming_chooses_the_same_clips():
    clips, starts = pack([walk(400, seed=i) for i in range(3)], 4)
    streams = clips.unflatten(0, (3, 100))
    gate, chosen = kcg.empty_gate(3), []
    for n in range(100):
        key, gate = kcg.step(streams[:, n], gate)
        chosen.append(key)
    assert torch.equal(torch.stack(chosen, 1).flatten(), kcg.select(clips, starts))


def test_a_still_camera_gives_no_key_clips_after_the_first_four():
    """Equal clips must be compared to the last bit alike wherever they stand, or rounding noise would choose."""
    for length in (80, 81, 2000, 3333):
        clips, starts = pack([np.tile(walk(4), (length, 1))], 4)
        assert kcg.select(clips, starts).sum() == 4


def test_float16_features_are_compared_in_float32():
    """Compared in float16, other clips would be key."""
    features = walk(8000).astype(np.float16)
    clips, starts = pack([features], 4)
    assert clips.dtype == torch.float32
    s = kcg.chunk_similarity(clips.half()).double()
    rounded = kcg.is_key(s.diff()[1:], s.diff()[:-1], torch.arange(2, len(s)))
    assert not torch.equal(kcg.select(clips, starts)[2:], rounded)


def test_similarity_does_not_depend_on_the_scale_of_the_features():
    clips, _ = pack([walk(200)], 4)
    for scale in (1e-3, 1e10):
        torch.testing.assert_close(kcg.similarity(clips * scale), kcg.similarity(clips), rtol=0, atol=1e-6)


def test_gates_are_values():
    clips, _ = pack([walk(16)], 4)
    gate = kcg.empty_gate(1)
    before = [field.clone() for field in gate]
    kcg.step(clips[:1], gate)
    assert all(torch.equal(a, b) for a, b in zip(before, gate, strict=True))
