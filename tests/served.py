"""A `segkit` for shell commands that begins at once: each is forked from a process that has imported torch.

python served.py SOCKET            serves until it is killed; says "ready" on stdout
segkit WORDS...                    the client that `write_client` makes: its words, folder, environment and files go there
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({path!r})
socket.send_fds(line, [b"."], [0, 1, 2])
line.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
sys.exit(int(line.makefile().readline()))
"""


def write_client(folder: Path, path: Path) -> None:
    """An executable `segkit` in a folder, for PATH."""
    folder.mkdir(exist_ok=True)
    (folder / "segkit").write_text(CLIENT.format(python=sys.executable, path=str(path)))
    (folder / "segkit").chmod(0o755)


def serve(path: str) -> None:
    import segkit.training.train  # noqa: F401 (what takes long to import)
    import segkit_unets.unet  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(line)
            os._exit(0)
        line.close()


def _answer(line: socket.socket) -> None:
    """Run what a client asks for in another process, and tell its exit code (of a signal: 128 and its number)."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, *_ = socket.recv_fds(line, 1, 3)
    words, folder, environment = json.loads(line.makefile().readline())
    child = os.fork()
    if child == 0:
        _begin(words, folder, environment, files)
    for file in files:
        os.close(file)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    line.sendall(f"{code if code >= 0 else 128 - code}\n".encode())


def _begin(words: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    code = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["segkit", *words]
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        from segkit.cli.app import run

        code = run(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
