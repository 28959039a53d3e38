"""The flags of extract.py and watch.py: how features are made, how videos are extracted, how cameras are watched."""

from option import FLAGS, SWITCH, Flag, Range
from running.cluster import OF_CLUSTER
from video.encoders import ENCODERS
from video.snippets import RULES

SECONDS = Range(0, 10**6)
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
    *(flag for flag in FLAGS["running"] if flag.name == "device"),
)  # fmt: skip
OF_MODEL = tuple(flag for group in ("testing", "running", "data") for flag in FLAGS[group] if flag.name in {
    *("keyclip_test", "scales", "exit_threshold", "smooth", "smooth_width", "model_path", "device", "allow_other_features"),
})  # fmt: skip
OF_WATCHING = (
    Flag("by", str, ("frames", "time"), "files: 16 frames are a snippet, or as many as --snippet-seconds has; None = as the "
         "model's features were made"),
    Flag("snippet_seconds", float, Range(0.01, 60), "seconds of a live source's snippet; None = 16 frames of 30 a second, or "
         "of the rate that the model's features were made at"),
    Flag("forget_after", float, SECONDS, "seconds of a gap in a live source after which its memory begins anew, as it "
         "does where the source is opened again", 60.0),
    Flag("threshold", float, Range(0, 1, open="("), "an alarm is on at this score; None = the checkpoint's, of its validation "
         "videos"),
    Flag("off_share", float, Range(0, 1, open="("), "off where the odds of a score are below this share of the threshold's",
         0.5),
    Flag("least", float, SECONDS, "seconds that an alarm lasts at least; counted, as --pause, in snippets of a live source's",
         0.0),
    Flag("pause", float, SECONDS, "seconds below, after which an alarm has ended; what rises before is the same alarm", 4.0),
    Flag("false_alarms", float, Range(0, 10**6, open="()"), "calibrate: alarms an hour of normal footage, at most", 1.0),
    Flag("duration", float, Range(0, open="("), "stop after so many seconds; None = when files end, or never"),
    Flag("out_dir", str, None, "folder of events.db, alarms/ and scores.npz; an earlier watch there is gone on with",
         "runs/watch"),
    Flag("alarms", SWITCH, None, "raise alarms", True),
    Flag("keep_days", float, Range(0, 36500, open="("), "days after its end that an alarm is kept, with picture and clip; "
         "None = never. Live cameras' scores go after a day, what has happened to cameras after a month"),
    Flag("save_scores", SWITCH, None, "files: also write scores.npz, as metrics.py and report.py read it", False),
    Flag("report", SWITCH, None, "at the end also write report.html, the page of what was watched; report.py writes it later, "
         "of --out-dir", False),
    Flag("json", SWITCH, None, "print a JSON object a line", False),
    Flag("serve", str, None, "[HOST:]PORT of a web page, /healthz and /metrics: for this machine, or for whoever shows the "
         "--token; the watch then goes on when its files have ended"),
    Flag("token", str, None, "what the page asks for, or @FILE that holds it"),
    Flag("tls_cert", str, None, "PEM file of a certificate: the page is at https://"),
    Flag("tls_key", str, None, "PEM file of its key; None = it is in the same"),
    Flag("webhook", str, None, "http(s):// address that gets alarms, and cameras that are down or up again, as JSON; or @FILE "
         "that holds it"),
    Flag("mqtt", str, None, "broker that gets each camera's state: HOST, mqtt://USER:PASSWORD@HOST:PORT, mqtts:// so, or "
         "@FILE that holds it"),
    *OF_CLUSTER,
    Flag("groups", int, Range(1, 999), "--ray: groups of cameras, each watched on one machine, or elsewhere when that is lost; "
         "None = one for each machine with room"),
    Flag("dry_run", SWITCH, None, "open every source, say what it is and what would be done, and stop", False),
)  # fmt: skip
