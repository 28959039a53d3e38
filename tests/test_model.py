"""Whole videos and live streams are the same model; what a layer remembers, and what it forgets."""

import numpy as np
import pytest
import torch
from conftest import WIDTH, make_change, make_model, walk
from hypothesis import given, settings
from hypothesis import strategies as st

import hma
from dataset import pack
from hma import remembered, survivors
from model import FUSE, Select
from option import FORGETTING


@pytest.fixture(scope="module", autouse=True)
def no_denormal_numbers():
    """Weights made sharp give weights of attention below 1e-308, with which a processor counts ten times as slowly."""
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def videos(lengths, window, seed=0):
    return pack([walk(n, seed=seed + i) for i, n in enumerate(lengths)], window)


def stepped(model, clips, starts, **how):
    """Each video clip by clip on its own: logits, layers, key."""
    outputs = []
    for video in clips.tensor_split(starts[1:]):
        memory = model.empty_memory(1)
        for clip in video.split(1):
            out, memory = model.step(clip, memory, **how)
            outputs.append((out.logits, out.exit_layer, out.key))
    return [torch.cat(field) for field in zip(*outputs, strict=True)]


def gradients(model, logits):
    model.zero_grad()
    (logits.sigmoid() * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    return {name: p.grad.clone() if p.grad is not None else torch.zeros_like(p) for name, p in model.named_parameters()}


@pytest.mark.parametrize("rule", FORGETTING)
@pytest.mark.parametrize("merge", ["token", "interleave"])
@settings(max_examples=12)
@given(
    layers=st.integers(0, 4),
    window=st.sampled_from((2, 4, 8)),
    cache=st.integers(1, 6),
    p=st.sampled_from((0.0, 0.5, 1.0)),
    scales=st.sampled_from((FUSE, *map(Select, (0.0, 0.45, 0.55, 0.6, 1.0)))),
    key_clips=st.booleans(),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
    shift=st.sampled_from((0.0, 0.5, 2.0)),
    head=st.sampled_from(("mlp", "linear")),
    change=st.sampled_from(((), (1.0, 1.0, True), (0.0, 2.0, False), (0.0, 0.0, True))),
)
def test_whole_videos_equal_steps_in_outputs_and_gradients(
    rule, merge, layers, window, cache, p, scales, key_clips, lengths, seed, shift, head, change
):
    sizes = dict(layers=layers, window=window, cache_keep_max_len=cache, p=p, forgetting=rule, attn_merge=merge)
    sizes |= dict(head=head, change=make_change(*change) if change else None)
    model = make_model(seed=seed, shift=shift, **sizes).double()  # so that no rounding decides
    clips, starts = videos(lengths, window, seed)
    clips = clips.double()
    how = dict(key_clips=key_clips, scales=scales)
    whole = model(clips, starts, **how)
    logits, layer, key = stepped(model, clips, starts, **how)
    assert torch.equal(whole.key, key)
    assert torch.equal(whole.exit_layer, layer)
    torch.testing.assert_close(whole.logits, logits, rtol=0, atol=1e-9)
    by_whole, by_step = gradients(model, whole.logits), gradients(model, logits)
    for name, expected in by_step.items():
        torch.testing.assert_close(by_whole[name], expected, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("rule", FORGETTING)
@pytest.mark.parametrize("scales", [FUSE, Select(0.55), Select(1.0)])
def test_whole_videos_equal_steps_in_float32(rule, scales):
    model = make_model(forgetting=rule, shift=0.1, sharp=1.0)
    clips, starts = videos([90, 31, 7], 4)
    how = dict(key_clips=True, scales=scales)
    whole, (logits, layer, _) = model(clips, starts, **how), stepped(model, clips, starts, **how)
    assert torch.equal(whole.exit_layer, layer)
    torch.testing.assert_close(whole.logits, logits, rtol=0, atol=1e-5)
    by_whole, by_step = gradients(model, whole.logits), gradients(model, logits)
    for name, expected in by_step.items():
        torch.testing.assert_close(by_whole[name], expected, rtol=1e-5, atol=1e-5, msg=name)


def test_the_random_cases_exit_early_forget_out_of_order_and_drop_clips():
    """Otherwise the test above would prove little."""
    model = make_model(shift=2.0)
    clips, starts = videos([200], 4)
    out = model(clips, starts, key_clips=True, scales=Select(0.55))
    assert out.exit_layer.unique().numel() > 1 and 0.2 < out.key.float().mean() < 0.9
    k = model.layers[0].norm1(clips)
    strength, newest = model.layers[0].strengths(model.layers[0].compress_memory(k), k, None)
    segment = torch.zeros(len(clips), dtype=torch.int64)
    tables = [remembered(rule, strength, newest, segment, 3) for rule in ("ebbinghaus", "fifo")]
    assert not torch.equal(*tables)


@pytest.mark.parametrize("scales", [FUSE, Select(0.55)])
def test_streams_side_by_side_equal_streams_alone(scales):
    model = make_model()
    clips, starts = videos([80, 80, 80], 4)
    how = dict(key_clips=True, scales=scales)
    alone = stepped(model, clips, starts, **how)
    memory, logits, layer = model.empty_memory(3), [], []
    for clip in clips.unflatten(0, (3, 20)).unbind(1):
        out, memory = model.step(clip, memory, **how)
        logits.append(out.logits)
        layer.append(out.exit_layer)
    torch.testing.assert_close(torch.stack(logits, 1).flatten(0, 1), alone[0], rtol=0, atol=1e-5)
    assert torch.equal(torch.stack(layer, 1).flatten(), alone[1])


def flat(memory):
    return [
        memory.logits,
        memory.exit_layer,
        *memory.gate,
        *memory.past,
        *(field for layer in memory.layers for field in layer),
    ]


@pytest.mark.parametrize("change", [None, make_change()])
def test_a_step_leaves_its_memory_as_it_was_and_gives_the_same_again(change):
    model = make_model(change=change)
    clips, _ = videos([40], 4)
    memory = model.empty_memory(1)
    for clip in clips.split(1):
        before = [field.clone() for field in flat(memory)]
        first, after = model.step(clip, memory, key_clips=True, scales=Select(0.55))
        again, _ = model.step(clip, memory, key_clips=True, scales=Select(0.55))
        assert all(torch.equal(a, b) for a, b in zip(before, flat(memory), strict=True))
        assert torch.equal(first.logits, again.logits)
        memory = after


def test_videos_packed_together_equal_videos_alone():
    model = make_model()
    clips, starts = videos([33, 5, 70], 4)
    how = dict(key_clips=True, scales=Select(0.55))
    together = model(clips, starts, **how)
    alone = [model(video, torch.tensor([0]), **how).logits for video in clips.tensor_split(starts[1:])]
    torch.testing.assert_close(together.logits, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_video_whose_features_overflow_harms_no_other():
    model = make_model()
    clips, starts = videos([33, 5, 70], 4)
    fine = model(clips, starts, key_clips=False, scales=Select(1.0)).logits
    clips[-1] = torch.inf
    broken = model(clips, starts, key_clips=False, scales=Select(1.0)).logits
    assert torch.equal(fine[:-1], broken[:-1]) and not broken[-1].isfinite().any()


def test_more_clips_than_attend_at_a_time_change_nothing(monkeypatch):
    model = make_model()
    clips, starts = videos([33, 5, 70], 4)
    whole = model(clips, starts, key_clips=True, scales=FUSE).logits
    monkeypatch.setattr(hma, "CHUNK", 7)
    torch.testing.assert_close(model(clips, starts, key_clips=True, scales=FUSE).logits, whole, rtol=0, atol=1e-5)


def test_later_clips_never_change_earlier_logits():
    model = make_model()
    clips, starts = videos([80], 4)
    changed = torch.cat((clips[:12], torch.randn_like(clips[12:])))
    for scales in (FUSE, Select(0.55)):
        how = dict(key_clips=True, scales=scales)
        a, b = model(clips, starts, **how), model(changed, starts, **how)
        torch.testing.assert_close(a.logits[:12], b.logits[:12], rtol=0, atol=1e-5)
        assert not torch.allclose(a.logits[12:], b.logits[12:])


def test_the_memory_is_used_and_deeper_layers_see_further_back():
    how = dict(key_clips=False, scales=Select(1.0))
    clips, starts = videos([64], 4)
    changed = clips.clone()
    changed[4] += 1  # with fifo and capacity 2, one layer carries this to clips 4..6, two layers to 4..8

    def reach(layers):
        model = make_model(layers=layers, cache_keep_max_len=3, forgetting="fifo", shift=0.0, sharp=1.0)
        return (model(clips, starts, **how).logits - model(changed, starts, **how).logits).abs().amax(1).gt(0).nonzero()

    assert [int(reach(layers).max()) for layers in (1, 2, 3)] == [6, 8, 10]


def test_without_capacity_nothing_is_remembered():
    model = make_model(cache_keep_max_len=1)
    clips, starts = videos([64], 4)
    how = dict(key_clips=False, scales=Select(1.0))
    alone = model(clips, torch.arange(len(clips)), **how)
    torch.testing.assert_close(model(clips, starts, **how).logits, alone.logits, rtol=0, atol=1e-5)


AGES = torch.tensor([[9, 4, 1, 0]])


@pytest.mark.parametrize(
    ("rule", "strength", "age", "dropped"),
    [
        ("fifo", [0.9, 0.1, 0.1, 0.1], AGES, 0),
        ("ebbinghaus", [0.5, 0.5, 0.5, 0.5], AGES, 0),
        ("ebbinghaus", [0.9, 0.3, 0.5, 0.5], AGES, 1),  # 1/0.9 < (4/9)/0.3
        ("ebbinghaus", [0.9, 0.5, 0.01, 0.5], AGES, 2),  # (1/9)/0.01 is the largest
        ("ebbinghaus", [0.9, 0.9, 0.9, 0.001], AGES, 0),  # the newest is of age 0 and never goes
        ("released", [0.5, 0.5, 0.5, 0.5], AGES, 3),  # counted backwards: the newest goes
        ("released", [0.001, 0.5, 0.2, 0.5], AGES, 2),  # (2/3)/0.2 > 1/0.5; the first never goes
        ("salience", [0.9, 0.01, 0.01, 0.01], AGES, 1),  # the oldest was suspicious, and outlives routine
        ("ebbinghaus", [0.5, 0.5, 0.01, 0.5], torch.tensor([[-1, 4, 1, 0]]), 0),  # an empty slot goes first
        ("released", [0.5, 0.5, 0.01, 0.5], torch.tensor([[-1, -1, 1, 0]]), 0),
    ],
)
def test_forgetting_on_hand_made_ages(rule, strength, age, dropped):
    kept = survivors(rule, torch.tensor([strength], dtype=torch.float64), age)
    assert kept.tolist() == [[i for i in range(4) if i != dropped]]


def test_equal_retention_drops_the_first():
    strength = torch.tensor([[0.5, 1 / 3, 2 / 3, 2 / 3]], dtype=torch.float64)
    age = torch.tensor([[3, 2, 1, 0]])  # 1/0.5 == (2/3)/(1/3)
    assert survivors("ebbinghaus", strength, age).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("rule", FORGETTING)
@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_the_table_of_whole_videos_is_the_rule_applied_clip_by_clip(rule, spread):
    """spread 0.01: the guessed table holds. spread 3: the rule drops all over the place and the table is stepped through."""
    rng = np.random.default_rng(3)
    segment = torch.arange(5).repeat_interleave(torch.tensor([1, 40, 3, 25, 60]))
    strength, newest = (torch.from_numpy(1 / (1 + np.exp(-spread * rng.standard_normal(len(segment))))) for _ in range(2))
    for capacity in (1, 2, 5):
        table = remembered(rule, strength, newest, segment, capacity)
        memory: list[int] = []
        for n in range(len(segment)):
            if n and segment[n] != segment[n - 1]:
                memory = []
            assert table[n].tolist() == [-1] * (capacity - len(memory)) + memory
            memory = [*memory, n]
            if len(memory) > capacity:
                s = [float(strength[i]) for i in memory[:-1]] + [float(newest[n])]
                r = retention(rule, memory, n, s)
                memory.pop(r.index(min(r)))


def test_under_salience_a_suspicious_clip_outlives_routine_but_not_for_ever():
    """Odds are bounded to 100 : 1 / 100, so it goes when it is 10,000 times as old as the oldest routine clip beside it."""
    layer = make_model(forgetting="salience", cache_keep_max_len=3).layers[0]
    memory, ages = make_model(forgetting="salience", cache_keep_max_len=3).empty_memory(1).layers[0], []
    with torch.no_grad():
        for n in range(60):
            odds = torch.tensor([1e9 if n == 5 else 1e-9])
            _, memory = layer.step(torch.randn(1, 4, WIDTH), memory, odds)
            ages.append(memory.age[0].tolist())
    assert ages[4] == [1, 0] and ages[6] == [1, 0] and ages[-1] == [54, 0]
    strength = torch.tensor([[100.0, 0.01, 0.01]], dtype=torch.float64)
    kept = [survivors("salience", strength, torch.tensor([[age, 1, 0]])).tolist() for age in (9_999, 10_001)]
    assert kept == [[[0, 2]], [[1, 2]]]


def test_the_model_remembers_by_its_own_scores():
    model = make_model(forgetting="salience", layers=1)
    clips, _ = videos([80], 4)
    odds = model.odds(clips + model.position)
    expected = model.head(model.linear(clips + model.position)).sigmoid().amax(1)
    torch.testing.assert_close(odds / (1 + odds), expected)
    assert not odds.requires_grad and make_model(forgetting="fifo").odds(clips) is None
    tables = [
        remembered(rule, odds.double(), odds.double(), torch.zeros(20, dtype=torch.int64), 3) for rule in ("salience", "fifo")
    ]
    assert not torch.equal(*tables)


def retention(rule, memory, n, s):
    """R of each remembered clip, one at a time; `fifo` has none: the oldest is the least."""
    if rule == "fifo":
        return list(range(len(memory)))
    last = len(memory) - 1
    t = [i / last if rule == "released" else (n - memory[i]) / (n - memory[0]) for i in range(len(memory))]
    return [np.exp(-t / s) for t, s in zip(t, s, strict=True)]


def test_memory_gets_no_gradient_and_every_used_weight_does():
    model = make_model()
    clips, starts = videos([40], 4)
    out = model(clips, starts, key_clips=False, scales=FUSE)
    out.logits.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    inputs = clips.clone().requires_grad_()
    model(inputs, starts, key_clips=False, scales=FUSE).logits[-1].sum().backward()
    assert inputs.grad[-1].abs().sum() > 0 and inputs.grad[:-1].abs().sum() == 0


def test_an_exit_empties_the_deeper_memories_and_keeps_the_others():
    model = make_model()
    clips, _ = videos([64], 4)
    memory = model.empty_memory(1)
    for clip in clips.split(1):
        out, memory = model.step(clip, memory, key_clips=False, scales=Select(0.55))
        exited = int(out.exit_layer)
        held = [bool((layer.age >= 0).any()) for layer in memory.layers]
        assert held == [depth <= exited for depth in (1, 2, 3)]


def test_every_kind_of_dropout_acts_in_training_only():
    clips, starts = videos([40], 4)
    for name in ("drop_rate", "drop_attn_rate", "drop_qkv_rate"):
        model = make_model(**{name: 0.5})
        logits = [model(clips, starts, key_clips=False, scales=FUSE).logits for _ in range(2)]
        assert torch.equal(*logits)
        model.train()
        logits = [model(clips, starts, key_clips=False, scales=FUSE).logits for _ in range(2)]
        assert not torch.equal(*logits), name
