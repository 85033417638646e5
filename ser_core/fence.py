"""A fence that a process puts round itself: no network, no file, no other process.

Three layers, each of which the kernel keeps without our help:

- seccomp: the system calls of `_CALLS` are allowed, all others fail with EACCES, in every thread.
  Among those that fail are the calls that open a file, make a socket, start a process or trace one.
- Landlock: whatever names a file, a TCP port, an abstract socket or a foreign process by a signal
  is refused to the thread that closes the fence and those that it starts.
- Limits (setrlimit): files of 0 bytes, no core dump, no new process, few open files.

What was opened before the fence closes stays open. Nothing opens it again. The kernel's calls are
made through ctypes: libseccomp and Landlock have no Python binding that is kept up. Numbers are
those of Linux on x86-64 and AArch64 (`asm/unistd.h`); the filter is a program of classic BPF as in
seccomp(2), the rules are as in landlock(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# What a run does about the fence: --no-fence, the default, --require-fence.
OFF, ON, REQUIRED = "off", "on", "required"
MODES = (OFF, ON, REQUIRED)
NONE = "none"

# Files that a decoder may open on top of those that are open.
_MORE_FILES = 32

# Architecture -> (its audit number, index in the pairs below).
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# System call -> numbers on x86-64 and AArch64. In the order of how often they are made.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "pread64": (17, 67), "write": (1, 64), "futex": (202, 98), "brk": (12, 214),
    "clock_gettime": (228, 113), "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226),
    "madvise": (28, 233), "mremap": (25, 216), "lseek": (8, 62), "fstat": (5, 80),
    "close": (3, 57), "getrusage": (98, 165), "getpid": (39, 172), "getppid": (110, 173),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "recvmsg": (47, 212), "dup": (32, 23),
    "readv": (19, 65), "preadv": (295, 69), "preadv2": (327, 286), "writev": (20, 66),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "sched_yield": (24, 124), "getcpu": (309, 168), "sched_getaffinity": (204, 123),
    "membarrier": (324, 283), "rseq": (334, 293),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "set_tid_address": (218, 96),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "sysinfo": (99, 179), "uname": (63, 160), "getrandom": (318, 278),
    "getrlimit": (97, 163), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "exit": (60, 93), "exit_group": (231, 94),
    # These only with certain arguments: see `_checks`.
    "newfstatat": (262, 79), "statx": (332, 291), "fcntl": (72, 25), "clone": (56, 220),
    "prlimit64": (302, 261), "prctl": (157, 167), "kill": (62, 129), "tgkill": (234, 131),
}  # fmt: skip
# Refused with ENOSYS, so that the C library falls back to `clone`.
_CLONE3 = 435
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446

_AT_EMPTY_PATH, _CLONE_THREAD = 0x1000, 0x10000
_PR_SET_NO_NEW_PRIVS, _PR_SET_NAME = 38, 15
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)
_SET_MODE_FILTER, _FILTER_FLAG_TSYNC = 1, 1
# Classic BPF: load a word, jump, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
# Offsets in struct seccomp_data.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT = 0x40000000
# Landlock's rights on files by the version from which they exist.
_LANDLOCK_FILES = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_LANDLOCK_TCP, _LANDLOCK_SCOPES = 0b11, 0b11


@dataclass(frozen=True)
class Fence:
    """What is closed round a process.

    Parameters
    ----------
    layers : tuple of str
        Such as "landlock 7", "seccomp", "rlimits"; empty where there is no fence.
    missing : tuple of str
        Layers that could not be closed, with the cause.
    is_closed : bool
        Whether the process can open no file and no socket, and start no process.
    """

    layers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    is_closed: bool = False

    def __str__(self) -> str:
        if not self.layers:
            return NONE
        text = ", ".join(self.layers)
        if len(self.layers) == 1:
            text += " only"
        return f"{text}: {', '.join(self.missing)}" if self.missing else text


def close() -> Fence:
    """Close the fence round this process, for good.

    Whatever the process needs must have been loaded. A layer that the kernel does not have is
    left out, and the result says so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    layers: list[str] = []
    missing: list[str] = []
    _limit_resources()
    no_new_privileges = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    version = _restrict_by_landlock(libc) if no_new_privileges else 0
    if version:
        layers.append(f"landlock {version}")
    else:
        missing.append("no landlock in this kernel")
    problem = _filter_calls(libc) if no_new_privileges else "no_new_privs is refused"
    if problem is None:
        layers.append("seccomp")
    else:
        missing.append(f"no seccomp ({problem})")
    layers.append("rlimits")
    return Fence(tuple(layers), tuple(missing), problem is None)


def landlock_version() -> int:
    """Version of Landlock that this kernel has; 0 where it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, _syscall(libc, _LANDLOCK_CREATE_RULESET, None, 0, 1))


def _limit_resources() -> None:
    opened = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
    for limit, value in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, opened + _MORE_FILES),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _restrict_by_landlock(libc: ctypes.CDLL) -> int:
    """Refuse everything that Landlock can; its version, 0 where the kernel has none."""
    version = _syscall(libc, _LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return 0
    rights = sum(bits for since, bits in _LANDLOCK_FILES if version >= since)
    attributes = [rights]
    if version >= 4:
        attributes.append(_LANDLOCK_TCP)
    if version >= 6:
        attributes.append(_LANDLOCK_SCOPES)
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    rules = _syscall(libc, _LANDLOCK_CREATE_RULESET, packed, len(packed), 0)
    if rules < 0:
        return 0
    try:
        return version if _syscall(libc, _LANDLOCK_RESTRICT_SELF, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _filter_calls(libc: ctypes.CDLL) -> str | None:
    """Allow the calls of `_CALLS` and no other; the problem if that cannot be done."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return f"the calls of {machine} are not known"
    program = _program(machine)
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    filter_ = Program(len(program) // 8, ctypes.addressof(code))
    failed = _syscall(
        libc, _SECCOMP[machine], _SET_MODE_FILTER, _FILTER_FLAG_TSYNC, ctypes.byref(filter_)
    )
    if failed < 0:
        return os.strerror(ctypes.get_errno())
    return "a thread could not be fenced" if failed else None


def _syscall(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(number), *words)


# ---------------------------------------------------------------- the filter


def _program(machine: str) -> bytes:
    """The filter, as the kernel takes it."""
    architecture, column = _ARCHITECTURES[machine]
    refuse, no_such_call = _REFUSE | errno.EACCES, _REFUSE | errno.ENOSYS
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, refuse),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, no_such_call),
    ]
    checks = _checks()
    for name, numbers in _CALLS.items():
        number = numbers[column]
        if number is None:
            continue
        block = checks.get(name, [(_RETURN, 0, 0, _ALLOW)])
        lines += [(_EQUAL, 0, len(block), number), *block]
    lines.append((_RETURN, 0, 0, refuse))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


_Line = tuple[int, int, int, int]


def _checks() -> dict[str, list[_Line]]:
    """What is checked of the arguments of a call before it is allowed."""
    own_process = _one_of(0, [os.getpid()])
    return {
        # A descriptor, not a path.
        "newfstatat": _if_any_bit(3, _AT_EMPTY_PATH),
        "statx": _if_any_bit(2, _AT_EMPTY_PATH),
        # A thread, not a process.
        "clone": _if_any_bit(0, _CLONE_THREAD),
        "fcntl": _one_of(1, _FCNTL_COMMANDS),
        "prctl": _one_of(0, [_PR_SET_NAME]),
        "kill": own_process,
        "tgkill": own_process,
        # To read a limit of this process, not to set one.
        "prlimit64": _if_zero(2),
    }


def _at(argument: int, high: bool = False) -> int:
    """Offset of the low or the high word of an argument; both architectures are little-endian."""
    return _ARGUMENTS_AT + 8 * argument + 4 * high


def _one_of(argument: int, values: Sequence[int]) -> list[_Line]:
    lines: list[_Line] = [(_LOAD, 0, 0, _at(argument))]
    lines += [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*lines, (_RETURN, 0, 0, _REFUSE | errno.EACCES), (_RETURN, 0, 0, _ALLOW)]


def _if_any_bit(argument: int, bits: int) -> list[_Line]:
    return [
        (_LOAD, 0, 0, _at(argument)),
        (_ANY_BIT, 1, 0, bits),
        (_RETURN, 0, 0, _REFUSE | errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _if_zero(argument: int) -> list[_Line]:
    return [
        (_LOAD, 0, 0, _at(argument)),
        (_EQUAL, 0, 2, 0),
        (_LOAD, 0, 0, _at(argument, high=True)),
        (_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _REFUSE | errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]
