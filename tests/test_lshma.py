"""LSHMA in a program of one's own: a video, cameras that come and go, and the program's own modules beside ours."""

import copy
import subprocess
import sys

import golden
import long_streams
import numpy as np
import pytest
import torch
from conftest import ROOT, WIDTH, make_model, walk

import lshma
from evaluation.scores_file import read_record
from hma import RULES
from model import StreamMemory
from option import parse, resolve_variant
from running import loading
from ucf_option import parser

CPU = torch.device("cpu")


def detector(smooth="causal", **changed):
    options = parse(parser, ["--smooth", smooth, "--keyclip-test", "--exit-threshold", "0.55"])
    options.visual_width = WIDTH
    resolve_variant(options)
    return lshma.Detector(make_model(**changed), options, CPU)


def in_pieces(features, seed):
    """The snippets in pieces of 0 to 9."""
    rng, at = np.random.default_rng(seed), 0
    while at < len(features):
        n = int(rng.integers(10))
        yield features[at : at + n]
        at += n


@pytest.mark.parametrize(("smooth", "forgetting"), [("causal", "ebbinghaus"), ("none", "salience"), ("causal", "released")])
def test_cameras_that_come_late_in_pieces_score_as_their_whole_videos(smooth, forgetting):
    model = detector(smooth, forgetting=forgetting)
    videos = {name: walk(length, seed=i) for i, (name, length) in enumerate({"a": 90, "b": 33, "c": 7, "d": 64}.items())}
    whole = {name: model.score(features) for name, features in videos.items()}
    streams, found = model.stream(), {name: [] for name in videos}
    coming = [(name, in_pieces(features, i)) for i, (name, features) in enumerate(videos.items())]
    running = {}
    for turn in range(100):
        if turn % 5 == 0 and coming:
            name, pieces = coming.pop(0)
            streams.add(name)
            running[name] = pieces
        new = {name: next(pieces, None) for name, pieces in running.items()}
        for name in [name for name, piece in new.items() if piece is None]:
            found[name].append(streams.finish(name))
            del running[name], new[name]
        for name, scored in streams.push(new).items():
            found[name].append(scored)
    assert not coming and not running and not streams.cameras
    for name, expected in whole.items():
        parts = [part for part in found[name] if part]
        assert [part.first for part in parts] == list(np.cumsum([0, *(len(part.scores) for part in parts)])[:-1])
        np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), expected, rtol=0, atol=1e-5)
        assert len(np.concatenate([part.exit_layer for part in parts])) == len(expected)


def test_a_camera_that_is_reset_or_dropped_forgets_and_the_others_do_not_notice():
    model, (a, b) = detector(), (walk(40, seed=1), walk(40, seed=2))
    streams = model.stream()
    streams.add("a", "b", "c")
    streams.push({"a": a[:20], "b": b[:20], "c": a})
    streams.drop("c")
    streams.reset("a")
    after = streams.push({"a": b[:20], "b": b[20:]})
    assert after["a"].first == 0 and after["b"].first == 20
    np.testing.assert_allclose(after["a"].scores, model.score(b)[:20], rtol=0, atol=1e-5)
    np.testing.assert_allclose(after["b"].scores, model.score(b)[20:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_that_is_ready_scores_as_the_one_it_is_a_copy_of(precision):
    """In bf16 as far from float32 as that is."""
    exact, plain, ready = detector(), detector(), detector()
    plain.options.precision = ready.options.precision = precision
    plain.model.train()
    ready.model = loading.ready(plain.model, ready.options, CPU)
    assert plain.model.training and not ready.model.training and type(plain.model.linear) is torch.nn.Linear
    plain.model.eval()
    found = []
    for one in (exact, plain, ready):
        cameras = one.stream()
        cameras.add("a", "b", "c")
        of_streams = cameras.push({name: walk(24, seed=seed) for seed, name in enumerate("abc")})
        found.append((one.score(walk(300, seed=3)), *(of_streams[name].logits for name in "abc")))
    errors, of_plain = (np.concatenate([abs(a - b) for a, b in zip(of, found[0], strict=True)]) for of in (found[2], found[1]))
    assert errors.max() < 1e-5 if precision == "fp32" else errors.mean() < 2 * of_plain.mean(), (errors, of_plain)
    np.testing.assert_array_equal(copy.deepcopy(ready).score(walk(300, seed=3)), found[2][0])


@pytest.mark.parametrize("forgetting", sorted(RULES))
def test_a_camera_goes_on_from_its_state_in_another_program_to_the_bit(forgetting):
    """Stopped after any number of snippets, beside others that go on; the others' scores are as they were, too."""
    model = detector("none" if forgetting == "fifo" else "causal", forgetting=forgetting)
    a, b = walk(90, seed=1), walk(90, seed=2)
    for stop in (0, 1, 3, 4, 41, 77):
        before, after = model.stream(), model.stream()
        before.add("a", "b")
        before.push({"a": a[:stop], "b": b[:33]})
        kept = before.state("a"), before.state("b")
        ahead = before.push({"a": a[stop:], "b": b[33:]})
        after.restore("b", kept[1])  # in another order
        after.restore("a", kept[0])
        again = after.push({"a": a[stop:], "b": b[33:]})
        for name in "ab":
            for one, other in zip(ahead[name], again[name], strict=True):
                np.testing.assert_array_equal(one, other)
            for key, value in before.state(name).items():
                np.testing.assert_array_equal(value, after.state(name)[key])


def test_a_state_stands_alone_and_one_of_another_model_is_refused():
    streams, a = detector().stream(), walk(40, seed=1)
    streams.add("b", "a")
    streams.push({"a": a[:21], "b": a})
    state = streams.state("a")
    kept = {name: value.copy() for name, value in state.items()}
    streams.push({"a": a[21:]})
    assert state.keys() == kept.keys() and all((state[name] == kept[name]).all() for name in kept)
    with pytest.raises(ValueError, match="'a' is there already"):
        streams.restore("a", state)
    without = {name: value for name, value in state.items() if name != "last"}
    longer, whole = detector(layers=2).stream(), {**state, "waiting": a[:4]}
    cases = ((streams, without, "last is missing"), (longer, state, "memory_.*too much.*another model"))
    cases += (
        (streams, {**state, "last": state["last"].astype(float)}, "last: expected float32"),
        (streams, whole, r"waiting.*\(4"),
    )
    cases += ((detector(cache_keep_max_len=6).stream(), state, "memory_3: expected float32 of shape .*found"),)
    for into, wrong, words in cases:
        names = list(into.cameras)
        with pytest.raises(ValueError, match=f"'new' cannot go on: {words}"):
            into.restore("new", wrong)
        assert list(into.cameras) == names


def test_what_cannot_be_is_refused_and_changes_nothing():
    model = detector()
    streams = model.stream()
    streams.add("a")
    with pytest.raises(ValueError, match="there already"):
        streams.add("a")
    for wrong, words in (
        (walk(3, 64), "128"),
        (1j * walk(3), "complex"),
        (walk(3).astype(str), "real numbers"),
        (np.full((2, WIDTH), np.nan), "NaN"),
        (np.full((2, WIDTH), 1e19), "beyond 1e"),
    ):
        with pytest.raises(ValueError, match=words):
            streams.push({"a": wrong})
        with pytest.raises(ValueError, match=words):
            model.score(wrong)
    both = {"a": walk(3), "b": walk(3)}
    for act, of in ((streams.push, [both]), (streams.drop, "ab"), (streams.reset, "ab"), (streams.finish, "b")):
        with pytest.raises(KeyError, match="no camera 'b'; there are: 'a'"):
            act(*of)
    assert len(streams.cameras["a"].waiting) == 0 and len(model.score(walk(3)[:0])) == 0
    model.model.classifier.weight.data.fill_(3e38)
    with pytest.raises(ValueError, match="not finite"):
        model.score(walk(9))


def test_cameras_added_one_by_one_copy_the_memory_of_the_others_once(monkeypatch):
    """Each copied the memory of all before it: 2,000 small ones took 11 s."""
    streams, joined = detector().stream(), []
    join = StreamMemory.join
    monkeypatch.setattr(StreamMemory, "join", lambda self, *others: joined.append(len(others)) or join(self, *others))
    for i in range(50):
        streams.add(str(i))
    streams.push({"7": walk(4)})
    streams.push({"7": walk(4)})
    assert joined == [50]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda streams, piece: streams.drop("a", "nowhere"), KeyError),
        (lambda streams, piece: streams.reset("a", "nowhere"), KeyError),
        (lambda streams, piece: streams.add("d", "a"), ValueError),
        (lambda streams, piece: streams.add("d", "d"), ValueError),
        (lambda streams, piece: streams.push({"a": 5e37 * piece, "b": piece, "c": piece}), ValueError),
        (lambda streams, piece: streams.push({"c": piece, "a": 5e37 * piece}), ValueError),
    ],
)
def test_a_call_that_fails_changes_no_camera(wrong, error, monkeypatch):
    """A camera dropped beside an unknown one left its memory behind, and all cameras after it scored with a neighbour's."""
    model, videos = detector(), {name: walk(40, seed=i) for i, name in enumerate("abc")}
    streams = model.stream()
    streams.add(*videos)
    streams.push({name: video[:22] for name, video in videos.items()})
    with pytest.raises(error):
        wrong(streams, videos["b"][22:30])
    is_finite = lshma.finite
    with monkeypatch.context() as broken, pytest.raises(ValueError, match="logits of b are not finite"):
        broken.setattr("lshma.finite", lambda logits, whose: is_finite(logits if whose != "b" else logits * np.nan, whose))
        streams.push({name: video[22:30] for name, video in videos.items()})
    after = streams.push({name: video[22:] for name, video in videos.items()})
    assert [*streams.cameras] == [*videos]
    for name, video in videos.items():
        assert after[name].first == 20
        np.testing.assert_allclose(after[name].scores, model.score(video)[20:], rtol=0, atol=1e-5)


def test_a_camera_that_is_named_twice_is_dropped_or_reset_once():
    streams = detector().stream()
    streams.add("a", "b")
    streams.reset("a", "a")
    streams.drop("b", "b")
    assert [*streams.cameras] == ["a"] and streams.push({"a": walk(4)})["a"].first == 0


def test_a_checkpoint_of_ours_scores_as_its_test(trained, run):
    done = run("ucf_test.py", *trained.test_flags)
    assert done.code == 0, done.err
    record = read_record(trained.out / "scores.npz")
    model = lshma.load(trained.best, device="cpu")
    scores = [model.score(np.load(trained.path / "features" / path)) for path, _ in trained.test_rows]
    np.testing.assert_allclose(np.concatenate(scores), record.scores.scores, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="lr: no option of testing"):
        lshma.load(trained.best, lr=1)
    with pytest.raises(ValueError, match="drop_snippets: no option of testing"):
        lshma.load(trained.best, drop_snippets=0.5)
    with pytest.raises(ValueError, match="--exit-threshold must be"):
        lshma.load(trained.best, exit_threshold=2.0)
    wrong = {"keyclip_test": "False", "smooth_width": 2.5, "exit_threshold": "0.7", "smooth": None, "precision": None}
    for name, value in [*wrong.items(), ("smooth_width", True), ("smooth_pad", None)]:  # the first was taken for True
        with pytest.raises(ValueError, match=f"{name} must be .*, not {value!r}"):
            lshma.load(trained.best, **{name: value})
    assert lshma.load(trained.best, device="cpu", exit_threshold=1).options.exit_threshold == 1


def test_what_a_program_has_set_for_itself_changes_no_score_and_stays_as_it_is(trained):
    features = np.load(trained.path / "features" / trained.test_rows[0][0]).astype(np.float32)
    expected, turns = lshma.load(trained.best, device="cpu").score(features), torch.get_rng_state()
    lshma.load(trained.best, device=torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), turns)
    try:
        for dtype, device in ((torch.float64, "cpu"), (torch.bfloat16, "cpu"), (torch.float32, "meta")):
            torch.set_default_dtype(dtype)
            torch.set_default_device(device)
            np.testing.assert_array_equal(lshma.load(trained.best, device="cpu").score(features), expected)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    tensor = torch.from_numpy(features).double().requires_grad_()
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(lshma.load(trained.best, device="cpu").score(tensor), expected)


def test_cameras_that_cannot_be_dropped_or_reset_stay_as_they_are(trained, monkeypatch):
    cameras = lshma.load(trained.best, device="cpu").stream()
    cameras.add("a", "b")
    cameras.push({name: walk(9, seed=seed) for seed, name in enumerate("ab")})
    before = {name: cameras.state(name) for name in "ab"}

    def full(*_):
        raise RuntimeError("out of memory")

    for part, change in (("take", cameras.drop), ("put", cameras.reset)):
        with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="out of memory"):
            broken.setattr(lshma.StreamMemory, part, full)
            change("a")
        after = {name: cameras.state(name) for name in "ab"}
        assert [*cameras.cameras] == ["a", "b"]
        for name, fields in before.items():
            assert all(np.array_equal(fields[field], after[name][field]) for field in fields)
    with pytest.raises(ValueError, match="'c' cannot go on: last: expected the last 7 of 8 logits, found 6"):
        cameras.restore("c", before["a"] | {"last": before["a"]["last"][1:]})
    with pytest.raises(KeyError, match="no camera 'zz'"):
        cameras.state("zz")


def test_a_program_in_any_folder_may_have_modules_of_our_names(tmp_path):
    """On the authors' file, in a folder with a model.py and an option.py of its own, from before and from after the import."""
    config = {"seed": 1, "visual_layers": 2, "attn_window": 4, "classifier_bias": 0.0}
    torch.save({"model_state_dict": golden.released_state(config, WIDTH)}, tmp_path / "model_ucf.pth")
    (tmp_path / "model.py").write_text("mine = 1\n")
    (tmp_path / "option.py").write_text("mine = 2\n")
    (tmp_path / "metrics.py").write_text("mine = 3\n")  # which lshma itself does not import
    program = "import sys; sys.modules['report'] = None\n"  # how an import is blocked
    program += "import metrics, model, lshma, option, sys, torch\nassert (model.mine, option.mine, metrics.mine) == (1, 2, 3)\n"
    program += "assert 'hma' not in sys.modules\n"
    program += f"print(lshma.load('model_ucf.pth', device='cpu').score(torch.zeros(9, {WIDTH})).shape)"
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "(9,)\n", done.stderr


def test_in_our_own_programs_each_module_is_there_once():
    program = "import files.atomic, lshma, model, files.checkpoint\nassert lshma.LSHMA is model.LSHMA\n"
    program += "assert lshma.Checkpoint is files.checkpoint.Checkpoint"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_streams_that_are_disturbed_cost_and_say_what_they_do_alone(capsys):
    crowd = long_streams.run(20, 400)
    assert crowd.n_alone >= 20 and crowd.apart < 1e-5
    said = capsys.readouterr().out.splitlines()
    n_files = [int(line.split()[-2]) for line in said[:10]]
    assert len(said) == 11 and n_files[-1] <= n_files[0], "files that stay open"
    fresh = crowd.fresh_streams()
    sizes = [[field.shape for layer in streams.memory.layers for field in layer] for streams in (crowd.streams, fresh)]
    assert sizes[0] == sizes[1], "a memory that grows"
