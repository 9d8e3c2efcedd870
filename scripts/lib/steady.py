"""Steady state, counted: allocations and page faults of the shard's thread while messages stream in.

    steady.py BIN_DIR DEVICES

Starts the broker on each device, loads it, and looks twice while the load runs: at the broker's own count of its
thread's allocations (`shardAllocations`, code 28) and at the kernel's count of that thread's page faults. What a look
itself allocates is measured by looking a few times in a row, and taken off. Fails above one per hundred thousand messages.

Steady is what follows once every buffer and list has been used to its end, which a stalled machine may put off: a window
that shows more than that is looked at again, at most WINDOWS_MAX times. What each message costs shows in all of them.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

GET_BROKER_RUNTIME_INFO = 28
PER_MESSAGES = 100_000
WINDOW_SECONDS = 2
WINDOWS_MAX = 3  # The messages lie in memory: three quick windows are some 10 GiB.


def ask(stream, code):
    """One request and its answer's body."""
    header = json.dumps({"code": code, "flag": 0, "language": "OTHER", "opaque": 1, "version": 409}).encode()
    stream.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)

    def take(length):
        data = b""
        while len(data) < length:
            more = stream.recv(length - len(data))
            if not more:
                raise SystemExit("the broker closed the connection")
            data += more
        return data

    frame = take(struct.unpack(">I", take(4))[0])
    return frame[4 + (struct.unpack(">I", frame[:4])[0] & 0xFFFFFF):]


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


def look(stream):
    figures = json.loads(ask(stream, GET_BROKER_RUNTIME_INFO))["table"]
    return {"messages": int(figures["putMessageTimesTotal"]), "allocations": int(figures["shardAllocations"])}


def between(first, second):
    return {name: second[name] - first[name] for name in first}


def page_faults(pid, task):
    with open(f"/proc/{pid}/task/{task}/stat") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return int(fields[7]) + int(fields[9])


def watch(stream, pid, task):
    """What the shard used in one window."""
    looks = [look(stream) for _ in range(4)]
    of_a_look = min(between(*pair)["allocations"] for pair in zip(looks, looks[1:]))
    faults = page_faults(pid, task)  # What the looks touch is not the load's.
    time.sleep(WINDOW_SECONDS)
    faults = page_faults(pid, task) - faults
    used = between(looks[-1], look(stream))
    # The last look may have been cheaper than the others.
    return used | {"allocations": max(0, used["allocations"] - of_a_look), "faults": faults}


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
    with open(config, "w") as file:
        file.write("\n".join(["brokerName=steady", f"listenPort={port}", f"storePathRootDir={folder}/{device}",
                              f"hotLogPath={folder}/{device}-hot", *lines]) + "\n")
    broker = subprocess.Popen([f"{binaries}/afterburner-dataplane", "-c", config], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        for line in broker.stdout:
            if "boot success" in line:
                break
        else:
            raise SystemExit(f"the broker did not start on {device}; try: {binaries}/afterburner-dataplane -c {config}")
        stream = socket.create_connection((ip, port), timeout=10)
        task = shard_thread(broker.pid)
        seconds = 3 + (WINDOW_SECONDS + 1) * WINDOWS_MAX
        load = subprocess.Popen([f"{binaries}/afterburner", "bench", "--broker", f"{ip}:{port}", "--loads", "pipeline",
                                 "--seconds", f"{seconds}", "--warmup", "1", "--rounds", "1"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)
        for window in range(1, WINDOWS_MAX + 1):
            used = watch(stream, broker.pid, task) | {"window": window}
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
