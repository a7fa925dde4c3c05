"""Runs a command and prints what it cost: seconds, processor seconds with its children, peak resident bytes."""
import json
import os
import subprocess
import sys
import time

feed = open(sys.argv[1], "rb") if sys.argv[1] != "-" else subprocess.DEVNULL
started = time.monotonic()
child = subprocess.Popen(sys.argv[2:], stdin=feed, stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
wall = time.monotonic() - started
# wait4 counts the child and whatever of its own it has waited for
print(json.dumps({"status": status, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}))
