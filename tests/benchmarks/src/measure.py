"""Runs inside a lab host and measures from outside whoever keeps its state. One JSON value on standard output.

changes N      makes N foreign changes, one after the other, each after the last was restored: the ruleset and the
               sshd drop-in by turns; milliseconds from the moment the change stood until it was gone
passes N UNIT COMMAND...   CPU milliseconds that UNIT (a systemd unit with its children) spends over N runs of COMMAND
command N COMMAND...       CPU milliseconds of COMMAND itself with its children, each run
idle SECONDS UNIT...       resident bytes and CPU share of units that have nothing to do
"""
import json, os, resource, socket, struct, subprocess, sys, time

DROP_IN = "/etc/ssh/sshd_config.d/00-tenure.conf"
NFT = "/usr/sbin/nft"
LIMIT = 30.0


class Ruleset:
    """The kernel's ruleset: its generation number by one netlink message (5 us), its text by nft."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.socket.bind((0, 0))
        self.wanted = self.text()

    def generation(self):
        # nfnetlink: subsystem 10 (nf_tables), message 16 (NFT_MSG_GETGEN)
        self.socket.send(struct.pack("=IHHIIBBH", 20, (10 << 8) | 16, 1, 1, 0, 0, 0, 0))
        answer = self.socket.recv(4096)
        return struct.unpack(">I", answer[24:28])[0]

    def text(self):
        run = subprocess.run([NFT, "-s", "list", "table", "inet", "tenure"], capture_output=True, text=True)
        return run.stdout

    def restored(self, after):
        """Waits for a ruleset newer than `after` that reads as wanted; the moment its generation appeared.

        The number is raised when a transaction begins to be committed: the text may be the old one a little longer."""
        seen, moment, limit = after, None, time.monotonic() + LIMIT
        while time.monotonic() < limit:
            now = self.generation()
            if now != seen:
                moment, seen = time.monotonic(), now
            if moment is None:
                time.sleep(0.0001)
            elif self.text() == self.wanted:
                return moment
        sys.exit("the ruleset was not restored within %d s" % LIMIT)


RULESET_CHANGES = [
    ["insert", "rule", "inet", "tenure", "input", "accept"],
    ["flush", "chain", "inet", "tenure", "output"],
    ["delete", "table", "inet", "tenure"],
    ["flush", "ruleset"],
]


def change_ruleset(ruleset, turn):
    before = ruleset.generation()
    child = subprocess.Popen([NFT] + RULESET_CHANGES[turn % len(RULESET_CHANGES)])
    while ruleset.generation() == before and child.poll() is None:
        pass
    stood = time.monotonic()
    changed = before + 1
    done = ruleset.restored(changed)
    child.wait()
    return (done - stood) * 1000


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def change_file(turn):
    wanted = read(DROP_IN)
    if turn % 3 == 0:
        with open(DROP_IN, "ab") as file:
            file.write(b"PasswordAuthentication yes\n")
    elif turn % 3 == 1:
        os.unlink(DROP_IN)
    else:
        with open(DROP_IN + ".new", "wb") as file:
            file.write(b"PermitRootLogin yes\n")
        os.rename(DROP_IN + ".new", DROP_IN)
    stood = time.monotonic()
    while read(DROP_IN) != wanted:
        if time.monotonic() - stood > LIMIT:
            sys.exit("the drop-in was not restored within %d s" % LIMIT)
        time.sleep(0.0001)
    return (time.monotonic() - stood) * 1000


def changes(count):
    ruleset = Ruleset()
    if not ruleset.wanted:
        sys.exit("there is no table inet tenure to change")
    times = {"ruleset": [], "file": []}
    for turn in range(count // 2):
        times["ruleset"].append(change_ruleset(ruleset, turn))
        times["file"].append(change_file(turn))
    return times


def cpu_of(unit):
    with open("/sys/fs/cgroup/system.slice/%s/cpu.stat" % unit) as file:
        return int(file.readline().split()[1]) / 1000.0


def passes(count, unit, command):
    before = cpu_of(unit)
    for _ in range(count):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return cpu_of(unit) - before


def spent():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1000.0


def command(count, argv):
    before = spent()
    for _ in range(count):
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return (spent() - before) / count


def idle(seconds, units):
    def pids():
        for unit in units:
            with open("/sys/fs/cgroup/system.slice/%s/cgroup.procs" % unit) as file:
                yield from file.read().split()

    def resident(pid):
        with open("/proc/%s/status" % pid) as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))

    before = sum(map(cpu_of, units))
    time.sleep(seconds)
    used = sum(map(cpu_of, units)) - before
    return {"resident": sum(map(resident, pids())), "cpu_share": used / (seconds * 1000.0)}


what, number, rest = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
answer = {
    "changes": lambda: changes(number),
    "passes": lambda: passes(number, rest[0], rest[1:]),
    "command": lambda: command(number, rest),
    "idle": lambda: idle(number, rest),
}[what]()
print(json.dumps(answer))
