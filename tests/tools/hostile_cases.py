"""Programs that nobody should run, and what "contained" means for each.

Contained is the same for all: no effect outside (a canary file, its folder and its secret, a
variable, listening sockets, another process of the user, the system's mounts, keys, segments and
name), an answer within the limit of time + 1 s, and no process left after 2 s. A program prints
ESCAPED where it was given what should be refused. `killed` is the verdict where there is one to
expect. At level `limits` the programs with `effect` have one: that shows that the test can fail.

Every program is tame by itself, whatever the sandbox does: a bomb ends at some hundred processes or
threads, each of which ends after five seconds; memory at 2 GB, disk at 300 MB.

In a program `@folder@` and the like are what the test has planted: a folder with the file `canary`,
`@pid@` another process of the user, `@tcp@` a port, `@unix@` a socket.
"""

from __future__ import annotations

from dataclasses import dataclass

SYSCALL = "import ctypes\ncall = ctypes.CDLL(None, use_errno=True).syscall\n"
MMAP = "import mmap, os, time\n"


@dataclass(frozen=True)
class Case:
    kind: str
    name: str
    code: str
    killed: str | None = None
    effect: bool = False  # at level `limits`
    then: str = ""  # a second program, in a call of its own
    landlock: str = "contained"  # else why the level does not promise it


def case(kind: str, name: str, *lines: str, **more: object) -> Case:
    return Case(kind, name, "\n".join(lines) + "\n", **more)  # type: ignore[arg-type]


def refused(kind: str, name: str, action: str, first: str = "", **more: object) -> Case:
    """A program that says so when `action` was not refused."""
    body = (
        f"try:\n    {action}\n    print('ESCAPED')\nexcept OSError as e: print('refused', e.errno)"
    )
    return case(kind, name, first + "\nimport os, socket, sys", body, **more)


def by_number(kind: str, name: str, x86: int, arm: int, arguments: str = "0, 0, 0, 0, 0") -> Case:
    """A system call by its number; refused is no other error than these two."""
    number = f"({x86} if os.uname().machine == 'x86_64' else {arm})"
    asks = f"refused = call({number}, {arguments}) == -1 and ctypes.get_errno() in (1, 38)"
    return case(kind, name, SYSCALL + "import os", asks, "print(refused or 'ESCAPED')")


CANARY = "'@folder@/canary'"

FILES = [
    case("read", "a file", f"print(open({CANARY}).read())", effect=True),
    case("read", "a link to it", f"import os; os.symlink({CANARY}, 'l'); print(open('l').read())",
         effect=True),
    case("read", "through /proc/self/root", "print(open('/proc/self/root@folder@/canary').read())",
         effect=True),
    case("read", "up from the working folder", f"print(open('../' * 30 + {CANARY}).read())",
         effect=True),
    case("read", "with cat", f"import subprocess; subprocess.run(['cat', {CANARY}])", effect=True),
    case("read", "another program's scratch folder", "import glob",
         "print([open(f).read() for f in glob.glob('@scratch@/sandbox-*/*/*')])", effect=True),
    case("read", "the home folder", "import os", "print('ESCAPED', os.listdir('@home@'))",
         effect=True),
    refused("read", "password hashes", "open('/etc/shadow').read(1)"),
    case("read", "keys of the user", "import glob",
         "print([open(f).read() for f in glob.glob('@home@/.ssh/*')])", effect=True),
    case("read", "mapped into memory", MMAP + f"f = os.open({CANARY}, os.O_RDONLY)",
         "print(mmap.mmap(f, 0, prot=mmap.PROT_READ)[:])", effect=True),
    case("write", "over a file", f"open({CANARY}, 'w').write('x')", effect=True),
    case("write", "behind a file", f"open({CANARY}, 'a').write('x')", effect=True),
    case("write", "truncates", f"import os; os.truncate({CANARY}, 0)", effect=True),
    case("write", "removes", f"import os; os.remove({CANARY})", effect=True),
    case("write", "renames", f"import os; os.rename({CANARY}, '@folder@/other')", effect=True),
    case("write", "a new file", "open('@folder@/new', 'w').write('x')", effect=True),
    case("write", "a new folder", "import os; os.mkdir('@folder@/new')", effect=True),
    case("write", "moves its own file there",
         "import os; open('a', 'w').close(); os.rename('a', '@folder@/new')", effect=True),
    case("write", "hard link out of it", "import os",
         f"os.link({CANARY}, 'l'); open('l', 'a').write('x')", effect=True),
    case("write", "through a link of a folder",
         "import os; os.symlink('@folder@', 'd'); open('d/new', 'w').close()", effect=True),
    case("metadata", "mode", f"import os; os.chmod({CANARY}, 0o777)", effect=True),
    case("metadata", "mode through a descriptor of the folder",
         "import os", "d = os.open('@folder@', os.O_PATH)", "os.chmod('canary', 0o777, dir_fd=d)",
         effect=True),
    case("metadata", "owner", f"import os; os.chown({CANARY}, 12345, 12345)"),
    case("metadata", "times", f"import os; os.utime({CANARY}, (1, 1))", effect=True),
    case("metadata", "attributes", f"import os; os.setxattr({CANARY}, 'user.x', b'x')"),
    refused("metadata", "attributes by ioctl",
            "fcntl.ioctl(f, 0x80086601, b); fcntl.ioctl(f, 0x40086602, b)",
            "import fcntl\nf, b = open('a', 'w'), bytearray(8)"),
    refused("metadata", "mode of a device", "os.chmod('/dev/null', 0o666)"),
    refused("metadata", "times of a device", "os.utime('/dev/urandom', (1, 1))"),
    case("system", "where core dumps go", "import os",
         "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY); print('ESCAPED')"),
    case("system", "caches of the kernel", "import os",
         "os.open('/proc/sys/vm/drop_caches', os.O_WRONLY); print('ESCAPED')"),
    case("system", "its control group", "import glob, os",
         "for f in glob.glob('/sys/fs/cgroup/*/cgroup.procs') + ['/sys/fs/cgroup/cgroup.procs']:",
         "    try: open(f, 'w').write(str(os.getpid()))", "    except OSError: continue",
         "    print('ESCAPED', f)"),
    case("system", "a map of its memory",
         "print('ESCAPED' if open('/proc/pagetypeinfo').read(1) else 'nothing')"),
    case("system", "out-of-memory score of another",
         "open('/proc/@pid@/oom_score_adj', 'w').write('999')", effect=True),
]  # fmt: skip

SECRETS = [
    case("environment", "its own", "import os; print(dict(os.environ))"),
    case("environment", "of pid 1", "print(open('/proc/1/environ').read())"),
    case("environment", "of its parent",
         "import os; print(open(f'/proc/{os.getppid()}/environ').read())"),
    case("environment", "of everybody", "import glob", "for f in glob.glob('/proc/*/environ'):",
         "    try: text = open(f).read()", "    except OSError: continue",
         "    print(*[x for x in text.split(chr(0)) if 'FORETHOUGHT_CANARY' in x])", effect=True),
    case("processes of others", "command lines", "import glob",
         "for f in glob.glob('/proc/*/cmdline'):",
         "    try: text = open(f).read()", "    except OSError: continue",
         "    print(*[x for x in text.split(chr(0)) if x.startswith('gold=')])", effect=True),
    case("processes of others", "memory by file", "import re",
         "spans = [l.split()[0].split('-') for l in open('/proc/@pid@/maps') if ' rw-p' in l]",
         "m = open('/proc/@pid@/mem', 'rb')", "for a, b in spans:",
         "    m.seek(int(a, 16))",
         "    try: print(re.findall(rb'gold=\\w+', m.read(int(b, 16) - int(a, 16))))",
         "    except (OSError, MemoryError): pass", effect=True),
    by_number("processes of others", "memory by call", 310, 270, "@pid@, 0, 0, 0, 0, 0"),
    by_number("processes of others", "memory of its parent", 310, 270,
              "os.getppid(), 0, 0, 0, 0, 0"),
    by_number("processes of others", "traces", 101, 117, "16, @pid@, 0, 0"),
    case("descriptors", "inherited", "import os", "for fd in os.listdir('/proc/self/fd'):",
         "    try: to = os.readlink('/proc/self/fd/' + fd)", "    except OSError: continue",
         "    if not to.startswith(('pipe:', '/dev/null', '/proc/')): print('ESCAPED', to)"),
    case("state", "a file for the next call", "open('/tmp/left', 'w').write('x')",
         then="import os; print('ESCAPED' if os.path.exists('/tmp/left') else 0)", effect=True),
    case("state", "a module for the next call", "open('random.py', 'w').write('x = 1')",
         then="import random, os; print('ESCAPED' if hasattr(random, 'x') else os.listdir('.'))"),
]  # fmt: skip

NETWORK = [
    case("network", "TCP", "import socket", "socket.create_connection(('127.0.0.1', @tcp@))",
         effect=True),
    case("network", "UDP", "import socket",
         "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @udp@))", effect=True),
    case("network", "a question to a name server", "import socket, struct",
         "q = struct.pack('>6H', 1, 256, 1, 0, 0, 0) + b'\\6canary\\4test\\0\\0\\1\\0\\1'",
         "socket.socket(type=socket.SOCK_DGRAM).sendto(q, ('127.0.0.1', @udp@))", effect=True),
    case("network", "HTTP by the library", "import urllib.request",
         "urllib.request.urlopen('http://127.0.0.1:@tcp@/', timeout=.3)", effect=True),
    case("network", "a local socket", "import socket",
         "socket.socket(socket.AF_UNIX).connect('@unix@')", effect=True),
    case("network", "a local socket without a file", "import socket",
         "socket.socket(socket.AF_UNIX).connect('\\0@abstract@')", effect=True),
    case("network", "a datagram from a pair", "import socket",
         "a, b = socket.socketpair(type=socket.SOCK_DGRAM)", "a.sendto(b'x', '@datagram@')",
         "print('ESCAPED')"),
    refused("network", "a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    refused("network", "netlink", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    refused("network", "the machine's host", "socket.socket(40, socket.SOCK_STREAM)"),
    refused("network", "a server", "socket.socket().bind(('0.0.0.0', 0))"),
    by_number("network", "around the filter", 425, 425, "8, ctypes.create_string_buffer(256)"),
]  # fmt: skip

CROWDS = [
    case("processes", "fork bomb", "import os, time", "for _ in range(8):",  # 2**8 in all
         "    try: os.fork()", "    except OSError: pass", "time.sleep(5)", killed="processes"),
    case("processes", "as many as there can be", "import os, time", "for _ in range(400):",
         "    try:", "        if os.fork() == 0: time.sleep(5); os._exit(0)",
         "    except OSError: pass", "time.sleep(5)", killed="processes"),
    case("processes", "a crowd of sleepers", "import os, time", "for _ in range(30):",
         "    if os.fork() == 0: time.sleep(5); os._exit(0)", "time.sleep(5)", killed="processes"),
    case("processes", "whose first threads have ended", SYSCALL, "import os, threading, time",
         "number = 60 if os.uname().machine == 'x86_64' else 93",
         "for _ in range(30):", "    if os.fork() == 0:",
         "        threading.Thread(target=time.sleep, args=(5,)).start(); call(number, 0)",
         "    time.sleep(.02)", "time.sleep(5)", killed="processes"),
    case("processes", "whose names look like their end", "import ctypes, os, time",
         "for _ in range(30):", "    if os.fork() == 0:",
         "        ctypes.CDLL(None).prctl(15, b') Z 1 1', 0, 0, 0)", "        time.sleep(5)",
         "        os._exit(0)", "time.sleep(5)", killed="processes"),
    case("processes", "that end at once", "import os", "for _ in range(400):", "    try:",
         "        if os.fork() == 0: os._exit(0)", "    except OSError: pass"),
    case("processes", "programs", "import subprocess",
         "x = [subprocess.Popen(['sleep', '5']) for _ in range(30)]", "x[0].wait()",
         killed="processes"),
    case("processes", "thread bomb", "import threading, time", "threading.stack_size(32768)",
         "for _ in range(400): threading.Thread(target=time.sleep, args=(5,)).start()",
         killed="processes"),
    case("left behind", "double fork", "import os, time", "if os.fork() == 0:", "    os.setsid()",
         "    if os.fork() == 0: time.sleep(60)", "    os._exit(0)"),
    case("left behind", "closes all and changes away", "import os, time", "if os.fork() == 0:",
         "    os.setsid(); os.closerange(0, 200); os.chdir('/')", "    time.sleep(60)"),
    case("left behind", "without its first thread", SYSCALL, "import os, threading, time",
         "if os.fork() == 0:",
         "    os.setsid(); threading.Thread(target=time.sleep, args=(60,)).start()",
         "    call(60 if os.uname().machine == 'x86_64' else 93, 0)", "time.sleep(.2)"),
    case("left behind", "a program in a session", "import subprocess",
         "subprocess.Popen(['sleep', '60'], start_new_session=True, env={})"),
    case("left behind", "past the limit", "import os, time", "if os.fork() == 0: os.setsid()",
         "time.sleep(60)", killed="time"),
    case("time", "sleeps and ignores signals", "import signal, time", "for s in range(1, 32):",
         "    try: signal.signal(s, signal.SIG_IGN)", "    except (OSError, ValueError): pass",
         "time.sleep(60)", killed="time"),
    case("time", "spins", "while True: pass", killed="time"),
    case("time", "in C", "sum(range(10**12))", killed="time"),
    case("signals", "kills another", "import os; os.kill(@pid@, 9)", effect=True),
    case("signals", "stops another", "import os, signal; os.kill(@pid@, signal.SIGSTOP)",
         effect=True),
    case("signals", "everybody", "import os; os.kill(-1, 28)"),
    case("signals", "its parent", "import os", "os.kill(os.getppid(), 9)", "print('on')"),
    case("signals", "its parent, from its parent's group", "import os, time",
         "if os.fork() == 0:", "    os.setsid()", "    if os.fork() == 0: time.sleep(60)",
         "    os._exit(0)", "os.wait()", "try: os.setpgid(0, os.getppid())",
         "except OSError: pass", "os.kill(0, 9)"),
    case("signals", "pid 1", "import os", "os.kill(1, 28)"),
    by_number("signals", "by queue", 129, 138, "@pid@, 28, ctypes.create_string_buffer(128)"),
    case("signals", "as owner of a pipe", "import fcntl, os", "r, w = os.pipe()",
         "fcntl.fcntl(r, fcntl.F_SETOWN, @pid@); fcntl.fcntl(r, 10, 28)",
         "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)", "os.write(w, b'x')", effect=True),
    case("limits of others", "bounds", "import resource",
         "resource.prlimit(@pid@, resource.RLIMIT_NOFILE, (7, 7))", effect=True),
    case("limits of others", "priority", "import os",
         "os.setpriority(os.PRIO_PROCESS, @pid@, 19)", effect=True),
    case("limits of others", "policy", "import os",
         "os.sched_setscheduler(@pid@, os.SCHED_BATCH, os.sched_param(0))", effect=True),
    case("arguments", "huge", "import os", "os.execv('/bin/true', ['x' * 100000] * 50)"),
]  # fmt: skip

BULK = [
    case("memory", "one block", "x = bytearray(1 << 40)", killed="memory"),
    case("memory", "many blocks", "x = []", "for _ in range(2000): x.append(bytearray(1 << 20))",
         killed="memory"),
    case("memory", "mapped", MMAP + "x = []", "for _ in range(120):",
         "    m = mmap.mmap(-1, 1 << 24); m[::4096] = b'x' * 4096; x.append(m)",
         "print('ESCAPED')"),
    case("memory", "shared among children", "import os, time", "os.fork(); os.fork()",
         "x = bytearray(60 << 20)", "time.sleep(60)", killed="memory"),
    case("memory", "a file in memory", "import os", "f = os.memfd_create('x')",
         "for _ in range(99): os.write(f, bytes(1 << 20))", "print('ESCAPED')"),
    case("memory", "/dev/shm", "from multiprocessing import shared_memory",
         "x = [shared_memory.SharedMemory(create=True, size=1 << 20) for _ in range(99)]",
         "print('ESCAPED')"),
    by_number("memory", "a segment", 29, 194, "0, 1 << 20, 0o1600"),
    by_number("memory", "a queue", 68, 186, "0, 0o1600"),
    refused("memory", "shared, without a file", "mmap.mmap(-1, 4096)", "import mmap"),
    refused("memory", "shared, of zeros", "open('/dev/zero')"),
    by_number("memory", "huge pages", 9, 222, "None, 1 << 21, 3, 0x40022, -1, 0"),
    by_number("memory", "pages given to a pipe", 278, 75, "1, None, 0, 0"),
    by_number("memory", "a table of files for a thread", 436, 436, "500, 500, 2"),
    by_number("memory", "a thread with a table of files", 56, 220, "0x10000, 0, 0, 0, 0"),
    case("memory", "deep recursion", "import sys", "sys.setrecursionlimit(10**6)",
         "def f(n): return [f(n + 1)]", "f(0)"),
    case("memory", "a long number", "print(len(str(9 ** 9 ** 9)))", killed="time"),
    case("disk", "one big file", "f = open('a', 'wb')",
         "for _ in range(300): f.write(bytes(1 << 20))", "print('ESCAPED')"),
    case("disk", "many files", "for i in range(4000):",
         "    open(f'f{i}', 'wb').write(bytes(65536))", "print('ESCAPED')"),
    case("disk", "many empty files", "for i in range(25_000):", "    open(f'f{i}', 'wb').close()",
         "print('ESCAPED')"),
    case("disk", "a sparse file", "f = open('a', 'wb')", "f.truncate(1 << 40)", "print('ESCAPED')"),
    case("disk", "files without a name", "import os, tempfile", "x = []", "for _ in range(100):",
         "    x.append(tempfile.TemporaryFile()); x[-1].write(bytes(1 << 19)); x[-1].flush()",
         "print('ESCAPED')", landlock="only the size of a file and the number of open ones"),
    case("disk", "deep folders", "import os", "for _ in range(5000): os.mkdir('d'); os.chdir('d')"),
    case("disk", "other places", "import os",
         "for d in ('/', '/dev', '/dev/shm', '/run', '/var/tmp', '@home@', '/sandbox'):",
         "    try: open(d + '/forethought-canary', 'w').close()", "    except OSError: continue",
         "    if not os.path.samefile(d, '/tmp'): print('ESCAPED', d)"),
    case("output", "stdout", "for _ in range(10**6): print('x' * 999)", killed="output"),
    case("output", "stderr", "import os", "for _ in range(10**6): os.write(2, b'x' * 999)",
         killed="output"),
    case("output", "both, from children", "import os", "os.fork()",
         "for _ in range(10**6): os.write(1, b'x' * 999); os.write(2, b'x' * 999)",
         killed="output"),
    case("output", "after the end", "import os, time", "if os.fork() == 0:",
         "    time.sleep(.2); print('late')"),
]  # fmt: skip

KERNEL = [
    by_number("kernel", "mounts", 165, 40, "b'x', b'@folder@', b'no', 0, 0"),
    by_number("kernel", "unmounts", 166, 39, "b'@folder@', 0"),
    by_number("kernel", "changes the root", 161, 51, "b'/tmp'"),
    by_number("kernel", "a user name space", 272, 97, "0x10000000"),
    by_number("kernel", "a mount name space", 272, 97, "0x20000"),
    by_number("kernel", "a process in a name space", 56, 220, "0x10000011, 0, 0, 0, 0"),
    by_number("kernel", "a process in a name space, newer call", 435, 435,
              "ctypes.create_string_buffer(88), 88"),
    refused("kernel", "enters a name space",
            "os.setns(os.open('/proc/1/ns/net', os.O_RDONLY), 0) "
            "if hasattr(os, 'setns') else [][os.open('/proc/1/ns/none', 0)]"),
    by_number("kernel", "a key", 248, 217, "b'user', b'forethought-canary', b'x', 1, -5"),
    by_number("kernel", "reads keys", 250, 219, "11, -5, 0, 0, 0"),
    refused("kernel", "types into a terminal", "fcntl.ioctl(0, 0x5412, b'x')", "import fcntl"),
    by_number("kernel", "a program in the kernel", 321, 280, "0, 0, 128"),
    by_number("kernel", "counters", 298, 241, "ctypes.create_string_buffer(128), 0, -1, -1, 0"),
    by_number("kernel", "faults in user space", 323, 282, "0"),
    by_number("kernel", "the name of the machine", 170, 161, "0, 6"),
    by_number("kernel", "the clock", 227, 112, "0, 0"),
    by_number("kernel", "messages", 103, 116, "10, 0, 0"),
    by_number("kernel", "what others open", 294, 26, "0"),
    by_number("kernel", "waits for all disks", 162, 81),
    by_number("kernel", "waits for a disk", 306, 267, "1"),
    by_number("kernel", "a call of another machine", 0x40000027, 0x40000027),
    case("kernel", "a call of 32 bit", "import ctypes, mmap, os",
         "m = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)",
         "m.write(bytes.fromhex('b814000000cd80c3'))",  # mov eax, 20; int 0x80; ret
         "at = ctypes.addressof(ctypes.c_char.from_buffer(m))",
         "if os.uname().machine == 'x86_64':",
         "    ctypes.CFUNCTYPE(ctypes.c_long)(at)(); print('ESCAPED')"),
    refused("kernel", "lets others wait for a file", "fcntl.fcntl(open(os.__file__), 1024, 0)",
            "import fcntl"),
    case("kernel", "a program for its core", "import resource",  # 1: none is started (core(5))
         "print('ESCAPED' if resource.getrlimit(resource.RLIMIT_CORE) != (1, 1) else 0)"),
    refused("kernel", "becomes another user", "os.setgroups([0]); os.setuid(54321)"),
    refused("kernel", "a device", "os.mknod('d', 0o60600, os.makedev(254, 0)); open('d').read(1)"),
    case("kernel", "setuid programs", "import subprocess, os",
         "for p in ('/usr/bin/su', '/usr/bin/mount'):",
         "    subprocess.run([p, '-c', 'echo ESCAPED', 'nobody'], timeout=.5)"),
]  # fmt: skip

PYTHON = [
    case("result", "a pickle", "import pickle, sys", "class X:",
         "    def __reduce__(self): return (eval, (\"open('@folder@/new', 'w')\",))",
         "sys.stdout.buffer.write(pickle.dumps(X()))"),
    case("result", "talks on every descriptor", "import os", "for fd in range(3, 100):",
         "    try: os.write(fd, b's 1\\ne 0\\nd 1 0 0\\n{}\\x80\\x04.' + b'x' * 99999)",
         "    except OSError: pass"),
    case("result", "null bytes", "x = 1\0"),
    case("result", "not text", "print('\\ud800')"),
    case("result", "leaves", "import os; os._exit(0)"),
    case("result", "closes its streams", "import os; os.closerange(0, 100)"),
    case("result", "a broken address", "import ctypes; ctypes.string_at(0)"),
    case("result", "aborts", "import os; os.abort()"),
    case("result", "leaves a thread that hangs", "import threading, time",
         "threading.Thread(target=time.sleep, args=(60,)).start()", killed="time"),
    case("result", "hangs at exit", "import atexit, time", "atexit.register(time.sleep, 60)",
         killed="time"),
    case("libraries", "of C", "import ctypes", "print(ctypes.CDLL(None).getpid())"),
    case("libraries", "from its own folder", "import ctypes, shutil, glob",
         "shutil.copyfile(glob.glob('/lib/*/libm.so.6')[0], 'm.so')", "ctypes.CDLL('./m.so')"),
]  # fmt: skip

CASES = [*FILES, *SECRETS, *NETWORK, *CROWDS, *BULK, *KERNEL, *PYTHON]
