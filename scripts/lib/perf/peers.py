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
RUST = "rocketmq-broker-rust"


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
        program = shutil.which(RUST)
        if not program:
            raise RuntimeError("not installed (cargo install rocketmq-broker)")
        home = tempfile.mkdtemp(prefix="afterburner-peer.")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = os.path.join(home, "broker.conf")
        with open(config, "w") as file:
            file.write(f"brokerName=rust\nbrokerIP1=127.0.0.1\nlistenPort={port}\nstorePathRootDir={home}/store\n")
        process = subprocess.Popen([program, "--config-file", config], env=os.environ | {"ROCKETMQ_HOME": home, "HOME": home},
                                   cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return {"process": process, "at": f"127.0.0.1:{port},{process.pid}", "home": home}
            time.sleep(0.1)
        end(process)
        shutil.rmtree(home, ignore_errors=True)
        raise RuntimeError(f"{program} does not listen on {port} within 20 s")

    def stop(self):
        self._signal(signal.SIGCONT)
        for peer in self.running.values():
            if peer["process"].stdin:
                peer["process"].stdin.close()  # bench-peer ends its broker, and leaves nothing behind.
                peer["process"].wait()
            else:
                end(peer["process"])
                shutil.rmtree(peer["home"], ignore_errors=True)
        self.running.clear()


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
