"""Brokers of others that take turns with ours: started before a part, warmed up, stopped while others have their turn, and from then on."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from parts import PEERS

WARM_UP_S = 12
RUST = ("rocketmq-namesrv-rust", "rocketmq-broker-rust")


class Peers:
    """Those that run, by name. What cannot run is in `missing`, with the reason."""

    def __init__(self, root, binaries):
        self.root, self.binaries = root, binaries
        self.running, self.missing = {}, {}

    def of(self, names):
        """`--peer` options for these and for rocketmq-rust beside Java's, and what is skipped."""
        wanted = [each for name in names for each in ([name, "rust"] if name == "java" else [name])]
        options, skipped = [], []
        for name in wanted:
            if name not in self.running and name not in self.missing:
                self._start(name)
            if name in self.running:
                options += ["--peer", f"{name}={self.running[name]['at']}"]
            else:
                skipped.append({"server": name, "load": None, "why": self.missing[name]})
        return options, skipped

    def _start(self, name):
        try:
            begun = self._rust() if name == "rust" else self._java(name)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            self.missing[name] = str(error)
            return
        self.running[name] = begun
        address = begun["at"].split(",")[0]
        print(f"warming {name} up for {WARM_UP_S} s ...", flush=True)
        for load in ("pipeline", "ping"):  # A JVM compiles what runs often.
            subprocess.run([f"{self.binaries}/afterburner", "bench", "--broker", address, "--loads", load, "--rounds", "1",
                            "--warmup", "0", "--seconds", str(WARM_UP_S / 2)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.rest()

    def rest(self):
        """Stops all of them, until their turn comes: an idle JVM, too, wakes up some thousand times a second."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number):
        for peer in self.running.values():
            try:
                os.kill(int(peer["at"].split(",")[1]), number)
            except ProcessLookupError:
                pass  # It has ended; the part that met this has said so.

    def _java(self, name):
        process = subprocess.Popen([f"{self.root}/scripts/interop/bench-peer", name, *PEERS[name]], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline().split()
        if not line or line[0] != "ready":
            process.stdin.close()
            process.wait()
            raise RuntimeError(" ".join(line[1:]) or "it said nothing")
        return {"process": process, "at": f"{line[1]},{line[2]}"}

    def _rust(self):
        """With a name server of its own: its broker ends at once when it cannot register."""
        programs = [shutil.which(name) for name in RUST]
        if None in programs:
            raise RuntimeError("not installed (cargo install rocketmq-broker rocketmq-namesrv)")
        home = tempfile.mkdtemp(prefix="afterburner-peer.")
        # The first is the broker's too: two below the one it is told.
        (_, names, port, ha), processes = free_ports(4), []
        config = os.path.join(home, "broker.conf")
        begun = [(["--listenPort", str(names), "--bindAddress", "127.0.0.1"], names), (["--configFile", config], port)]
        try:
            with open(config, "w") as file:
                file.write(f"brokerName=rust\nbrokerIP1=127.0.0.1\nlistenPort={port}\nhaListenPort={ha}\nstorePathRootDir={home}/store\n"
                           f"namesrvAddr=127.0.0.1:{names}\n")
            for program, (options, listens) in zip(programs, begun):
                processes.append(subprocess.Popen([program, *options], env=os.environ | {"ROCKETMQ_HOME": home, "HOME": home}, cwd=home,
                                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                if not answers(listens, processes[-1]):
                    raise RuntimeError(f"{program} does not listen on {listens} within 20 s")
        except BaseException:
            for process in reversed(processes):
                end(process)
            shutil.rmtree(home, ignore_errors=True)
            raise
        server, broker = processes
        return {"process": broker, "namesrv": server, "at": f"127.0.0.1:{port},{broker.pid}", "home": home}

    def stop(self):
        self._signal(signal.SIGCONT)
        for peer in self.running.values():
            if peer["process"].stdin:
                peer["process"].stdin.close()  # bench-peer ends its broker, and leaves nothing behind.
                peer["process"].wait()
            else:
                end(peer["process"])
                end(peer["namesrv"])
                shutil.rmtree(peer["home"], ignore_errors=True)
        self.running.clear()


def free_ports(count):
    """So many in a row."""
    for first in range(21_000, 29_000, 100):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for port, each in enumerate(sockets, first):
                each.bind(("127.0.0.1", port))
            return range(first, first + count)
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise RuntimeError("no free ports")


def answers(port, process):
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
