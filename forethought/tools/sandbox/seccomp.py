"""A seccomp filter as bytes: what the levels `bwrap` and `landlock` take from a program.

A list of refusals, and "no such call" for every number newer than the list. What is refused: name
spaces, mounts, tracing, other processes' memory, keys, kernel modules, clocks, io_uring (which goes
around filters), memory that no limit counts (memfd, System V, shared mappings without a file,
pages given to a pipe), waiting for all the machine's disks, and sockets other than local ones.
Landlock leaves more to the filter: it does not cover ownership, modes and times of files, nor
priorities and limits of other processes.

Format: classic BPF over `struct seccomp_data` (linux/seccomp.h, linux/filter.h); numbers from
asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import errno
import functools
import platform
import struct
import sys
from collections.abc import Iterable, Sequence

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW* of linux/sched.h
_THREAD, _FILES = 0x10000, 0x400  # CLONE_THREAD, CLONE_FILES
_UNSHARE = 2  # CLOSE_RANGE_UNSHARE of linux/close_range.h
_SHARED_NOWHERE, _HUGE = 0x21, 0x40000  # MAP_SHARED | MAP_ANONYMOUS, MAP_HUGETLB of linux/mman.h
_AF_UNIX, _STREAM, _TYPE = 1, 1, 0xF
_HARMLESS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS and TCGETS2 (is it a terminal?), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_F_SETOWN, _F_SETOWN_EX = 8, 15  # who gets a signal
_F_SETLEASE, _F_NOTIFY = 1024, 1026  # lets others wait who open a file; tells what they do
_LAST = 450  # newer calls: fchmodat2, setxattrat, ... are refused as unknown

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column

_CALLS: dict[str, tuple[int | None, int | None]] = {
    "pidfd_send_signal": (424, 424), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "clone3": (435, 435), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "mount_setattr": (442, 442), "quotactl_fd": (443, 443), "memfd_secret": (447, 447),
    "process_mrelease": (448, 448),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "memfd_create": (319, 279), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "vhangup": (153, 58), "personality": (135, 92), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "clone": (56, 220), "socket": (41, 198), "socketpair": (53, 199), "ioctl": (16, 29),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "truncate": (76, 45), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "prlimit64": (302, 261),
    "mmap": (9, 222), "vmsplice": (278, 75), "close_range": (436, 436), "sync": (162, 81),
    "syncfs": (306, 267), "setpgid": (109, 154), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "fcntl": (72, 25),
}  # fmt: skip

_CONDITIONAL = (
    *("clone", "clone3", "socket", "socketpair", "ioctl", "prlimit64", "kill", "tgkill", "mmap"),
    *("close_range", "setpgid"),
)
_OF_OTHERS = ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
_METADATA = (
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utime", "utimes"),
    *("futimesat", "utimensat"),
)
_LANDLOCK_ONLY = (*_METADATA, "connect", "bind", "listen", "setpriority", "ioprio_set", "socket")
_ELSEWHERE = (*_CONDITIONAL, *_OF_OTHERS, *_LANDLOCK_ONLY, "truncate", "tkill", "fcntl")

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def is_known_machine() -> bool:
    """Whether the filter can be written for this machine."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


@functools.cache
def bubblewrap_filter(*, of_root: bool) -> bytes:
    """For a program that has name spaces of its own, started by the true root or another user.

    Root owns the machine's devices, of which a program has some.
    """
    refused = [name for name in _CALLS if name not in _ELSEWHERE]
    refused += _METADATA if of_root else ()
    rules = [_only("socket", (0, None, (_AF_UNIX,))), _only("socketpair", (0, None, (_AF_UNIX,)))]
    return _assemble(refused, [*_common(), *rules])


@functools.cache
def landlock_filter(abi: int) -> bytes:
    """For a program that shares everything with its user, under Landlock of this version.

    Before version 6 Landlock lets signals out, so that a program may only signal its whole group,
    and not choose another; before 3 it lets `truncate` pass.
    """
    refused = [name for name in _CALLS if name not in _ELSEWHERE] + list(_LANDLOCK_ONLY)
    rules = [_only("socketpair", (0, None, (_AF_UNIX,)), (1, _TYPE, (_STREAM,)))]
    rules += [_only(name, (0, None, (0,))) for name in ("prlimit64", *_OF_OTHERS)]
    if abi < 6:
        refused += ["tkill", "tgkill", "setpgid"]
        rules += [_only("kill", (0, None, (0,)))]
    if abi < 3:
        refused.append("truncate")
    owners = (_F_SETOWN, _F_SETOWN_EX) if abi < 6 else ()
    return _assemble(refused, [*_common(owners), *rules])


def _common(fcntls: Sequence[int] = ()) -> list[tuple[str, list[Instruction]]]:
    # A table of open files of its own for every thread would multiply the bound of those, and what
    # the kernel keeps in sockets and pipes with it.
    clone = [
        *_refuse_bits(0, _NEW_NAMESPACES),
        (_ANY_BIT, 0, 2, _THREAD),
        (_ANY_BIT, 1, 0, _FILES),
        _error(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    # Pages of a shared mapping stay when they are no longer mapped, as long as one byte of it is:
    # memory that no process seems to have.
    mmap = [
        *_refuse_bits(3, _HUGE),
        (_AND, 0, 0, _SHARED_NOWHERE),
        (_EQUAL, 0, 1, _SHARED_NOWHERE),
        _error(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return [
        ("mmap", mmap),
        ("clone", clone),
        ("clone3", [_error(errno.ENOSYS)]),  # its flags lie in memory; libraries fall back
        ("close_range", [*_refuse_bits(2, _UNSHARE), (_RETURN, 0, 0, _ALLOW)]),
        # Of a file that may only be read, its owner may change attributes by ioctl.
        _only("ioctl", (1, None, _HARMLESS)),
        _refuse("fcntl", 1, (_F_SETLEASE, _F_NOTIFY, *fcntls)),
    ]


def _only(
    name: str, *conditions: tuple[int, int | None, Sequence[int]]
) -> tuple[str, list[Instruction]]:
    """Allows a call where each argument (number, mask) is one of the values."""
    body: list[Instruction] = []
    for number, mask, values in conditions:
        body.append(_argument(number))
        if mask is not None:
            body.append((_AND, 0, 0, mask))
        for position, value in enumerate(values):
            body.append((_EQUAL, len(values) - position, 0, value))
        body.append(_error(errno.EPERM))
    return name, [*body, (_RETURN, 0, 0, _ALLOW)]


def _refuse(name: str, number: int, values: Sequence[int]) -> tuple[str, list[Instruction]]:
    """Refuses a call where an argument is one of the values."""
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return name, [_argument(number), *tests, (_RETURN, 0, 0, _ALLOW), _error(errno.EPERM)]


def _refuse_bits(number: int, bits: int) -> list[Instruction]:
    """Refuses a call whose argument has one of these bits; it stays loaded for what follows."""
    return [_argument(number), (_ANY_BIT, 0, 1, bits), _error(errno.EPERM)]


def _argument(number: int) -> Instruction:
    return _LOAD, 0, 0, 16 + 8 * number  # the low half: both machines are little-endian


def _error(number: int) -> Instruction:
    return _RETURN, 0, 0, _ERROR | number


def _assemble(refused: Iterable[str], rules: Iterable[tuple[str, list[Instruction]]]) -> bytes:
    machine, column = _MACHINES[platform.machine()]
    program: list[Instruction] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),  # calls of another machine (32 bit) have other numbers
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _LAST + 1),  # and those of x32
        _error(errno.ENOSYS),
    ]
    for name in refused:
        number = _CALLS[name][column]
        if number is not None:
            program += [(_EQUAL, 0, 1, number), _error(errno.EPERM)]
    for name, body in rules:
        number = _CALLS[name][column]
        assert number is not None
        program += [(_EQUAL, 0, len(body), number), *body]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
