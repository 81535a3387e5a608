"""The inside of level `landlock`: gives up everything that a program does not need.

Runs in the program's own process before the program does; it must not import forethought.
Structures and numbers are those of linux/landlock.h, linux/prctl.h and linux/capability.h; the
three Landlock calls have the same numbers on every machine.
"""

from __future__ import annotations

import ctypes
import os

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 24, 38, 22, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CAPABILITY_VERSION = 0x20080522
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read files, list folders
_FILE = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # rights that a file can have
_WRITE = {
    1: 0x1FFF,
    2: 0x3FFF,
    3: 0x7FFF,
    4: 0x7FFF,
}  # all rights of a version; 2 refer, 3 truncate
_ALL = 0xFFFF  # from version 5: and ioctl on devices
_NET, _SCOPE = 0x3, 0x3  # bind and connect TCP (4); abstract sockets and signals (6)


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(abi: int, rules: bytes, paths: list[str]) -> None:
    """Confines this process for good.

    Args:
        abi: version of Landlock that the kernel speaks, at least 1.
        rules: a seccomp filter.
        paths: `r/path` may be read, `w/path` may also be written; others are out of reach.

    Raises:
        OSError: the kernel refuses; nothing of the program may run.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        if library.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # not root, or behind the last one
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _ok(library.capset(header, (ctypes.c_uint32 * 6)()))
    _ok(library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _landlock(library, abi, paths)
    kept = ctypes.create_string_buffer(rules, len(rules))
    program = _Program(len(rules) // 8, ctypes.addressof(kept))
    _ok(library.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0))


def _landlock(library: ctypes.CDLL, abi: int, paths: list[str]) -> None:
    handled = _WRITE.get(abi, _ALL)
    ruleset = _Ruleset(handled, _NET if abi >= 4 else 0, _SCOPE if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    descriptor = _ok(library.syscall(_CREATE_RULESET, ctypes.byref(ruleset), size, 0))
    for path in paths:
        rights = _READ if path[0] == "r" else handled
        parent = os.open(path[1:], os.O_PATH)
        if not os.path.isdir(path[1:]):
            rights &= _FILE
        rule = _PathRule(rights & handled, parent)
        _ok(library.syscall(_ADD_RULE, descriptor, 1, ctypes.byref(rule), 0))
        os.close(parent)
    _ok(library.syscall(_RESTRICT_SELF, descriptor, 0))
    os.close(descriptor)


def _ok(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
