"""From feature files to packed batches: the videos one after another, no padding between them, in an order that is a
function of seed and epoch alone.

Shapes: N clips (packed over videos), V videos, T snippets per clip, D width, L snippets of one video.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from files.features import checksum, load_features
from files.interrupt import SIGNALS, blocked, hear_children_where_waited_for, obey_parent_alone
from files.videos import Video

CLIPS_PER_TEST_BATCH = {"cpu": 512, "cuda": 8192}  # what fits the caches of the one and fills the other


class Batch(NamedTuple):
    """V videos, each zero-padded at its end to whole clips."""

    clips: Tensor  # (N, T, D) float32
    starts: Tensor  # (V,) int64, first clip of each video
    n_snippets: Tensor  # (V,) int64, without the padding
    anomalous: Tensor  # (V,) float32, the label; NaN where there is none
    names: list[str]

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for x in self))


def pack(features: Sequence[np.ndarray], window: int) -> tuple[Tensor, Tensor]:
    """(L, D) features of each video -> (N, window, D) float32 clips and (V,) int64 starts; of no video, (0, window, 0)."""
    width = features[0].shape[1] if features else 0
    n_clips = [-(-len(f) // window) for f in features]
    starts = np.cumsum([0, *n_clips])
    clips = np.zeros((starts[-1] * window, width), np.float32)
    for start, f in zip(starts, features, strict=False):
        clips[start * window : start * window + len(f)] = f
    return torch.from_numpy(clips).view(int(starts[-1]), window, width), torch.from_numpy(starts[:-1])


def real_snippets(batch: Batch, window: int) -> Tensor:
    """Which snippets of a batch's clips are real, not padding: (N, window) bool, on its device."""
    n_clips = (batch.n_snippets + window - 1) // window  # (V,)
    clip = torch.arange(int(n_clips.sum()), device=batch.starts.device) - batch.starts.repeat_interleave(n_clips)
    snippet = clip.unsqueeze(1) * window + torch.arange(window, device=clip.device)  # (N, window), of its video
    return snippet < batch.n_snippets.repeat_interleave(n_clips).unsqueeze(1)


def drop_snippets(features: np.ndarray, share: float, seed: int, name: str) -> np.ndarray:
    """The (L, D) features with a share of the snippets set to zero, the same ones for the same seed and name."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    dropped = rng.permutation(len(features))[: round(share * len(features))]
    features[dropped] = 0
    return features


class PackedVideos(Dataset):
    """Maps a list of rows, perhaps of none, to the `Batch` of those videos, or to the error that reading them raised."""

    def __init__(self, videos: Sequence[Video], *, window: int, width: int, zero_non_finite: bool, drop: float, seed: int):
        self.videos, self.window, self.width, self.zero_non_finite = videos, window, width, zero_non_finite
        self.drop, self.seed = drop, seed

    def __getitem__(self, rows: Sequence[int]) -> Batch | ValueError | OSError:
        videos = [self.videos[row] for row in rows]
        features = []
        try:
            for video in videos:
                loaded = load_features(video.path, self.width, self.zero_non_finite, place=video.place)
                if checksum(loaded) != video.checksum:
                    raise ValueError(f"{video.path}: has changed since the run began")
                features.append(drop_snippets(loaded, self.drop, self.seed, video.name) if self.drop else loaded)
        except (ValueError, OSError) as error:  # handed over, since a worker process would bury it in its own traceback
            return error
        clips, starts = pack(features, self.window)
        return Batch(
            clips,
            starts,
            torch.tensor([video.n_snippets for video in videos], dtype=torch.int64),
            torch.tensor([np.nan if video.anomalous is None else float(video.anomalous) for video in videos]),
            [video.name for video in videos],
        )


def load(dataset: PackedVideos, rows: Sequence[Sequence[int]], workers: int, device: torch.device) -> Iterator[Batch]:
    """The batches of these rows, in this order, read ahead by worker processes, on the device.

    Raises ValueError or OSError where a file can no longer be read.
    """
    loader = DataLoader(
        dataset,
        sampler=rows,
        batch_size=None,
        num_workers=min(workers, len(rows)),
        generator=torch.Generator(),  # its own, so that loading leaves the global random state alone
        worker_init_fn=obey_parent_alone,
        pin_memory=device.type == "cuda",
    )
    with SIGNALS.held(), blocked():  # worker processes begin here
        batches = iter(loader)
        hear_children_where_waited_for()
    whole = False
    try:
        for batch in received(batches):
            if not isinstance(batch, Batch):
                raise batch
            yield batch.to(device)
        whole = True
    finally:  # they end here; where this is closed before, whoever does so hears what is asked
        with (SIGNALS.held if whole else SIGNALS.delayed)():
            del batches


def received(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches of a loader. Raises OSError where one of its processes has died, as where shared memory is short."""
    try:
        yield from batches
    except RuntimeError as error:
        if not any(what in str(error) for what in ("DataLoader worker", "Pin memory thread")):
            raise
        what = f"a process that reads features has died ({str(error).splitlines()[0]})"
        raise OSError(f"{what}; pass --workers 0, or give this machine or container more (shared) memory") from error


def alternate(anomalous: Sequence[bool], *, seed: int, epoch: int) -> list[int]:
    """UCF-Crime's order, and an own set's, whose kinds may be of any size: one normal and one anomalous video in turn, as many
    of each as the rarer kind has, others in each epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    kinds = np.asarray(anomalous, bool)
    normal, anomaly = rng.permutation(np.flatnonzero(~kinds)), rng.permutation(np.flatnonzero(kinds))
    n = min(len(normal), len(anomaly))
    return np.stack((normal[:n], anomaly[:n]), 1).ravel().tolist()


def shuffle(anomalous: Sequence[bool], *, seed: int, epoch: int) -> list[int]:
    """XD-Violence's order: all videos, shuffled."""
    return np.random.default_rng([seed, epoch]).permutation(len(anomalous)).tolist()


SAMPLERS = {"ucf": alternate, "xd": shuffle, "own": alternate}


def training_batches(videos: Sequence[Video], data_set: str, *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each batch of an epoch: a function of the seed and the epoch alone."""
    order = SAMPLERS[data_set]([video.anomalous for video in videos], seed=seed, epoch=epoch)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def shares(n_clips: Sequence[int], n: int) -> list[list[int]]:
    """The places of a batch's videos divided over n processes, about as many clips to each; a share may be empty.

    n_clips: of each video. The longest comes first, each to whom has the fewest clips by then.
    """
    parts: list[list[int]] = [[] for _ in range(n)]
    load = [0] * n
    for place in sorted(range(len(n_clips)), key=lambda i: -n_clips[i]):
        least = load.index(min(load))
        parts[least].append(place)
        load[least] += n_clips[place]
    return [sorted(part) for part in parts]


def test_batches(videos: Sequence[Video], window: int, device: torch.device) -> list[list[int]]:
    """All rows in their order, as many videos to a batch as `CLIPS_PER_TEST_BATCH` has room for, at least one."""
    room = CLIPS_PER_TEST_BATCH[device.type]
    batches, n_clips = [], room
    for row, video in enumerate(videos):
        n = -(-video.n_snippets // window)
        if n_clips + n > room:
            batches.append([])
            n_clips = 0
        batches[-1].append(row)
        n_clips += n
    return batches


def hold_out(videos: Sequence[Video], share: float, seed: int) -> tuple[list[Video], list[Video]]:
    """Training and validation videos: a share of each class, one crop of each validated.

    All crops of a video stand on one side, and so do videos with the same content under several names; where such disagree on
    the class they are trained on. Raises ValueError where crops of a video disagree, or a side would lack a class.
    """
    groups = alike(videos)
    rng = np.random.default_rng([seed, 1])
    held: set[int] = set()
    for kind in (False, True):
        ids = [i for i, group in enumerate(groups) if {video.anomalous for video in group} == {kind}]
        n = round(share * len(ids))
        if not 0 < n < len(ids):
            raise ValueError(
                f"--val-share {share} of {len(ids)} {'anomalous' if kind else 'normal'} videos leaves one side with none"
            )
        held.update(ids[i] for i in rng.permutation(len(ids))[:n])
    names = {video.name for i in held for video in groups[i]}
    return [video for video in videos if video.name not in names], [groups[i][0] for i in sorted(held)]


def alike(videos: Sequence[Video]) -> list[list[Video]]:
    """The videos in groups of one name or the same content. Raises ValueError where crops of a video disagree on the class."""
    from scipy.sparse import coo_array  # slow to import, and only --val-share needs them
    from scipy.sparse.csgraph import connected_components

    first: dict[str | tuple[int, int], int] = {}  # by name, and by content, of which a checksum alone says too little
    keys = [(video.name, (video.n_snippets, video.checksum)) for video in videos]
    pairs = [(i, first.setdefault(key, i)) for i, of_video in enumerate(keys) for key in of_video]
    for video in videos:
        crop = videos[first[video.name]]
        if crop.anomalous is not video.anomalous:
            raise ValueError(f"{video.path} is {video.label}, but another crop of it is {crop.label}; mend the training list")
    n, rows = len(videos), np.array(pairs).T
    n_groups, group_of = connected_components(coo_array((np.ones(rows.shape[1]), tuple(rows)), shape=(n, n)), directed=False)
    groups: list[list[Video]] = [[] for _ in range(n_groups)]
    for video, group in zip(videos, group_of, strict=True):
        groups[group].append(video)
    return groups
