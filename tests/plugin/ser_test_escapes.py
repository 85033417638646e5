"""What a decoder that was taken over would try: each of these must fail inside the fence."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_FOLDER = tempfile.gettempdir()
_THERE = os.path.join(_FOLDER, f"ser-escape-{os.getuid()}")
_PARENT = os.getppid()
_PTRACE_ATTACH = 16
# System calls by number on x86-64 and AArch64.
_NUMBER = {
    "process_vm_readv": (310, 270), "io_uring_setup": (425, 425), "memfd_create": (319, 279),
    "unshare": (272, 97), "mount": (165, 40), "bpf": (321, 280), "userfaultfd": (323, 282),
    "openat2": (437, 437), "execveat": (322, 281), "pidfd_open": (434, 434), "clone3": (435, 435),
    "symlinkat": (266, 36), "fchmod": (91, 52), "keyctl": (250, 219), "setuid": (105, 146),
}  # fmt: skip
_COLUMN = 0 if os.uname().machine == "x86_64" else 1
Path(_THERE).write_text("there")


def _call(name, *arguments):
    if _LIBC.syscall(_NUMBER[name][_COLUMN], *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _connect():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect_ex(("127.0.0.1", 9))


def _fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _ptrace():
    if _LIBC.ptrace(_PTRACE_ATTACH, _PARENT, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(_PARENT, 0)


def _open_in_a_thread():
    problems = []

    def attempt():
        try:
            Path(_THERE).read_bytes()
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=attempt)
    try:
        thread.start()
    except RuntimeError as error:  # RLIMIT_NPROC, for any user but root
        raise OSError(str(error)) from error
    thread.join()
    if problems:
        raise problems[0]


ATTEMPTS = {
    "read a file": lambda: Path(_THERE).read_bytes(),
    "read a file in a thread": _open_in_a_thread,
    "read a file by openat2": lambda: _call(
        "openat2", -100, _THERE.encode(), bytes(24), ctypes.c_size_t(24)
    ),
    "open an open file again": lambda: os.open("/proc/self/fd/0", os.O_RDONLY),
    "read the memory of this process": lambda: os.open("/proc/self/mem", os.O_RDONLY),
    "read the environment of the parent": lambda: Path(f"/proc/{_PARENT}/environ").read_bytes(),
    "list a folder": lambda: os.listdir(_FOLDER),
    "look at a file": lambda: os.stat(_THERE),
    "write a file": lambda: Path(_THERE + ".new").write_text("x"),
    "delete a file": lambda: os.unlink(_THERE),
    "make a link": lambda: _call("symlinkat", _THERE.encode(), -100, (_THERE + ".link").encode()),
    "make a folder": lambda: os.mkdir(_THERE + ".folder"),
    "change a mode": lambda: _call("fchmod", 0, 0o777),
    "a file in memory": lambda: _call("memfd_create", b"x", 0),
    "a TCP connection": _connect,
    "a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "a UNIX socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "a raw netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "a pair of sockets": lambda: [end.close() for end in socket.socketpair()],
    "fork": _fork,
    "clone3": lambda: _call("clone3", bytes(88), ctypes.c_size_t(88)),
    "start a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "become a program by a descriptor": lambda: _call("execveat", 0, b"", None, None, 0x1000),
    "trace the parent": _ptrace,
    "read the memory of the parent": lambda: _call(
        "process_vm_readv", _PARENT, None, 0, None, 0, 0
    ),
    "signal the parent": lambda: os.kill(_PARENT, signal.SIGCONT),
    "a handle of the parent": lambda: _call("pidfd_open", _PARENT, 0),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, -1)),
    "raise the limit of CPU seconds": lambda: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1)),
    "become another user": lambda: _call("setuid", 65534),
    "io_uring": lambda: _call("io_uring_setup", 1, bytes(120)),
    "bpf": lambda: _call("bpf", 0, bytes(128), 128),
    "userfaultfd": lambda: _call("userfaultfd", 1),
    "keys of the kernel": lambda: _call("keyctl", 0, -3, 1),
    "a namespace": lambda: _call("unshare", 0),
    "mount": lambda: _call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
}


def succeeded(names=ATTEMPTS):
    """Names of the attempts that did not fail."""
    found = []
    for name in names:
        try:
            ATTEMPTS[name]()
        except (OSError, ValueError):
            continue
        found.append(name)
    return found


def report():
    """What an attempt to escape comes to, as text."""
    return f"{len(ATTEMPTS)} attempts, succeeded: {', '.join(succeeded()) or 'none'}"
