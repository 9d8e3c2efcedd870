"""Measures all parts, one after another, and writes what came of it.

    run.py BIN_DIR [--only NAMES] [--quick] [--seconds S] [--rounds N] [--no-peers] [--tune] [--json FILE] [--write-docs]
           [--soak MINUTES] [--render]

Tables go to the screen as they come. `--write-docs` puts figures, plots and a page into docs/PERF; `--render` makes the page
and the plots afresh from the figures there, without measuring. A part that cannot be had says `skipped: why`.
"""

import argparse
import datetime
import json
import mmap
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

import page
import parts as plan
from peers import Peers
from tuned import tuned

ROOT = pathlib.Path(__file__).resolve().parents[3]
PERF = ROOT / "docs/PERF"
UNPRIVILEGED = ("kernel", "stub")
SOAK_LOG = "10G"
# Some seconds of this traffic, as OPERATING.md advises: a disk that pauses for less than that is not felt.
SOAK_HOT_LOG_MIB = 4096
# Longer than the caches of the host's disk hide what the disk takes, and than the log needs to begin deleting.
SOAK_CAPACITY_S = 60
# Every ring, file and table has been filled and begun again.
SOAK_WARMUP_S = 120


def main():
    options = arguments()
    if options.render:
        figures = json.loads((PERF / "figures.json").read_text())
        return page.write(PERF, figures)
    figures = {"machine": machine(), "parts": {}}
    if options.write_docs and (PERF / "figures.json").exists():
        earlier = json.loads((PERF / "figures.json").read_text())["parts"]
        figures["parts"] = {name: part for name, part in earlier.items() if name in names()}
    peers = Peers(ROOT, options.binaries)
    failed = []
    chosen = runs(options, peers)
    measured = commit()
    with tuned(options.binaries, options.tune) as changes:
        try:
            for run in chosen:
                when = moment() | {"commit": measured}
                part = run()
                figures["parts"][part["name"]] = part | {"when": when, "tuned": changes}
                failed += [part["name"]] if part["failed"] else []
                keep(figures, options)
        finally:
            peers.stop()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def keep(figures, options):
    """Writes what there is, after every part: who is stopped has measured something."""
    text = json.dumps(figures, indent=1) + "\n"
    if options.json:
        pathlib.Path(options.json).write_text(text)
    if options.write_docs:
        PERF.mkdir(parents=True, exist_ok=True)
        (PERF / "figures.json").write_text(text)
        page.write(PERF, figures)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--soak", type=float)
    parser.add_argument("--render", action="store_true")
    return parser.parse_args()


def runs(options, peers):
    """What is to be done, as functions that give a part."""
    if options.soak:
        return [lambda: soak(options, options.soak)]
    chosen = plan.quick() if options.quick else plan.parts()
    wanted = options.only.split(",") if options.only else []
    is_wanted = lambda name: not wanted or name in wanted or page.stem(name) in wanted
    found = [lambda part=part: bench(part, options, peers) for part in chosen if is_wanted(part.name)]
    if not options.quick:
        others = {"raw-disk": raw_disk, "scale": scale, "shard": shard, "netem": netem}
        found += [run for name, run in others.items() if is_wanted(name)]
    if not found:
        sys.exit(f"there is no part {options.only}; there are {', '.join(part.name for part in chosen)}, raw-disk, scale, shard, netem")
    return found


def names():
    """Of all parts that there are."""
    return {part.name for part in plan.parts()} | {"raw-disk", "scale", "shard", "netem", "soak"}


def machine():
    def first(path, start=""):
        try:
            with open(path) as file:
                return next((line.split(":", 1)[-1].strip() for line in file if line.startswith(start)), "")
        except OSError:
            return ""

    memory = int(first("/proc/meminfo", "MemTotal").split()[0]) >> 20
    return {"cpu": first("/proc/cpuinfo", "model name"), "cores": len(os.sched_getaffinity(0)), "memory_gib": memory,
            "kernel": first("/proc/sys/kernel/osrelease"), "congestion_control": first("/proc/sys/net/ipv4/tcp_congestion_control"),
            "hypervisor": "hypervisor" in first("/proc/cpuinfo", "flags").split()}


def moment():
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "load_before": os.getloadavg()[0]}


def commit():
    """What is measured: asked once, as the page that is written meanwhile is a part of the tree."""
    said = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip()


def may(server):
    """Why this server cannot be had here, or nothing."""
    if server.split("+")[0] in UNPRIVILEGED or (os.geteuid() == 0 and os.path.exists("/dev/net/tun")):
        return None
    return "it needs root and /dev/net/tun"


def bench(part, options, peers):
    print(f"\n== {part.title} ({part.name})", flush=True)
    began = time.monotonic()
    ours = [server for server in part.servers if not may(server)]
    skipped = [{"server": server, "load": None, "why": may(server)} for server in part.servers if may(server)]
    more, without = ([], []) if options.no_peers else peers.of(part.peers)
    command = [f"{options.binaries}/afterburner", "bench", "--compare", ",".join(ours), *more, "--loads", part.loads, *part.options,
               "--seconds", str(options.seconds or part.seconds), "--rounds", str(options.rounds or part.rounds),
               "--warmup", str(part.warmup), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)  # The table goes to the screen.
    peers.rest()  # The bench has let them go on.
    found = json.loads(done.stdout) if done.stdout else {"rows": [], "skipped": [{"server": "all", "load": None, "why": "see above"}]}
    for out in skipped + without:
        print(f"skipped: {out['server']}: {out['why']}", flush=True)
    shown = ["target/release/afterburner", *command[1:-1]]
    return {"name": part.name, "title": part.title, "about": part.about, "command": shlex.join(shown), "rows": found["rows"],
            "skipped": found["skipped"] + skipped + without, "took_s": round(time.monotonic() - began), "failed": done.returncode != 0}


def soak(options, minutes):
    """Half of what the broker can take, for a long time."""
    device = "kernel" if may("tap") else "tap"
    print(f"\n== Soak: {minutes:g} minutes at half of what it can take, open loop, over {device}", flush=True)
    common = [f"{options.binaries}/afterburner", "bench", "--compare", device, "--size", "1024", "--rounds", "1", "--json",
              "--set", f"commitLogBytesMax={SOAK_LOG}", "--hot-log-mib", str(SOAK_HOT_LOG_MIB)]
    most = subprocess.run([*common, "--loads", "pipeline", "--seconds", str(SOAK_CAPACITY_S)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL, check=True)
    capacity = json.loads(most.stdout)["rows"][0]["msg_per_s"]
    command = [*common, "--loads", "open", "--rate", str(round(capacity / 2)), "--warmup", str(SOAK_WARMUP_S), "--seconds",
               str(minutes * 60)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    for row in found["rows"]:
        print(f"{row['messages']:,} messages, {row['shard_faults']} page faults and {row['shard_allocations']} allocations of the shard, "
              f"own memory {row['server_own_kib_begin']} KiB at the start and {row['server_own_kib_end']} KiB at the end", flush=True)
    return {"name": "soak", "title": f"Soak: {minutes:g} minutes", "about": f"1 KiB over 8 connections at {capacity / 2:,.0f} a second, "
            f"half of the {capacity:,.0f} that it took for {SOAK_CAPACITY_S} s just before with 8 x 64 under way; open loop, "
            f"{SOAK_WARMUP_S} s of warm-up not counted; a hot log of {SOAK_HOT_LOG_MIB >> 10} GiB. Page faults and allocations are the polling thread's.",
            "command": f"scripts/bench --soak {minutes:g}", "rows": found["rows"], "skipped": found["skipped"],
            "took_s": round(minutes * 60), "failed": done.returncode != 0}


def raw_disk():
    """What the disk itself takes: 4 KiB past the page cache, synced, one at a time."""
    print("\n== The disk itself (raw-disk)", flush=True)
    buffer, took = mmap.mmap(-1, 4096), []
    part = {"name": "raw-disk", "title": "The disk itself", "about": "4 KiB written past the page cache (O_DIRECT) into an allocated file and "
            "synced (fdatasync), one at a time: what one synced send has to wait for.", "command": "scripts/bench --only raw-disk",
            "rows": [], "skipped": [], "took_s": 3, "failed": False}
    with tempfile.NamedTemporaryFile(prefix="afterburner-disk.") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 64 << 20)
            direct = os.open(file.name, os.O_WRONLY | os.O_DIRECT)
        except OSError as error:
            print(f"skipped: {tempfile.gettempdir()} takes no direct writes: {error}")
            return part | {"skipped": [{"server": "disk", "load": None, "why": f"{tempfile.gettempdir()} takes no direct writes: {error}"}]}
        try:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                began = time.perf_counter_ns()
                os.pwrite(direct, buffer, len(took) * 4096 % (64 << 20))
                os.fdatasync(direct)
                took.append((time.perf_counter_ns() - began) / 1e3)
        finally:
            os.close(direct)
    took.sort()
    latency = {name: took[min(len(took) - 1, int(len(took) * share))] for name, share in
               (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999))} | {"max": took[-1]}
    print(f"{len(took)} writes: p50 {latency['p50']:.0f} us, p99 {latency['p99']:.0f} us, max {latency['max']:.0f} us", flush=True)
    return part | {"rows": [{"subject": "disk", "load": "write 4 KiB", "shape": "1 x 1", "msg_per_s": len(took) / 3, "latency_us": latency}]}


def cargo_bench(name, options, title, about):
    print(f"\n== {title} ({name})", flush=True)
    began = time.monotonic()
    command = ["cargo", "bench", "--quiet", "--package", "afterburner-dataplane", "--bench", name, "--", *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    print("\n".join(lines), flush=True)
    return {"name": name, "title": title, "about": about, "command": shlex.join(command), "rows": [], "lines": lines, "skipped": [],
            "took_s": round(time.monotonic() - began), "failed": done.returncode != 0}


def scale():
    return cargo_bench("scale", ["--seconds", "5"], "Connections, inside the stack",
                       "The whole TCP stack over a device in memory: no system call and no client is in these figures. A request of 128 bytes, "
                       "an answer of 64; then one client asks every 100 µs while others connect, ask and leave at the given rate.")


def shard():
    return cargo_bench("shard", [], "A request, inside the shard", "Decoding, checks, log and answer; network and disk left out. The median turn counts.")


def netem():
    """Kernel sockets under loss want a network that loses; this host's may not be able to."""
    part = {"name": "netem", "title": "Kernel sockets under loss", "about": "", "command": "scripts/bench --only netem", "rows": [],
            "took_s": 0, "failed": False}
    name = f"ab-netem-{os.getpid()}"
    why = "root is needed to make a device that loses"
    if os.geteuid() == 0:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
        tried = subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%"],
                               capture_output=True, text=True)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        lack = (made.stderr + tried.stderr).strip().splitlines()
        why = "this kernel has no netem: " + lack[0] if lack else "netem is here, but no part measures with it yet"
    print(f"\n== Kernel sockets under loss (netem)\nskipped: {why}", flush=True)
    return part | {"skipped": [{"server": "kernel sockets under loss", "load": None, "why": why}]}


main()
