"""The flags of extract.py: how features are made, and how videos are extracted."""

from option import BY_NAME, Flag, Range
from video.encoders import ENCODERS
from video.snippets import RULES

RATE = 30.0  # frames a second of the field's videos
HOW = (
    Flag("encoder", str, tuple(ENCODERS), "what makes a vector of a picture", "efficientnet-lite0"),
    Flag("weights", str, None, "clip: a Hugging Face folder or safetensors, OpenAI's ViT-B-16.pt, or open_clip's file"),
    Flag("rule", str, tuple(RULES), "how 16 frames become one vector; " + "; ".join(f"{k} = {v}" for k, v in RULES.items()),
         "mean"),
    Flag("frames_per_snippet", int, Range(1, 16), "frames that the mean is of; fewer are faster", 16),
)  # fmt: skip
OF_EXTRACTION = (
    Flag("by", str, ("frames", "time"), "frames = 16 frames in their order, as the field's features are; time = at --fps, "
         "whatever the video's own rate", "frames"),
    Flag("fps", float, Range(0.1, 1000), "--by time: frames a second; None = 30"),
    Flag("batch_size", int, Range(1, 4096), "pictures encoded at a time", 64),
    Flag("workers", int, Range(1, 256), "videos decoded at a time", 2),
    BY_NAME["device"],
)  # fmt: skip
