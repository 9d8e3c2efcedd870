"""Steady state, counted: allocations and page faults of the shard's thread while messages stream in.

    steady.py BIN_DIR DEVICES

Starts the broker on each device, loads it, and looks twice while the load runs: at the broker's own count of its
thread's allocations (`afterburner stats`, which costs that thread none) and at the kernel's count of that thread's page
faults. Fails above one per hundred thousand messages.

Steady is what follows once every buffer and list has been used to its end, which a stalled machine may put off: a window
that shows more than that is looked at again, at most WINDOWS_MAX times. What each message costs shows in all of them.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

PER_MESSAGES = 100_000
WINDOW_SECONDS = 2
WINDOWS_MAX = 3  # The messages lie in memory: three quick windows are some 10 GiB.


def shard_thread(pid):
    for _ in range(100):  # A thread gives itself its name, a moment after it began.
        for task in os.listdir(f"/proc/{pid}/task"):
            # A thread of the start may have ended since it was listed.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{pid}/task/{task}/comm") as comm:
                    if comm.read().strip() == "ab-shard":
                        return task
        time.sleep(0.01)
    raise SystemExit("the broker has no thread ab-shard")


def look(binaries, store):
    seen = subprocess.run([f"{binaries}/afterburner", "stats", "--store", store, "--json"], stdout=subprocess.PIPE, check=True)
    counts = json.loads(seen.stdout)["brokers"][0]["stats"]["counts"]
    return {"messages": counts["requests"]["putMessages"], "allocations": counts["polls"]["allocations"]}


def between(first, second):
    return {name: second[name] - first[name] for name in first}


def page_faults(pid, task):
    with open(f"/proc/{pid}/task/{task}/stat") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return int(fields[7]) + int(fields[9])


def watch(binaries, store, pid, task):
    """What the shard used in one window."""
    first = look(binaries, store)
    faults = page_faults(pid, task)
    time.sleep(WINDOW_SECONDS)
    faults = page_faults(pid, task) - faults
    return between(first, look(binaries, store)) | {"faults": faults}


def is_steady(used):
    allowed = used["messages"] // PER_MESSAGES
    return used["messages"] > 0 and used["allocations"] <= allowed and used["faults"] <= allowed


def measure(binaries, device, folder):
    port = 20_000 + os.getpid() % 10_000
    ip, lines = {
        "tap": ("10.77.42.2", ["device=tap:ab-steady0", "address=10.77.42.2/24"]),
        "xdp": ("10.77.44.2", ["device=xdp:ab-steady1", "address=10.77.44.2/24"]),
        "kernel": ("127.0.0.1", ["device=kernel:127.0.0.1"]),
    }[device]
    config = os.path.join(folder, f"{device}.properties")
    store = f"{folder}/{device}"
    with open(config, "w") as file:
        file.write("\n".join(["brokerName=steady", f"listenPort={port}", f"storePathRootDir={store}",
                              f"hotLogPath={store}-hot", *lines]) + "\n")
    broker = subprocess.Popen([f"{binaries}/afterburner-dataplane", "-c", config], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        for line in broker.stdout:
            if "boot success" in line:
                break
        else:
            raise SystemExit(f"the broker did not start on {device}; try: {binaries}/afterburner-dataplane -c {config}")
        task = shard_thread(broker.pid)
        seconds = 3 + (WINDOW_SECONDS + 1) * WINDOWS_MAX
        load = subprocess.Popen([f"{binaries}/afterburner", "bench", "--broker", f"{ip}:{port}", "--loads", "pipeline",
                                 "--seconds", f"{seconds}", "--warmup", "1", "--rounds", "1"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)
        for window in range(1, WINDOWS_MAX + 1):
            used = watch(binaries, store, broker.pid, task) | {"window": window}
            if is_steady(used):
                break
        load.terminate()
        load.wait()
        return used
    finally:
        broker.send_signal(signal.SIGTERM)
        broker.wait()


@contextlib.contextmanager
def cable(device):
    """For xdp a veth pair: the broker takes frames off one end, the load is at the other."""
    if device != "xdp":
        yield
        return
    subprocess.run("ip link add ab-steady1 type veth peer name ab-steady2".split(), check=True)
    try:
        subprocess.run("ip address add 10.77.44.1/24 dev ab-steady2".split(), check=True)
        for end in ("ab-steady1", "ab-steady2"):
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        yield
    finally:
        subprocess.run("ip link delete ab-steady1".split(), check=True)


def main():
    binaries, devices = sys.argv[1], sys.argv[2].split(",")
    broken = False
    print(f"{'device':8} {'messages':>10} {'allocations':>12} {'page faults':>12} {'window':>7}")
    with tempfile.TemporaryDirectory(prefix="afterburner-steady.", dir="/dev/shm") as folder:
        for device in devices:
            with cable(device):
                used = measure(binaries, device, folder)
            print(f"{device:8} {used['messages']:>10} {used['allocations']:>12} {used['faults']:>12}"
                  f" {used['window']:>7}", flush=True)
            broken |= not is_steady(used)
    if broken:
        raise SystemExit(f"more than one allocation or page fault in {PER_MESSAGES} messages, or no messages at all")


main()
