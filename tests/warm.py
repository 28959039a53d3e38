"""Processes of scripts that begin at once: torch and the like, whose import takes seconds, are there; the project is not.

    process = started(["ucf_train.py", "--max-epoch", "1"], stderr=PIPE, text=True)  # as Popen([python, "ucf_train.py", ...])
    done = ran(["ucf_test.py", ...], cwd=folder)                                 # as run([python, "ucf_test.py", ...])

They are forked from a process that has imported nothing else, and are children of who asks, to signal and to wait for; so are
those that they start in turn.
"""

import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from functools import cache

SUBREAPER = 36  # of Linux's prctl: orphans become children of this process
SLOW = ("torch._dynamo", "matplotlib.figure", "pandas", "scipy.sparse.csgraph", "scipy.special", "sklearn.metrics", "tqdm")
ASKING = threading.Lock()
ANY = subprocess.Popen  # also where Forked stands in its place


def started(words, **how):
    """A Popen of `python words`."""
    kind = Forked if sys.platform == "linux" else ANY
    return kind([sys.executable, *map(str, words)], **how)


def ran(words, **how):
    """The output, errors and exit code of `python words`, as subprocess.run returns them."""
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


class Forked(subprocess.Popen):
    """A process of this Python that is forked by `server`; of other programs, or with flags of Python's, a Popen as any."""

    def _execute_child(self, *what):
        of = inspect.signature(super()._execute_child).bind(*what).arguments
        program, *words = of["args"]
        words = words[words[:1] == ["-u"] :]  # torchrun's; our scripts write each line at once
        if program != sys.executable or (words[0].startswith("-") and words[0] != "-c"):
            return super()._execute_child(*what)
        pipes = {name: of[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")}
        files = dict(enumerate(pipes[name] for name in ("p2cread", "c2pwrite", "errwrite")))
        files = {theirs: ours if ours >= 0 else theirs for theirs, ours in files.items()} | {n: n for n in of["pass_fds"]}
        about = {"words": words, "cwd": os.path.abspath(of["cwd"] or "."), "env": dict(of["env"] or os.environ)}
        about |= {"files": [*files], "leads": of["start_new_session"]}
        with ASKING:
            prctl = ctypes.CDLL(None).prctl
            prctl(SUBREAPER, 1)
            socket.send_fds(server(), [json.dumps(about).encode()], [*files.values()])
            self.pid, _ = (int(server().recv(100)) for _ in range(2))  # the second once it is an orphan
            prctl(SUBREAPER, 0)
        self._child_created = True
        self._close_pipe_fds(**pipes)


@cache
def server():
    """The socket of a process that forks."""
    here, there = pair()
    with there:
        ANY([sys.executable, __file__, str(there.fileno())], pass_fds=[there.fileno()])
    return here


def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def serve(there):
    """Fork once for each message, until who asks is gone; returns in the forked processes, with what was asked."""
    while True:
        message, files, *_ = socket.recv_fds(there, 2**20, 16)
        if not message:
            os._exit(0)
        if between := os.fork():
            os.waitpid(between, 0)  # which makes an orphan of the one that it has forked
            there.send(b"0")
            for file in files:
                os.close(file)
        elif pid := os.fork():
            there.send(str(pid).encode())
            os._exit(0)
        else:
            there.close()
            asked = json.loads(message)
            apart = [fcntl.fcntl(file, fcntl.F_DUPFD, 100) for file in files]
            for file, number in zip(apart, asked["files"], strict=True):
                os.dup2(file, number)
            for file in {*files, *apart} - {*asked["files"]}:
                os.close(file)
            return asked


def become(asked):
    """Go on as the process that was asked for."""
    if asked["leads"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = asked["words"]
    if sys.argv[0] == "-c":
        sys.path[0] = ""
        exec(sys.argv.pop(1), {"__name__": "__main__"})
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    for name in SLOW:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is there is looked at no more, at the end neither
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    while True:
        here, there = pair()
        if os.fork():
            break
        here.close()  # the other is a server for its own processes
        asked = serve(there)
    there.close()
    server, subprocess.Popen = lambda: here, Forked
    become(asked)
