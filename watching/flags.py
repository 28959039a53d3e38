"""The flags of watch.py: what is watched for, what is kept and printed, and what others are given."""

from option import BY_NAME, MODEL_PATH, SWITCH, Flag, Range
from running.cluster import OF_CLUSTER

SECONDS = Range(0, 10**6)
SECRETS = ("serve", "token", "webhook", "mqtt")  # flags that may hold passwords, and that a file may hold
NAMES = ("keyclip_test", "scales", "exit_threshold", "smooth", "smooth_width", "device", "allow_other_features")
SMOOTH = BY_NAME["smooth"]._replace(values=("causal", "none"), help="how logits are averaged over time, which is never ahead")
OF_MODEL = (MODEL_PATH, *(BY_NAME[name] if name != "smooth" else SMOOTH for name in NAMES))
OF_WATCHING = (
    Flag("by", str, ("frames", "time"), "files: 16 frames are a snippet, or as many as --snippet-seconds has; None = as the "
         "model's features were made"),
    Flag("snippet_seconds", float, Range(0.01, 60), "seconds of a live source's snippet; None = 16 frames at the rate that "
         "the model's features were made at, or else at its training's --fps"),
    Flag("forget_after", float, SECONDS, "seconds of a gap in a live source after which its memory begins anew, as it "
         "does where the source is opened again", 60.0),
    Flag("threshold", float, Range(0, 1, open="("), "an alarm is on at this score; None = the checkpoint's, of its validation "
         "videos"),
    Flag("off_share", float, Range(0, 1, open="("), "off where the odds of a score are below this share of the threshold's",
         0.5),
    Flag("least", float, SECONDS, "seconds; shorter alarms are not raised. Rounded up, as --pause, to whole snippets of a live "
         "source", 0.0),
    Flag("pause", float, SECONDS, "an alarm ends after so many seconds below; a rise before that continues it", 4.0),
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
