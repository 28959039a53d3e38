"""What live cameras cost a watch, and how soon it tells.

    PYTHONPATH=. python tests/live_cameras.py --cameras 32 --seconds 20

A process beside it stands for the cameras: drawn scenes of 320x240 at 30 frames a second, H.264 over HTTP, sent by the wall's
clock. The watch has a model of 70.5 million parameters, drawn at random, and alarms often. Prints, from ten seconds after all
have scores, what was scored and dropped, its processor time for a second of a camera, and the delay from a snippet's end
until its score is known. With --turns 3 it is watched three times without, and with a webhook that never answers, in turn.
"""

import argparse
import io
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from statistics import median
from urllib.request import urlopen

import numpy as np
import torch
from conftest import make_model

FPS, SIZE, GROUP = 30, (320, 240), 30
WIDTH, LAYERS = 1280, 4
SCENES = 60.0  # seconds, drawn once
SETTLING = 10.0  # seconds, in which what came while it began is worked off
ROOT = Path(__file__).parent.parent


def drawn(seconds: float, ends: list[int]) -> bytes:
    """Scenes as an MPEG transport stream; `ends` gets where in it each frame ends."""
    import av

    rng, out = np.random.default_rng(0), io.BytesIO()
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    with av.open(out, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        stream = container.add_stream("libx264", FPS, options={"preset": "veryfast", "tune": "zerolatency"})
        (stream.width, stream.height), stream.pix_fmt, stream.gop_size = SIZE, "yuv420p", GROUP
        for n in range(int(seconds * FPS)):
            if n % 90 == 0:
                still = rng.integers(0, 200, (6, 8, 3)).repeat(40, 0).repeat(40, 1).astype(np.uint8)
            picture = still.copy()
            picture[np.hypot(columns - n * 4 % SIZE[0], rows - 120) < 30] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
            ends.append(out.tell())
        container.mux(stream.encode(None))
    return out.getvalue()


def cameras(port: multiprocessing.Queue) -> None:
    """A server of which each address is a camera, for ever."""
    ends: list[int] = []
    content = drawn(SCENES, ends)

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            began, at = time.monotonic(), 0
            for n, end in enumerate(ends):
                time.sleep(max(0.0, began + n / FPS - time.monotonic()))
                try:
                    self.wfile.write(content[at:end])
                except OSError:
                    return
                at = end

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    server = ThreadingTCPServer(("127.0.0.1", 0), Camera)  # one of HTTP would ask for its name first
    server.daemon_threads = True
    port.put(server.server_address[1])
    server.serve_forever()


def watched(sources: list[str], seconds: float, folder: Path, *flags: str) -> dict[str, float]:
    """Watch the sources for so long, once the first scores are there, and what it took."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "cameras.csv").write_text("name,source\n" + "".join(f"camera {i},{s}\n" for i, s in enumerate(sources)))
    command = [sys.executable, "watch.py", folder / "cameras.csv", "--model-path", folder / "model.pt", "--threshold", "0.5"]
    command += ["--frames-per-snippet", "1", "--pause", "1", "--out-dir", folder / "out", "--serve", str(port), *flags]
    with (folder / "said.txt").open("w") as said:
        watch = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=said, stderr=said)
    try:
        until_all_are_scored(port, len(sources), watch)
        time.sleep(SETTLING)
        before = figures(port)
        used, began = processor_time(watch.pid), time.monotonic()
        delays = []
        while time.monotonic() < began + seconds:
            time.sleep(0.5)
            delays += figures(port)["delay_seconds"]
        used, took, after = processor_time(watch.pid) - used, time.monotonic() - began, figures(port)
    finally:
        watch.send_signal(signal.SIGINT)
        watch.wait()
    scored, dropped = (sum(after[name]) - sum(before[name]) for name in ("snippets", "dropped_snippets"))
    last = np.quantile(delays, 0.95)
    return {
        "scored": scored,
        "dropped": dropped,
        "ms": 1000 * used / took / len(sources),
        "median": median(delays),
        "p95": last,
    }


def until_all_are_scored(port: int, n: int, watch: subprocess.Popen) -> None:
    while watch.poll() is None:
        time.sleep(0.2)
        try:
            found = figures(port)
        except OSError:
            continue
        if sum(value > 0 for value in found.get("snippets", ())) == n:
            return
    sys.exit("the watch has ended: see what it said")


def figures(port: int) -> dict[str, list[float]]:
    """What /metrics says of the cameras, by name."""
    found: dict[str, list[float]] = {}
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        said = answer.read().decode()
    for name, value in re.findall(r"lshma_camera_(\w+?)(?:_total)?\{.*\} (\S+)", said):
        found.setdefault(name, []).append(float(value))
    return found


def processor_time(pid: int) -> float:
    """Seconds that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--turns", type=int, default=0)
    given = parser.parse_args()
    apart = multiprocessing.get_context("spawn")
    ports = apart.Queue()
    apart.Process(target=cameras, args=(ports,), daemon=True).start()
    port = ports.get()
    sources = [f"http://127.0.0.1:{port}/{i}" for i in range(given.cameras)]
    model = make_model(width=WIDTH, layers=LAYERS).state_dict()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and nothing else
        webhook = ["--webhook", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        for flags in [[], webhook] * given.turns or [[]]:
            with tempfile.TemporaryDirectory() as folder:
                torch.save(model, Path(folder) / "model.pt")
                took = watched(sources, given.seconds, Path(folder), *flags)
            print(
                f"{given.cameras} cameras{', a silent webhook' * bool(flags)}: {took['scored']:.0f} snippets scored, "
                f"{took['dropped']:.0f} dropped; {took['ms']:.1f} ms of processor time for a second of a camera; "
                f"delay {took['median']:.2f} s, 95 % below {took['p95']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
