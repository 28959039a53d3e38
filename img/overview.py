"""Draw the overview figure: `python img/overview.py` writes img/overview.png."""

import os
from pathlib import Path

os.environ.pop("MPLBACKEND", None)  # that of a notebook may not be installed here
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


def box(axis, x, y, width, height, text, colour=GREY, size=9.5, fill=0.1, style="round,pad=0.02,rounding_size=0.08"):
    """A rounded box with centred text; x and y are its lower left corner."""
    axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, alpha=fill, linewidth=0))
    axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor="none", edgecolor=colour, linewidth=1.2))
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, linespacing=1.35)


def arrow(axis, start, end, colour="#333333", style="-|>", curve=0.0, dashed=False):
    shape = dict(arrowstyle=style, color=colour, linewidth=1.3, connectionstyle=f"arc3,rad={curve}", shrinkA=0, shrinkB=0)
    axis.annotate("", end, start, arrowprops=shape | ({"linestyle": (0, (4, 3))} if dashed else {}))


def note(axis, x, y, text, size=8.5, colour="#333333", ha="center"):
    axis.text(x, y, text, ha=ha, va="center", fontsize=size, color=colour, linespacing=1.4)


def pipeline(axis):
    """The way of a clip, left to right."""
    y = 6.1
    for i in range(12):
        box(axis, 0.35 + 0.19 * (i % 4), y + 0.35 * (i // 4) - 0.1, 0.12, 0.22, "", BLUE, fill=0.35, style="square,pad=0.01")
    note(axis, 0.2, y + 1.3, "clips of T snippets\n(frozen CLIP features)", ha="left")
    box(axis, 1.7, y - 0.15, 1.5, 1.1, "KCG\nkey clip?", ORANGE, 11)
    arrow(axis, (2.45, y - 0.18), (2.45, y - 2.09), ORANGE, style="-")
    arrow(axis, (2.443, y - 2.08), (5.81, y - 2.08), ORANGE)
    note(axis, 2.3, y - 0.75, "no: inherit the last\nkey clip's logits", colour=ORANGE, ha="right")
    box(axis, 4.0, y - 0.15, 1.1, 1.1, "+ position\nembedding")
    for i in range(3):
        x = 5.9 + 2.35 * i
        box(axis, x, y - 0.15, 1.25, 1.1, f"HMA layer {i + 1 if i < 2 else 'L'}", BLUE, 10)
        box(axis, x + 0.1, y + 1.35, 1.05, 0.5, "memory", GREEN, 8.5)
        arrow(axis, (x + 0.45, y + 1.33), (x + 0.45, y + 0.99), GREEN)
        arrow(axis, (x + 0.8, y + 0.99), (x + 0.8, y + 1.33), GREEN)
        arrow(axis, (x + 0.62, y - 0.18), (x + 0.62, y - 0.72), GREY)
        box(axis, x - 0.05, y - 1.25, 1.35, 0.5, "head: sure?" if i < 2 else "head", GREY, 9)
        arrow(axis, (x + 0.62, y - 1.27), (x + 0.62, y - 1.75), ORANGE)
        note(axis, x + 0.72, y - 1.5, "yes" if i < 2 else "", colour=ORANGE, ha="left")
    for start, end in ((1.15, 1.65), (3.25, 3.95), (5.15, 5.85), (7.2, 8.2), (9.55, 10.55)):
        arrow(axis, (start, y + 0.4), (end, y + 0.4))
    note(axis, 3.55, y + 0.6, "yes", colour=ORANGE)
    for x in (7.7, 10.05):
        note(axis, x, y + 0.62, "no", colour=ORANGE)
    box(axis, 5.85, y - 2.35, 6.05, 0.55, "logits of the clip's T snippets  →  smoothing  →  sigmoid  →  scores", GREY, 9.5)
    note(axis, 8.9, y + 2.15, "each layer remembers clips of its own", colour=GREEN)
    note(
        axis,
        4.1,
        y - 1.2,
        "Stopping at a layer empties\nthe memories of the deeper ones.\n"
        "In training the maximum over\nall layers goes to the head.",
    )


def layer(axis):
    """Inside one layer."""
    axis.add_patch(
        FancyBboxPatch(
            (0.15, 0.15), 11.75, 2.95, boxstyle="round,pad=0.02,rounding_size=0.1", facecolor="none", edgecolor=BLUE, lw=1
        )
    )
    note(axis, 0.35, 2.82, "Inside an HMA layer", 10, BLUE, ha="left")
    box(axis, 0.4, 1.2, 1.2, 0.7, "LayerNorm\nk  (T, D)", BLUE)
    box(axis, 2.3, 2.0, 1.85, 0.65, "compress_memory\nc  (T, D/2)", GREEN)
    box(axis, 2.3, 0.45, 1.85, 0.65, "compress_current\nu  (T, D/2)", BLUE)
    arrow(axis, (1.63, 1.65), (2.27, 2.3))
    arrow(axis, (1.63, 1.45), (2.27, 0.8))
    for i, name in enumerate(("m₁", "m₂", "…", "m_M")):
        box(axis, 5.0 + 0.62 * i, 0.52, 0.5, 0.5, name if i < 3 else "$m_M$", GREEN, 9, style="square,pad=0.01")
    box(axis, 7.55, 0.52, 0.5, 0.5, "u", BLUE, 9, style="square,pad=0.01")
    arrow(axis, (4.17, 0.55), (7.68, 0.49), BLUE, curve=0.07)
    arrow(axis, (4.17, 2.2), (4.95, 1.05), GREEN, dashed=True)
    note(axis, 4.95, 1.5, "joins after the clip, detached;\nwhen full, the least retained is dropped", 8, GREEN, ha="left")
    box(axis, 8.6, 1.2, 1.5, 0.85, "attention\nc over all keys\n+ c, ·W_up", BLUE, 9)
    arrow(axis, (4.18, 2.42), (8.57, 1.85), curve=-0.08)
    note(axis, 6.5, 2.55, "query", 8)
    arrow(axis, (8.08, 0.77), (8.9, 1.17))
    note(axis, 8.8, 0.8, "keys = values", 8, ha="left")
    box(axis, 10.6, 1.2, 1.1, 0.85, "+ k\n+ MLP", BLUE)
    arrow(axis, (10.12, 1.62), (10.57, 1.62))


def main() -> None:
    figure = Figure(figsize=(12.1, 8.5))
    axis = figure.subplots()
    axis.set(xlim=(0, 12.1), ylim=(0, 8.5))
    axis.set_axis_off()
    pipeline(axis)
    layer(axis)
    figure.subplots_adjust(0, 0, 1, 1)
    figure.savefig(Path(__file__).with_name("overview.png"), dpi=110)


if __name__ == "__main__":
    main()
