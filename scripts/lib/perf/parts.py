"""What is measured, part by part: each is one run of `afterburner bench`, in which all its servers take turns."""

from dataclasses import dataclass, field


@dataclass
class Part:
    name: str
    title: str
    about: str  # What is done, and how to read it.
    servers: list  # Of ours, and the stub: `--compare`.
    loads: str
    options: list = field(default_factory=list)
    peers: list = field(default_factory=list)  # Names of PEERS.
    seconds: float = 1.5
    rounds: int = 5
    warmup: float = 0.5


# The official broker, with what it takes to answer under load: its own queue may hold sends for 20 s.
PEERS = {
    "java": ["flushDiskType=ASYNC_FLUSH"],
    "java-sync": ["flushDiskType=SYNC_FLUSH"],
}

SYNC = "+flushDiskType=SYNC_FLUSH"
# Some seconds of this traffic, as OPERATING.md advises. Java has the page cache for that.
HOT = "+hotLogBytes=4G"
LOSSES = ["0", "0.001", "0.01"]
CONNECTIONS = "8,100,1000,5000,10000"
OPEN_RATES = [5_000, 30_000, 300_000]
IDLE = 10_000


def lossy(loss, rto_min):
    return "tap" + ("" if loss == "0" else f"+deviceLoss={loss}") + f"+rto_min={rto_min}"


def parts():
    every = ["tap", "xdp", "kernel", "kernel-veth", "kernel-veth-mtu"]
    found = [
        Part("send", "SEND, one at a time and pipelined",
             "1 KiB. One request at a time on one connection; then 8 connections with 64 requests under way on each. `stub` answers "
             "each send with bytes made beforehand: it is the most that this load generator, on one core, can show of any server. "
             "`bare-tap` and `bare-xdp` do so with our stack: what is behind them in the other rows is the broker. "
             "*server ns* is how long the polling thread's turns with work took, over the messages (of Java: the CPU time of the "
             "whole process); *CPU s* counts all threads of the server, polling included. Our hot log has 4 GiB, so that a round is not the "
             "disk's, which takes 0.9 to 1.9 GB/s; Java writes to the page cache.",
             [server + HOT for server in every] + ["bare-tap", "bare-xdp", "stub"], "ping,pipeline", ["--size", "1024"], ["java"]),
        Part("batch", "Batches of small messages",
             "128 bytes, 32 in one SEND_BATCH_MESSAGE; 8 connections with 8 requests under way on each. Hot log as above.",
             ["tap" + HOT, "kernel" + HOT, "stub"], "pipeline", ["--size", "128", "--batch", "32", "--window", "8"], ["java"]),
        Part("pull", "PULL of what has just been written",
             "1 KiB messages, 32 in one answer, 8 connections with two queues each; all of them are still in memory (in Java's case in the "
             "page cache).",
             every, "pull", ["--size", "1024"], ["java"]),
        Part("beside", "Big and small together",
             "100 bytes are sent one at a time: first alone, then while another connection pulls 1 KiB messages as fast as it can, 8 pulls "
             "under way. One thread here does both, so a part of the difference is its own reading.",
             ["tap", "xdp", "kernel"], "small,beside", ["--size", "1024"], ["java"]),
        Part("disk", "Synced before it is answered",
             "`flushDiskType=SYNC_FLUSH` on the same disk. 1 KiB, one at a time, and 8 connections with 64 under way.",
             ["tap" + SYNC, "kernel" + SYNC], "ping,pipeline", ["--size", "1024"], ["java-sync"]),
        Part("loss", "Loss",
             "Of the segments the given share is lost in the device, each way, those of an offloaded frame one by one. Half of what is lost is "
             "the client's, and its kernel repeats it: after 4 ms or more on the route that `afterburner up` sets, after 200 ms or "
             "more on any other (`rto_min`). 1 KiB, one at a time, and pulls as above.",
             [lossy(loss, rto) for rto in ("4ms", "200ms") for loss in LOSSES], "ping,pull", ["--size", "1024"], seconds=2, rounds=3),
        Part("idle", "Idle connections beside a busy one",
             f"1 KiB one at a time and pipelined while {IDLE:,} further connections say nothing; compare with the first table.",
             ["tap+connectionsMax=12000", "kernel+connectionsMax=12000"], "ping,pipeline", ["--size", "1024", "--idle", str(IDLE)],
             rounds=3),
    ]
    found += [
        Part(f"open-{rate}", f"Open loop, {rate:,} a second",
             "1 KiB over 8 connections. Request k is due at k / rate, whatever the server does; latency counts from when it was due, so that a "
             "server that stalls is charged for everything that had to wait. What `stub` shows is the machine: other work on the two cores.",
             ["tap", "kernel", "stub"], "open", ["--size", "1024", "--rate", str(rate)], ["java"] if rate < 100_000 else [], seconds=2, rounds=3)
        for rate in OPEN_RATES
    ]
    found.append(
        Part("connections", "Connections",
             "128 bytes. Eight requests are under way at any time, on eight connections, and all connections get their turn: only the number of "
             "connections differs from row to row; each round of a server takes all rows, one after the other.",
             ["tap+connectionsMax=12000", "kernel+connectionsMax=12000"], "rota",
             ["--size", "128", "--connections", CONNECTIONS, "--window", "8"], ["java"], rounds=3))
    return found


def quick():
    """A look at whether all of it works; the figures mean little."""
    return [
        Part("send", "SEND", "A short look.", ["tap", "kernel", "stub"], "ping,pipeline,open,small", ["--rate", "5000"],
             seconds=0.3, rounds=1, warmup=0.1),
        Part("pull", "PULL", "A short look.", ["tap", "kernel"], "pull,beside", seconds=0.3, rounds=1, warmup=0.1),
        Part("connections", "Connections", "A short look.", ["tap", "kernel"], "rota",
             ["--connections", "8,500", "--window", "8", "--idle", "500"], seconds=0.3, rounds=1, warmup=0.1),
    ]
