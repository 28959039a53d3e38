"""The drawings of a report's page: scores over time as steps, what is shaded behind them, and bands of a model below.

Widths are in whatever unit times are in, frames or seconds; a score of 1 is 100 high. A page stretches them.

Shapes: S snippets of a video.
"""

from collections.abc import Iterable

import numpy as np

LAYERS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # exit layers, first to last, told apart in grey too


def plot(length: float, curves: Iterable[tuple[str, str]], threshold: float | None, shaded: str = "") -> str:
    """One video's scores: curves, each its class and its path, over what is shaded; threshold: None = nobody knows one."""
    level = "" if threshold is None else f'<path class="threshold" d="M0 {100 - 100 * threshold:.1f}H{length:.10g}"/>'
    paths = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in curves)
    return (
        '<div class="plot"><div class="scale"><span>1</span><span>score</span><span>0</span></div>'
        f'<svg viewBox="0 0 {length:.10g} 100" preserveAspectRatio="none">{shaded}{level}{paths}</svg></div>'
    )


def steps(scores: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> str:
    """A curve that stays level for a snippet, as the commands of an SVG path: only where it changes is there a command.

    Where a snippet does not start as the one before ends, the curve breaks.
    """
    heights = np.round(100 - 100 * scores).astype(int)
    broken = starts[1:] != ends[:-1]
    commands = [f"M{starts[0]:.10g} {heights[0]}"]
    for at in np.flatnonzero((np.diff(heights) != 0) | broken) + 1:
        move = (
            f"H{ends[at - 1]:.10g}M{starts[at]:.10g} {heights[at]}" if broken[at - 1] else f"H{starts[at]:.10g}V{heights[at]}"
        )
        commands.append(move)
    return "".join([*commands, f"H{ends[-1]:.10g}"])


def bands(key: np.ndarray, exit_layer: np.ndarray, starts: np.ndarray, ends: np.ndarray, *, n_layers: int) -> str:
    """The drawing below a timeline: where clips are key, and the layer at which each stopped. All (S,)."""
    marked = "".join(
        f'<rect class="key" x="{start:.10g}" y="0" width="{width:.10g}" height="4"/>'
        for start, width, is_key in blocks(key, starts, ends)
        if is_key
    )
    layers = "".join(
        f'<rect x="{start:.10g}" y="6" width="{width:.10g}" height="8" style="fill:{colour_of(layer, n_layers)}"/>'
        for start, width, layer in blocks(exit_layer, starts, ends)
        if n_layers
    )
    return (
        f'<div class="plot"><div class="scale" style="height:14px"></div><svg class="bands" viewBox="0 0 {ends[-1]:.10g} 14" '
        f'preserveAspectRatio="none">{marked}{layers}</svg></div>'
    )


def blocks(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Iterable[tuple[float, float, int]]:
    """Start, width and value of each run of snippets of one value, without a break in time."""
    changes = np.flatnonzero((values[1:] != values[:-1]) | (starts[1:] != ends[:-1])) + 1
    first, last = np.append(0, changes), np.append(changes, len(values)) - 1
    return zip(starts[first], ends[last] - starts[first], values[first], strict=True)


def colour_of(layer: int, n_layers: int) -> str:
    """The colour of an exit layer, the model's layers spread over the scale."""
    return LAYERS[round(max(0, layer - 1) * (len(LAYERS) - 1) / (max(2, n_layers) - 1))]


def of_bars(n_layers: int) -> str:
    """What the bars of `bands` are, in words."""
    return f"Bars {'above the layers' if n_layers else 'below a timeline'}: key clips."


def swatches(entries: Iterable[tuple[str, str]], n_layers: int | None) -> str:
    """What colours mean, each a colour and a text, and the layers' where a model has so many."""
    layers = range(1, (n_layers or 0) + 1)
    parts = [("swatch", *entry) for entry in entries]
    parts += [("swatch layer", colour_of(layer, n_layers), f"stopped at layer {layer}") for layer in layers]
    return " ".join(f'<span><i class="{kind}" style="background:{colour}"></i>{text}</span>' for kind, colour, text in parts)


def times(texts: Iterable[str]) -> str:
    """What stands below a drawing, evenly spread."""
    return f'<div class="time">{"".join(f"<span>{text}</span>" for text in texts)}</div>'
