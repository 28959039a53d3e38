"""Turn a folder of features in other shapes into ours: a float16 or float32 `.npy` file `(L, D)` for each video and crop.

    python list/split_crops.py I3D --out FEATURES

Takes `.npy`, `.npz` and `.pt` files of one array each: ten, five or one crops in one file, (C, L, D) or (L, C, D); or one
crop, (L, D) or transposed, (D, L). The width D is the length that all files share; where that does not tell, --width does.
Folders stay as they are; crops go to `name__0.npy` ... `name__9.npy`. Each file that cannot be turned is named, and then
nothing is written.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from files import atomic, npy
from files.crops import COUNTS
from files.layouts import feature_files
from files.lists import several
from files.names import N_CROPS, is_hidden, name_and_crop
from files.progress import bar
from option import Parser
from running.command import exit_codes


def read_array(path: Path) -> np.ndarray:
    """The one array in a .npy, .npz or .pt file. Raises ValueError where there is not one of two or three axes of floats."""
    if path.suffix.lower() == ".npy":
        arrays = [npy.open_array(path, "an array")]
    elif path.suffix.lower() == ".npz":
        arrays = arrays_of(path)
    else:
        arrays = tensors_of(path)
    if len(arrays) != 1 or arrays[0].ndim not in (2, 3) or arrays[0].dtype.kind != "f" or 0 in arrays[0].shape:
        kinds = ", ".join(f"{array.dtype} {array.shape}" for array in arrays) or "nothing"
        raise ValueError(f"{path}: expected one array of floats with two or three axes, found {kinds}")
    return arrays[0]


def arrays_of(path: Path) -> list[np.ndarray]:
    """All arrays of a .npz file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in archive.files]
    except npy.NOT_NPZ as error:
        raise ValueError(f"{path}: not a whole .npz file of plain arrays") from error


def tensors_of(path: Path) -> list[np.ndarray]:
    """All tensors of a file of torch.save, a bare one or the values of a dict; nothing in it is executed."""
    from files import checkpoint

    content = checkpoint.read(path)
    tensors = content.values() if isinstance(content, dict) else [content]
    arrays = []
    for tensor in tensors:
        if hasattr(tensor, "numpy"):
            dense = str(tensor.layout) == "torch.strided" and not tensor.is_nested and tensor.device.type == "cpu"
            if not (dense and tensor.is_floating_point()):
                raise ValueError(
                    f"{path}: expected plain tensors of floating-point numbers, found {tensor.dtype}, {tensor.layout}"
                )
            arrays.append(tensor.detach().float().numpy())
    return arrays


def width_of(shapes: list[tuple[int, ...]], told: int | None) -> int:
    """The width D: what was told, or the length that all shapes share beside the crops. Raises ValueError."""
    if told is not None:
        return told
    shared = set.intersection(*(set(shape if len(shape) == 2 else shape[2:]) for shape in shapes))
    if len(shared) != 1:
        raise ValueError(f"the files share {sorted(shared) or 'no'} lengths, so that the width is not clear; pass --width")
    return shared.pop()


def axes_of(shapes: Mapping[Path, tuple[int, ...]]) -> dict[Path, int]:
    """On which axis the crops of each array of three are, 0 or 1: ten, five or one; of an array where both may be, as in those
    where only one may be, else where there are ten. Raises ValueError that names one of which that is not clear.
    """
    several = {path: shape[:2] for path, shape in shapes.items() if len(shape) == 3}
    possible = {path: {(axis, n) for axis, n in enumerate(shape) if n in COUNTS} for path, shape in several.items()}
    known = set().union(*(of for of in possible.values() if len(of) == 1))
    axes = {}
    for path, of in possible.items():
        likely = of if len(of) == 1 else of & known or {(axis, n) for axis, n in of if n == N_CROPS}
        if len(likely) != 1:
            what = f"which axis are the crops? Expected (C, L, D) or (L, C, D) of {', '.join(map(str, COUNTS))} crops"
            raise ValueError(f"{path}: shape {shapes[path]}: {what}; split this one by hand")
        ((axes[path], _),) = likely
    return axes


def crops_of(array: np.ndarray, width: int, axis: int | None) -> list[np.ndarray]:
    """The (L, D) crops of an array, one, or several on this axis. Raises ValueError of another width."""
    if array.ndim == 2:
        if width not in array.shape:
            raise ValueError(f"shape {array.shape} has no axis of the width {width}")
        return [array if array.shape[1] == width else array.T]
    if array.shape[2] != width:
        raise ValueError(f"shape {array.shape} has not the width {width} on its last axis")
    return list(np.moveaxis(array, axis, 0))


def targets(path: Path, root: Path, out: Path, n_crops: int) -> list[Path]:
    """Where the crops of a file go."""
    name, crop = name_and_crop(path)
    folder = out / path.relative_to(root).parent
    if n_crops == 1:
        return [folder / (f"{name}.npy" if crop is None else f"{name}__{crop}.npy")]
    if crop is not None:
        raise ValueError(f"holds {n_crops} crops, but its name says that it is crop {crop}")
    return [folder / f"{name}__{i}.npy" for i in range(n_crops)]


def split(root: Path, out: Path, width: int | None) -> None:
    """Write the crops of all files below `root` to the same folders below `out`. Raises before anything is written."""
    if not root.is_dir() or out.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{root}: no such folder, or --out {out} lies in it; write to a folder elsewhere")
    paths = sorted(feature_files(root))
    hidden = [path for path in paths if is_hidden(path)]
    paths = [path for path in paths if not is_hidden(path)]
    if hidden:
        print(several(f"{len(hidden)} hidden files are left out", map(str, hidden)), file=sys.stderr)
    if not paths:
        raise FileNotFoundError(f"{root}: no .npy, .npz or .pt files in it")
    shapes, bad = {}, []
    for path in bar(paths, "looking", len(paths), unit="file"):
        try:
            array = read_array(path)
            if array.dtype.itemsize > 4 and np.abs(array).max() > np.finfo(np.float32).max:
                raise ValueError(f"{path}: holds values beyond float32; extract the features again")
            shapes[path] = array.shape
        except (ValueError, OSError) as error:
            bad.append(str(error))
    axes = axes_of(shapes) if not bad else {}
    width = width_of(list(shapes.values()), width) if not bad else width
    owner: dict[Path, Path] = {}
    for path, shape in shapes.items() if not bad else ():
        try:
            crops = crops_of(np.broadcast_to(np.float32(0), shape), width, axes.get(path))
            for crop, target in zip(crops, targets(path, root, out, len(crops)), strict=True):
                if owner.setdefault(target, path) != path:
                    raise ValueError(f"would go to {target}, as {owner[target]} does")
                if target.exists() and np.load(target, mmap_mode="r").shape != crop.shape:
                    raise ValueError(f"would replace {target}, which holds other features; choose another --out")
        except (ValueError, EOFError) as error:
            bad.append(f"{path}: {error}")
    if bad:
        raise ValueError(several(f"{len(bad)} of {len(paths)} files cannot be turned", bad))
    for path in bar(paths, "writing", len(paths), unit="file"):
        crops = crops_of(read_array(path), width, axes.get(path))
        for crop, target in zip(crops, targets(path, root, out, len(crops)), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic.replacing(target) as file:
                np.save(file, np.ascontiguousarray(crop, np.float16 if crop.dtype == np.float16 else np.float32))
    kinds = ", ".join(map(str, list(dict.fromkeys(shapes.values()))[:3]))
    print(f"{out}: {len(owner):,} files of width {width} from {len(paths):,} of shapes like {kinds}")


parser = Parser("Turn features of other shapes into ours: a .npy file (L, D) for each video and crop.")
parser.add_argument("root", type=Path, help="folder of .npy, .npz or .pt files")
parser.add_argument("--out", type=Path, required=True, help="folder to write to")
parser.add_argument("--width", type=int, help="width D of the features (None = the length that all files share)")

if __name__ == "__main__":
    args = parser.parse_args()
    with exit_codes():
        split(args.root, args.out, args.width)
