"""Decoding: all frames in order, upright and in their colours, whatever the file; one clear error, or what could be decoded."""

import os
import socket
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from files.extra import needed
from video import decode
from video.address import masked
from video.decode import Forward, Frame, by_time, opened
from watching.readers import told

av = pytest.importorskip("av")

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (40, 40, 220), (230, 230, 230)


def stairs(n_frames, height=48, width=64):
    """Frame n is grey, brighter than the one before: its place in the order shows."""
    return [np.full((height, width, 3), 20 + 200 * n // n_frames, np.uint8) for n in range(n_frames)]


def quarters(height=64, width=96):
    """Red and green above, blue and white below."""
    picture = np.zeros((height, width, 3), np.uint8)
    h, w = (height + 1) // 2, (width + 1) // 2
    picture[:h, :w], picture[:h, w:], picture[h:, :w], picture[h:, w:] = RED, GREEN, BLUE, WHITE
    return picture


def made(path, pictures, codec="libx264", *, kind="yuv420p", times=None, turn=None, aspect=None, options=None, **marks):
    """A video of these pictures, 25 a second, or at these times (ms); turn: the arguments of set_display_rotation."""
    with av.open(str(path), "w", container_options={"movflags": "faststart"} if str(path).endswith("mp4") else {}) as container:
        stream = container.add_stream(codec, 25, options=options)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], kind
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(*turn)
        for name, value in marks.items():
            setattr(stream.codec_context, name, value)
        stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, 25)
        for n, picture in enumerate(pictures):
            how = {"dst_colorspace": marks["colorspace"], "dst_color_range": marks["color_range"]} if marks else {}
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=kind, **how)
            frame.pts, frame.time_base = times[n] if times else n, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def brightness(video):
    return [int(frame.rgb(8, 8).mean()) for frame in video.frames()]


def corners(picture):
    """The colours in the middle of the four quarters: above left and right, below left and right."""
    h, w = picture.shape[0] // 4, picture.shape[1] // 4
    return [picture[y, x].astype(int) for y in (h, 3 * h) for x in (w, 3 * w)]


def assert_colours(picture, *colours, within=12):
    for found, wanted in zip(corners(picture), colours, strict=True):
        assert np.abs(found - wanted).max() <= within, f"{found} for {wanted}"


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("h264_b_frames.mp4", "libx264", "yuv420p"),
        ("hevc.mkv", "libx265", "yuv420p"),
        ("mpeg4.avi", "mpeg4", "yuv420p"),
        ("mpeg2.ts", "mpeg2video", "yuv420p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"),
        ("motion.avi", "mjpeg", "yuvj420p"),
        ("animated.gif", "gif", "rgb8"),
        ("no_times.h264", "libx264", "yuv420p"),
    ],
)
def test_all_frames_come_in_presentation_order(tmp_path, name, codec, kind):
    options = {"x265-params": "log-level=none:pools=1"} if codec == "libx265" else {"bf": "3"} if codec == "libx264" else None
    path = made(tmp_path / name, stairs(20), codec, kind=kind, options=options)
    with opened(path) as video:
        frames = [(frame.number, frame.time, frame.rgb(8, 8).mean()) for frame in video.frames()]
    numbers, times, light = zip(*frames, strict=True)
    assert numbers == tuple(range(20)) and video.n_frames == 20 and video.n_bad == 0 and video.broken is None
    assert all(np.diff(light) > 3), "the frames are not in order"
    assert np.isfinite(times).all() and all(np.diff(times) > 0) and (video.width, video.height) == (64, 48)


def test_the_header_is_read_and_times_are_the_streams(tmp_path):
    path = made(tmp_path / "late.mkv", stairs(4), times=[5000, 5040, 5500, 5540])
    with opened(path) as video:
        assert [round(frame.time, 3) for frame in video.frames()] == [5.0, 5.04, 5.5, 5.54]
    path = made(tmp_path / "header.mp4", stairs(10))
    with opened(path) as video:
        assert (video.fps, video.fps_guessed, video.n_header, video.codec) == (25, False, 10, "h264")


def test_frames_that_an_edit_list_cuts_are_neither_shown_nor_promised(tmp_path):
    path = made(tmp_path / "cut.mp4", stairs(20), times=[40 * n - 200 for n in range(20)], options={"bf": "0"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 20
    with opened(path) as video:
        assert (len(brightness(video)), video.n_header) == (15, 15)


@pytest.mark.parametrize(
    ("turn", "colours"),
    [
        ((0,), (RED, GREEN, BLUE, WHITE)),
        ((90,), (GREEN, WHITE, RED, BLUE)),
        ((180,), (WHITE, BLUE, GREEN, RED)),
        ((-90,), (BLUE, RED, WHITE, GREEN)),
        ((0, True, False), (GREEN, RED, WHITE, BLUE)),
        ((0, False, True), (BLUE, WHITE, RED, GREEN)),
    ],
)
def test_frames_are_set_upright(tmp_path, turn, colours):
    path = made(tmp_path / "turned.mp4", [quarters()] * 2, turn=turn)
    with opened(path) as video:
        frame = next(video.frames())
    upright = (96, 64) if abs(turn[0]) == 90 else (64, 96)
    assert frame.size() == (video.height, video.width) == upright
    assert_colours(frame.rgb(*upright), *colours)
    picture = frame.rgb(40, 100)
    assert picture.shape == (40, 100, 3) and picture.flags.c_contiguous
    assert_colours(picture, *colours)


def test_pixels_that_are_not_square_become_so(tmp_path):
    path = made(tmp_path / "wide.mp4", [quarters()], aspect=Fraction(2), turn=(90,))
    with opened(path) as video:
        assert next(video.frames()).size() == (192, 64)
    path = made(tmp_path / "absurd.mp4", [quarters()], aspect=Fraction(5000))
    with opened(path) as video:
        assert next(video.frames()).size() == (64, 96)


BT709, LIMITED, FULL = 1, 1, 2


@pytest.mark.parametrize(
    ("codec", "kind", "size", "marks"),
    [
        ("libx264", "yuv420p", (64, 96), {}),
        ("libx264", "yuv420p", (64, 96), {"colorspace": BT709, "color_range": LIMITED}),
        ("libx264", "yuv420p", (64, 96), {"colorspace": BT709, "color_range": FULL}),
        ("mjpeg", "yuvj420p", (64, 96), {}),
        ("libx264", "yuv420p10le", (64, 96), {}),
        ("libx264", "yuv444p", (63, 95), {}),
        ("ffv1", "yuv420p12le", (64, 96), {}),
        ("ffv1", "yuv420p", (81, 121), {}),
        ("ffv1", "bgra", (63, 95), {}),
    ],
)
def test_colours_are_right(tmp_path, codec, kind, size, marks):
    path = made(tmp_path / "colours.mkv", [quarters(*size)], codec, kind=kind, **marks)
    with opened(path) as video:
        frame = next(video.frames())
    assert frame.size() == size
    for height, width in ((64, 96), (61, 75), (224, 224)):
        picture = frame.rgb(height, width)
        assert picture.shape == (height, width, 3)
        assert_colours(picture, RED, GREEN, BLUE, WHITE)
        assert np.abs(picture[height // 4, -1].astype(int) - GREEN).max() <= 12, "the last column"
        assert np.abs(picture[-1, -1].astype(int) - WHITE).max() <= 12, "the last row"


def test_grey_and_a_palette_have_three_channels(tmp_path):
    with opened(made(tmp_path / "grey.mkv", [quarters()], "ffv1", kind="gray")) as video:
        grey = next(video.frames()).rgb(64, 96)
    assert grey.shape == (64, 96, 3) and (grey == grey[..., :1]).all()
    with opened(made(tmp_path / "palette.gif", [quarters()], "gif", kind="rgb8")) as video:
        assert_colours(next(video.frames()).rgb(64, 96), RED, GREEN, BLUE, WHITE, within=40)


def test_a_matrix_that_the_scaler_refuses_is_read_as_unspecified(tmp_path):
    path = made(tmp_path / "ycgco.mp4", stairs(2), options={"x264-params": "colormatrix=YCgCo"})
    with opened(path) as video:
        assert len(brightness(video)) == 2 and video.matrix == "YCgCo" and not video.n_interlaced
        assert "colours in YCgCo" in told(video) and "interlaced" not in told(video)
    path = made(tmp_path / "woven.mp4", stairs(3), options={"x264-params": "interlaced=1"})
    with opened(path) as video:
        assert len(brightness(video)) == 3 and video.n_interlaced == 3 and video.matrix is None
        assert told(video).endswith(", interlaced")


def test_pictures_that_are_too_large_are_said_to_be(tmp_path, monkeypatch):
    path = made(tmp_path / "large.mp4", stairs(2))
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"large\.mp4: no frames .* pictures, 64x48, are larger than"), opened(path):
        pass


def test_a_size_that_changes_on_the_way_is_followed(tmp_path):
    parts = [made(tmp_path / f"{height}.ts", stairs(5, height, 64)) for height in (48, 96)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with opened(path) as video:
        frames = [(frame.size(), frame.rgb(32, 32).shape) for frame in video.frames()]
    assert frames == [((48, 64), (32, 32, 3))] * 5 + [((96, 64), (32, 32, 3))] * 5


def test_a_cover_picture_and_further_streams_are_left_alone(tmp_path):
    path = tmp_path / "cover.mp4"
    streams = {"mjpeg": ("yuvj420p", 1, (32, 32)), "libx264": ("yuv420p", 6, (48, 64)), "mpeg4": ("yuv420p", 9, (16, 16))}
    with av.open(str(path), "w") as container:
        made_of = [(container.add_stream(codec, 25), *what) for codec, what in streams.items()]
        made_of[0][0].disposition = av.stream.Disposition.attached_pic
        for stream, kind, _, size in made_of:
            (stream.height, stream.width), stream.pix_fmt = size, kind
        for stream, _, n, size in made_of:
            for picture in stairs(n, *size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
    with opened(path) as video:
        assert (len(brightness(video)), video.height, video.width) == (6, 48, 64)


def test_what_is_no_video_is_one_clear_error(tmp_path):
    with av.open(str(tmp_path / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", 44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    whole = made(tmp_path / "x.avi", stairs(3), "mjpeg", kind="yuvj420p").read_bytes()
    (tmp_path / "header_only.avi").write_bytes(whole[: whole.index(b"movi") + 4])
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    cases = {"audio.mp4": "no video stream in it, only audio", "empty.mp4": "an empty file", "garbage.mp4": "not a video",
             "header_only.avi": "no frames", "folder": "not a file but a folder", "pipe": "not a file"}  # fmt: skip
    for name, what in cases.items():
        with pytest.raises(ValueError) as error, opened(tmp_path / name):
            pass
        assert str(tmp_path / name) in str(error.value) and what in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4: no such file"), opened(str(tmp_path / "missing.mp4")):
        pass
    with pytest.raises(FileNotFoundError, match=r"97: no such camera \(/dev/video97\)"), opened("97"):
        pass


def noisy(n_frames):
    """Pictures that take bytes: a file of them can be cut within one."""
    draw = np.random.default_rng(1)
    return [draw.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(n_frames)]


def test_a_file_that_breaks_off_gives_what_could_be_decoded(tmp_path):
    path = made(tmp_path / "cut.mp4", noisy(40), options={"bf": "2"})
    with av.open(str(path)) as container:
        ends = sorted(packet.pos + packet.size for packet in container.demux(video=0) if packet.size)
    os.truncate(path, ends[19] + 40)
    with opened(path) as video:
        n_frames = len(list(video.frames()))
    assert video.n_header == 40 and 18 <= n_frames <= 21 and video.broken == "it breaks off within a frame"


def test_a_damaged_packet_is_skipped_and_counted(tmp_path):
    path = made(tmp_path / "hurt.mp4", noisy(30), options={"g": "5"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    with path.open("r+b") as file:
        file.seek(packets[7][0])
        file.write(b"\xff" * packets[7][1])
    with opened(path) as video:
        frames = list(video.frames())
    assert 27 <= len(frames) <= 29 and video.n_bad == 1 and [frame.number for frame in frames] == list(range(len(frames)))


def test_damaged_files_neither_crash_nor_leave_anything_open(tmp_path):
    draw = np.random.default_rng(2)
    for name, codec in (("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.webm", "libvpx")):
        whole = np.fromfile(made(tmp_path / name, noisy(8), codec), np.uint8)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(12):
            hurt = whole.copy()
            hurt[draw.integers(0, len(hurt), draw.integers(1, 60))] = draw.integers(0, 256)
            hurt[: len(hurt) if draw.random() < 0.5 else draw.integers(1, len(hurt))].tofile(tmp_path / name)
            try:
                with opened(tmp_path / name) as video:
                    assert all(frame.rgb(16, 16).shape == (16, 16, 3) for frame in video.frames())
            except (ValueError, OSError) as error:
                assert name in str(error)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_damaged_file_gives_the_same_pixels_each_time(tmp_path):
    """FFmpeg's threads do not: a file watched would not have the scores of the same file extracted."""
    path = made(tmp_path / "hurt.mp4", noisy(60), options={"g": "20", "bf": "2"})
    hurt = np.fromfile(path, np.uint8)
    draw = np.random.default_rng(3)
    hurt[draw.integers(2000, len(hurt) // 2, 40)] = 0
    hurt.tofile(path)
    seen = set()
    for _ in range(4):
        with opened(path) as video:
            seen.add(b"".join(frame.rgb(48, 64).tobytes() for frame in video.frames()))
    assert len(seen) == 1


def test_a_name_is_a_name_whatever_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "x.mp4", stairs(3))
    for name in ("12:30 %03d.mp4", "concat:x.mp4", "7"):
        (tmp_path / name).write_bytes((tmp_path / "x.mp4").read_bytes())
        with opened(name) as video:
            assert video.name == name and len(brightness(video)) == 3


def test_an_address_that_is_silent_fails_in_time_and_keeps_its_password():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://admin:se@cret@127.0.0.1:{server.getsockname()[1]}/live?channel=1&pwd=hush"
        start = time.monotonic()
        with pytest.raises(OSError) as error, opened(address, timeout=0.5):
            pass
    assert (
        time.monotonic() - start < 20
        and "nothing within 0.5 s" in str(error.value)
        and "http://***@127.0.0.1" in str(error.value)
    )
    assert not any(word in repr(error.getrepr(style="short")) + str(error.value) for word in ("cret", "admin", "hush"))
    with pytest.raises(OSError, match="refused"), opened(address, timeout=2):
        pass


def test_a_stream_that_sends_but_shows_nothing_ends(tmp_path):
    """A camera whose pictures cannot be decoded keeps sending: the time without a frame is bounded too."""
    data = made(tmp_path / "x.ts", stairs(10), "mpeg2video").read_bytes()

    ended = threading.Event()

    def serve(server):
        peer, _ = server.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + data * 20)
            ended.wait(5)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        with opened(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=1) as video:
            assert len(list(video.frames())) > 100
    assert video.broken == "nothing within 1 s"
    ended.set()
    thread.join()


def test_passwords_are_masked():
    assert masked("rtsp://user:secret@host/x") == "rtsp://***@host/x"
    assert masked("rtsp://u:p@ss/word@host:554/a") != "" and "p@ss" not in masked("rtsp://u:p@ss@host:554/a")
    assert masked("http://h/v.cgi?channel=2&user=me&password=hush#x") == "http://h/v.cgi?channel=2&user=***&password=***#x"
    assert masked("rtsp://h/user=me_password=hush_channel=1") == "rtsp://h/user=***"
    assert masked("rtsp://h/cam?channel=1&subtype=0") == "rtsp://h/cam?channel=1&subtype=0"
    assert masked("http://h/api?src=front_1&name=x&src=rtsp://u:p@h/a") == "http://h/api?src=front_1&name=***&src=***"
    assert masked("http://h/api?src=front_1&name=x&camera=u:p") == "http://h/api?src=front_1&name=***&camera=***"
    assert (
        masked("rtsp://h/user=admin&password=123&channel=1&stream=0.sdp")
        == "rtsp://h/user=***&password=***&channel=1&stream=0.sdp"
    )
    assert masked("rtsp://h/a?pwd=123&pin=12&Password=007") == "rtsp://h/a?pwd=***&pin=***&Password=***"
    assert masked("rtsp://h/888888:123456/ch1") == "rtsp://h/***/ch1" and masked("rtsp://h/a?hunter2") == "rtsp://h/a?***"
    assert masked("http://h/t.m3u8?u=admin&pw=hush&p=h&id=12") == "http://h/t.m3u8?u=***&pw=***&p=***&id=12"
    assert masked("srt://h:9000?streamid=read:cam:admin:hush") == "srt://h:9000?streamid=***"
    assert masked("rtsp://10.0.0.7:554/0/admin:hush/main") == "rtsp://10.0.0.7:554/0/***/main"
    for address in ("rtsp://h/a/12:30/x:/y", "rtsp://h:1935/vod/mp4:a.mp4", "rtsp://h/urn:camera:front"):
        assert masked(address) == address
    assert masked("/home/a:b@c/key=1.mp4") == "/home/a:b@c/key=1.mp4"


def shown(times, fps):
    resampled = by_time((Frame(n, t, None) for n, t in enumerate(times)), fps)
    frames = list(resampled)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert np.allclose([frame.time for frame in frames], times[0] + np.arange(len(frames)) / fps)
    return [round((frame.time - times[0]) * fps) for frame in frames], resampled.n_jumps


def pictures_at(times, fps):
    """Which pictures are given, by the numbers that they had."""
    marked = (Frame(n, t, n) for n, t in enumerate(times))
    return [frame.raw for frame in by_time(marked, fps)]


def test_by_time_gives_what_is_on_the_screen():
    assert pictures_at([], 30) == []
    assert pictures_at(np.arange(30) / 30, 30) == list(range(30))
    assert pictures_at(np.round(np.arange(300) / 30, 3) + 7, 30) == list(range(300)), "times in whole milliseconds"
    assert pictures_at(np.arange(10) / 10, 30) == [n for n in range(10) for _ in range(3)]
    assert pictures_at(np.arange(60) / 60, 30) == list(range(0, 60, 2))
    assert pictures_at([0, 0.1, 0.5, 0.6], 10) == [0, 1, 1, 1, 1, 2, 3]
    assert shown([3.0, 3.1, 3.2], 10) == ([0, 1, 2], 0)
    assert pictures_at([0], 1000) == [0] and pictures_at([0, 0.001, 0.002], 1000) == [0, 1, 2]


def test_a_clock_that_jumps_does_no_harm():
    at = 1 / 30
    for times, n_jumps in (
        ([0, at, 2 * at, 95443.7, 95443.7 + at], 1),
        ([5, 5 + at, 1, 1 + at, 1 + 2 * at], 1),
        ([0, at, at, at, 2 * at], 2),
        ([0.0] * 5, 4),
        ([9, 8, 7, 6, 5], 4),
    ):
        assert shown(times, 30) == ([0, 1, 2, 3, 4], n_jumps)
    assert len(pictures_at([0, decode.MAX_GAP], 2)) == 4 * decode.MAX_GAP, "a gap that long is held; so is the last frame"


def test_by_frames_the_time_never_goes_back():
    """Two recordings in one file: an alarm over the seam ended before it began."""
    for times, expected, n_jumps in (
        ([0.1, 0.3, 90.0, 90.2], [0.1, 0.3, 90.0, 90.2], 0),
        ([7.0, 7.1, 0.0, 0.2, 0.4], [7.0, 7.1, 7.2, 7.4, 7.6], 1),
        ([9, 8, 8, 7], [9, 9.5, 9.5, 10.0], 2),
        ([1.0, 1.2, 1.1, 1.4], [1.0, 1.2, 1.2, 1.4], 0),  # out of order
    ):
        forward = Forward((Frame(n, t, None) for n, t in enumerate(times)), 2)
        found = [frame.time for frame in forward]
        assert np.allclose(found, expected) and forward.n_jumps == n_jumps
        assert n_jumps or found == expected, "to the bit"


def test_without_the_extra_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match="av is not installed; pip install"), opened("x.mp4"):
        pass
    with pytest.raises(ValueError, match=r"no_such_package is not installed; pip install -r requirements-video\.txt"):
        needed("no_such_package")
