"""Drawn videos of a street: people walk, and in some of them two meet and brawl. To see the way from a video to an alarm.

`demo.py --videos` writes them, H.264 as cameras do, with the frames of the brawls in the layout of annotations. They are drawn:
what they show of a model is that it runs.
"""

import math
from pathlib import Path

import numpy as np

from files import atomic
from files.extra import needed

WIDTH, HEIGHT, FPS = 320, 240, 30
BRAWL = (3, 5)  # seconds
N_NOISES = 8  # of the camera, one after another
COLOURS = ((178, 60, 50), (52, 92, 160), (60, 120, 70), (90, 80, 110), (196, 150, 60), (60, 60, 64))


class Street:
    """One video's street, and all people who will walk down it."""

    def __init__(self, rng: np.random.Generator, seconds: float, brawls: bool):
        self.rng, self.n_frames = rng, round(seconds * FPS)
        self.background = self.paint_background()
        self.walkers = [self.walker() for _ in range(rng.integers(1, 4))]
        self.noise = rng.normal(0, 2, (N_NOISES, HEIGHT, WIDTH, 1)).astype(np.float32)
        self.brawl = range(0)
        if brawls:
            length = round(rng.uniform(*BRAWL) * FPS)
            start = int(rng.integers(FPS, self.n_frames - length - FPS))
            self.brawl = range(start, start + length)
            self.place = float(rng.uniform(90, WIDTH - 90)), float(rng.uniform(170, 215))
            self.fighters = [self.walker(), self.walker()]

    def paint_background(self) -> np.ndarray:
        """(HEIGHT, WIDTH, 3) uint8: a wall with windows above a pavement, lit from one side."""
        rng = self.rng
        picture = np.empty((HEIGHT, WIDTH, 3))
        picture[:120], picture[120:] = rng.uniform(110, 190, 3), rng.uniform(90, 130)
        for x in range(int(rng.integers(10, 40)), WIDTH - 30, int(rng.integers(50, 80))):
            picture[30:75, x : x + 28] = rng.uniform(40, 90)
        picture *= np.linspace(rng.uniform(0.75, 1), rng.uniform(0.75, 1), WIDTH)[:, None]
        return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)

    def walker(self) -> dict:
        rng = self.rng
        return {
            "colour": COLOURS[rng.integers(len(COLOURS))],
            "speed": float(rng.choice([-1, 1]) * rng.uniform(18, 45)),  # pixels a second
            "x": float(rng.uniform(0, WIDTH)),
            "y": float(rng.uniform(160, 225)),  # of the feet
            "size": float(rng.uniform(95, 120)),
            "phase": float(rng.uniform(0, 2 * math.pi)),
        }

    def frames(self):
        """The video's pictures, (HEIGHT, WIDTH, 3) uint8."""
        from PIL import Image, ImageDraw

        for n in range(self.n_frames):
            picture = Image.fromarray(self.background)
            draw, t = ImageDraw.Draw(picture), n / FPS
            people = [(w["y"], w, (w["x"] + w["speed"] * t) % (WIDTH + 40) - 20, None) for w in self.walkers]
            if n in self.brawl:
                for side, fighter in zip((-1, 1), self.fighters, strict=True):
                    x = self.place[0] + 22 * side + self.rng.normal(0, 4)
                    people.append((self.place[1] + self.rng.normal(0, 3), fighter, x, self.rng.uniform(-2.8, 2.8, 4)))
            for y, person, x, limbs in sorted(people, key=lambda who: who[0]):
                swing = 0.55 * math.sin(2 * math.pi * 1.6 * t + person["phase"])
                draw_person(draw, person, x, y, limbs if limbs is not None else (swing, -swing, -swing, swing))
            yield np.clip(np.asarray(picture) + self.noise[n % N_NOISES], 0, 255).astype(np.uint8)


def draw_person(draw, person: dict, x: float, y: float, limbs) -> None:
    """A person whose feet are at (x, y); limbs: the angles of legs and arms from straight down."""
    size, colour = person["size"], person["colour"]
    hip, shoulder = y - 0.45 * size, y - 0.82 * size
    thick = max(3, round(size / 9))
    parts = ((hip, 0.45, 0.6), (hip, 0.45, 0.6), (shoulder, 0.36, 1), (shoulder, 0.36, 1))  # legs, arms
    for angle, (top, length, shade) in zip(limbs, parts, strict=True):
        end = x + length * size * math.sin(angle), top + length * size * math.cos(angle)
        draw.line([(x, top), end], tuple(round(shade * c) for c in colour), thick)
    draw.line([(x, hip), (x, shoulder)], colour, 2 * thick)
    radius = 0.1 * size
    draw.ellipse([x - radius, shoulder - 2.2 * radius, x + radius, shoulder - 0.2 * radius], (212, 172, 140))


def write_video(path: Path, frames) -> None:
    """Encode (HEIGHT, WIDTH, 3) pictures to an H.264 file. Raises OSError."""
    av = needed("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as file, av.open(file, "w", "mp4") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())


def write(out: Path, n_train: int, n_test: int, seed: int) -> None:
    """Write videos/{train,test}/{calm,brawl}/NAME.mp4 and annotations.txt, `name class start end` in frames, to a folder."""
    lines = []
    for i in range(n_train + n_test):
        rng = np.random.default_rng([seed, i])
        brawls, split = bool(i % 2), "train" if i < n_train else "test"
        street, label = Street(rng, float(rng.uniform(8, 12)), brawls), "brawl" if brawls else "calm"
        name = f"{label}{i:02}"
        write_video(out / "videos" / split / label / f"{name}.mp4", street.frames())
        if brawls:
            lines.append(f"{name} brawl {street.brawl.start} {street.brawl.stop}")
    atomic.write_text(out / "annotations.txt", "\n".join(lines) + "\n")
