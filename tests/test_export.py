"""A model outside Python: the graph is the step, onnxruntime runs it, and what is no such file is refused."""

import copy
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import WIDTH, call, make_model, refused, walk

import lshma
import model
import option
from files import checkpoint
from option import FORGETTING, parse, resolve_variant
from outside import onnx_file
from outside.graph import Graph, names_of, to_fields, to_memory
from ucf_option import parser
from video import encoders
from video.encoders import encoder

THRESHOLD = 0.55
RESETS = 0.05


def small(**changed):
    """A small model, and options of testing that make key clips and early exits matter."""
    options = parse(parser, ["--visual-width", str(WIDTH), "--visual-layers", "2", "--p", "0.5", "--keyclip-test"])
    resolve_variant(options)
    vars(options).update({"exit_threshold": THRESHOLD} | changed)
    sizes = {"layers": options.visual_layers, "cache_keep_max_len": options.cache_keep_max_len, "head": options.head}
    rule = {"forgetting": options.forgetting, "attn_merge": options.attn_merge}
    mild = {"shift": 0.3, "sharp": 2.0}  # else what float32 rounds grows to 1e-5 in PyTorch, too
    made = make_model(**sizes, **rule, **mild, change=model.change_of(options))
    for parameter in made.parameters():
        if not parameter.any():  # the linear head, and the weights of change
            torch.nn.init.normal_(parameter, std=0.003)
    return made, options


def require_alike(of_graph, fields, made, options, n_streams, n_clips):
    """That a graph, from these empty fields, is the step: of streams that are reset at random and have snippets of zeros."""
    how, window = {"key_clips": options.keyclip_test, "scales": model.scales_of(options)}, options.attn_window
    videos = torch.from_numpy(np.stack([walk(n_clips * window, seed=i) for i in range(n_streams)]))
    videos[:, 5 * window + 1 : 7 * window] = 0
    memory, rng, seen = made.empty_memory(n_streams), np.random.default_rng(n_streams), set()
    for clips in videos.split(window, 1):
        reset = torch.from_numpy(rng.random((n_streams, 1)) < RESETS)
        (anew,) = reset[:, 0].nonzero(as_tuple=True)
        out, memory = made.step(clips, memory.put(anew, made.empty_memory(len(anew))), **how)
        logits, exit_layer, key, *fields = of_graph([clips, reset, *fields])
        torch.testing.assert_close(logits, out.logits, rtol=1e-5, atol=1e-5)  # of odds up to e^50
        assert exit_layer[:, 0].tolist() == out.exit_layer.tolist() and key[:, 0].tolist() == out.key.tolist()
        for found, expected in zip(to_memory(fields, memory).layers, memory.layers, strict=True):
            assert torch.equal(found.age, expected.age)
        seen |= {*zip(out.exit_layer.tolist(), out.key.tolist(), strict=True)}
    return seen


@torch.inference_mode()
@pytest.mark.parametrize("merge", ["token", "interleave"])
@pytest.mark.parametrize("forgetting", sorted(FORGETTING))
def test_the_graph_is_the_step_under_every_rule_merge_and_scale(forgetting, merge):
    ours = {"head": "linear", "motion": 2.0, "novelty": 1.0, "channels": True}
    for changed in (ours, {"scales": "fuse"}, {"exit_threshold": 1.0, "keyclip_test": False}):
        made, options = small(forgetting=forgetting, attn_merge=merge, **changed)
        graph = Graph(made, key_clips=options.keyclip_test, scales=model.scales_of(options))
        require_alike(lambda values, g=graph: g(*values), to_fields(made.empty_memory(3)), made, options, 3, 12)


@torch.inference_mode()
@pytest.mark.parametrize("changed", [{"visual_layers": 0, "motion": 2.0}, {"cache_keep_max_len": 1}, {"cache_keep_max_len": 2}])
def test_the_graph_is_the_step_without_layers_and_without_memory(changed):
    made, options = small(**changed)
    graph = Graph(made, key_clips=True, scales=model.scales_of(options))
    require_alike(lambda values: graph(*values), to_fields(made.empty_memory(2)), made, options, 2, 12)


def of_columns():
    """An encoder that takes no time."""
    network = torch.nn.Conv2d(3, WIDTH, 32, 32, dtype=torch.float32)
    return encoder("efficientnet-lite0", WIDTH, {}, lambda x: network(x / 255).mean((2, 3)), torch.device("cpu"), at_once=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint, what export.py makes of it and of an encoder, and both as they are in PyTorch."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    path, columns, (inside, options) = tmp_path_factory.mktemp("export"), of_columns(), small()
    content = {"model": inside.state_dict(), "options": vars(options) | {"given": [], "model_path": "/home/me"}}
    checkpoint.save(path / "best.pt", content | {"video_threshold": 0.75})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encoders.ENCODERS, "efficientnet-lite0", lambda *_: columns)
        done = call("export.py", path / "best.pt", "--out", path / "model.onnx", "--encoder", "efficientnet-lite0")
    assert done.code == 0, done.err
    files = {"best": path / "best.pt", "file": path / "model.onnx", "of_encoder": path / "model-efficientnet-lite0.onnx"}
    return SimpleNamespace(inside=inside, options=options, columns=columns, said=done.out, **files)


@torch.inference_mode()
@pytest.mark.parametrize(("n_streams", "n_clips"), [(1, 40), (2, 40), (7, 300)])
def test_onnxruntime_steps_any_number_of_streams_as_pytorch(made, n_streams, n_clips):
    exported = lshma.load(made.file).model
    empty = to_fields(exported.empty_memory(n_streams))
    assert not any(field.any() for field in empty), "an empty memory is all zeros"

    def run(values):
        return [torch.from_numpy(value) for value in exported.run(values)]

    seen = require_alike(run, empty, made.inside, made.options, n_streams, n_clips)
    assert n_streams == 1 or {(1, True), (2, True), (1, False), (2, False)} == seen


@torch.inference_mode()
@pytest.mark.parametrize("changed", [
    {"forgetting": "released", "attn_merge": "interleave"},
    {"forgetting": "salience", "scales": "fuse", "head": "linear", "motion": 2.0, "novelty": 1.0, "channels": True},
])  # fmt: skip
def test_onnxruntime_steps_every_rule_and_judge_as_pytorch(tmp_path, changed):
    pytest.importorskip("onnxruntime")
    inside, options = small(**changed)
    content = {"model": inside.state_dict(), "options": vars(options) | {"given": []}, "video_threshold": 0.75}
    checkpoint.save(tmp_path / "best.pt", content)
    assert call("export.py", tmp_path / "best.pt", "--out", tmp_path / "model.onnx").code == 0
    exported = lshma.load(tmp_path / "model.onnx").model

    def run(values):
        return [torch.from_numpy(value) for value in exported.run(values)]

    require_alike(run, to_fields(exported.empty_memory(3)), inside, options, 3, 30)


def test_the_file_names_its_tensors_in_one_order_and_says_what_it_is(made):
    import onnx

    graph = onnx.load(made.file)
    onnx.checker.check_model(graph)
    names = [[value.name for value in values] for values in (graph.graph.input, graph.graph.output)]
    (clips, reset, *memory), (*out, logits) = names[0], names[1][:3]
    assert (clips, reset, *out, logits) == ("clips", "reset", "logits", "exit_layer", "key")
    following = names[1][3:]
    assert memory == sorted(memory) and following == sorted(following)
    assert [name.removeprefix("memory_") for name in memory] == [name.removeprefix("next_") for name in following]
    assert [name[len("memory_000_") :] for name in memory] == list(names_of(made.inside.empty_memory(1)))
    first = {value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.graph.input, *graph.graph.output)}
    assert first == {"streams"}
    (told,) = [json.loads(entry.value) for entry in graph.metadata_props if entry.key == "lshma"]
    assert told["options"]["exit_threshold"] == THRESHOLD and told["video_threshold"] == 0.75
    assert [(field["input"], field["output"]) for field in told["memory"]] == list(zip(memory, following, strict=True))
    assert told["memory"][3]["shape"] == [-1, 3, 4, WIDTH // 2] and told["memory"][4]["type"] == "float64"
    assert "/home/me" not in json.dumps(told) and "exit-threshold 0.55" in made.said


def test_a_program_runs_the_file_as_the_checkpoint(made, monkeypatch, tmp_path):
    inside, outside = lshma.load(made.best, device="cpu"), lshma.load(made.file, smooth="causal")
    assert outside.video_threshold == 0.75 and outside.trained["p"] == 0.5 and outside.options.smooth == "causal"
    video = walk(61)
    np.testing.assert_allclose(lshma.load(made.file).score(video), inside.score(video), rtol=0, atol=1e-6)
    monkeypatch.chdir(made.file.parent)
    near = lshma.load(made.file.name, smooth="causal")
    monkeypatch.chdir(tmp_path)  # it is found from elsewhere too
    np.testing.assert_array_equal(copy.deepcopy(near).score(video), outside.score(video))
    of_each = []
    for detector in (inside, outside):
        streams = detector.stream()
        streams.add("a", "b")
        streams.push({"a": video[:30]})
        streams.add("c")
        streams.restore("d", streams.state("a"))
        of_each.append(streams.push(dict.fromkeys("abcd", video)))
    for name, expected in of_each[0].items():
        np.testing.assert_allclose(of_each[1][name].logits, expected.logits, rtol=0, atol=1e-5)
        assert (of_each[1][name].exit_layer == expected.exit_layer).all() and (of_each[1][name].key == expected.key).all()


def test_videos_are_scored_by_the_file(made, run, tmp_path, undrawn):
    np.save(tmp_path / "a.npy", walk(45))
    np.save(tmp_path / "b.npy", walk(9))
    said = [run("predict.py", tmp_path, "--model-path", path, "--workers", 0, "--device", "cpu", "--out-dir", tmp_path / name)
            for name, path in (("inside", made.best), ("outside", made.file))]  # fmt: skip
    assert [done.code for done in said] == [0, 0], said[1].err
    scores = [np.load(tmp_path / name / "scores.npz")["scores"] for name in ("inside", "outside")]
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-6)
    asked = run("predict.py", tmp_path, "--model-path", made.file, "--exit-threshold", 0.7, "--out-dir", tmp_path / "other")
    refused(asked, made.file, "exit-threshold 0.55", "0.7", "export the checkpoint again")
    assert not (tmp_path / "other").exists()


def test_what_is_fixed_in_the_file_is_not_asked_otherwise(made):
    for name, value in (("keyclip_test", False), ("scales", "fuse"), ("precision", "bf16")):
        with pytest.raises(ValueError, match=f"{name[:5]}.*here it is {value}"):
            lshma.load(made.file, **{name: value})
    with pytest.raises(ValueError, match=r"expected features of shape \(snippets, 128\)"):
        lshma.load(made.file).score(walk(8, 64))


def test_the_encoder_is_written_beside_it(made):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    session, told = onnx_file.read(made.of_encoder)
    (found,) = session.run(None, {"pictures": pictures})
    np.testing.assert_allclose(found, made.columns.encode(pictures), rtol=1e-4, atol=1e-5)
    assert told["encoder"] == "efficientnet-lite0" and told["width"] == WIDTH
    with pytest.raises(ValueError, match="an image encoder's"):
        lshma.load(made.of_encoder)


def test_damaged_and_foreign_files_are_refused(made, tmp_path):
    import onnx

    content, path = made.file.read_bytes(), tmp_path / "wrong.onnx"
    for at in (*range(0, len(content), len(content) // 20), len(content) - 1):
        flipped = bytearray(content)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"wrong.onnx: .*damaged"):
            lshma.load(path)
    older, told = onnx_file.read(made.file)[1], {"video_threshold": None}
    told |= {"memory": older["memory"], "options": {k: v for k, v in older["options"].items() if k not in option.ADDED}}
    onnx_file.write(path, onnx.load(made.file), told)
    assert lshma.load(path).options.channels is False, "of before there were such"
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    for wrong in (b"", content[:1000], made.best.read_bytes(), foreign.SerializeToString()):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"wrong.onnx: no file as export.py writes them"):
            lshma.load(path)
    onnx_file.write(path, onnx.ModelProto(), {})
    with pytest.raises(ValueError, match=r"onnxruntime .* refuses it"):
        lshma.load(path)
    with pytest.raises(FileNotFoundError, match=r"python export.py CHECKPOINT --out .*none.onnx"):
        lshma.load(tmp_path / "none.onnx")


def test_without_the_extra_the_remedy_is_named(made, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"onnxruntime is not installed; pip install -r requirements-export.txt"):
        lshma.load(made.file)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(run("export.py", made.best, "--out", tmp_path / "a.onnx"), "onnxscript is not installed", "requirements-export.txt")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused_before_anything_is_written(made, run, tmp_path, monkeypatch):
    before, new = made.file.read_bytes(), tmp_path / "new.onnx"
    refused(run("export.py", made.best, "--out", made.file), made.file, "there already", "--overwrite")
    refused(run("export.py", made.best, "--out", tmp_path / "new"), "ends in .onnx")
    refused(run("export.py", made.file, "--out", new), "exported already")
    refused(run("export.py", made.best, "--out", new, "--weights", "a.pt"), "--encoder")
    refused(run("export.py", made.best, "--out", new, "--exit-threshold", 2), "--exit-threshold must be")
    refused(run("export.py", tmp_path / "no.pt", "--out", new), "no.pt")
    refused(run("export.py", made.best, "--out", new, "--encoder", "efficientnet-lite0"), "1280", "128")
    untraceable = made.columns._replace(vectors=lambda x: x if x.sum() else -x)
    monkeypatch.setitem(encoders.ENCODERS, "efficientnet-lite0", lambda *_: untraceable)
    refused(run("export.py", made.best, "--out", new, "--encoder", "efficientnet-lite0"), "no graph of it", "--encoder out")
    assert not list(tmp_path.iterdir()) and made.file.read_bytes() == before
