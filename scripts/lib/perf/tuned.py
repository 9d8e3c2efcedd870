"""`scripts/bench --tune`: the host is tuned for the polling core while it is measured, and is as it was when that ends, however it ends."""

import contextlib
import json
import signal
import subprocess

# The broker's, as the page says.
CORE = "0"
# Of our own, so that what an operator tuned stays tuned. A bench that was killed (SIGKILL) leaves it behind for the next one, or for
# `afterburner tune --undo --state FILE`.
STATE = "/run/afterburner-bench-tune.json"
ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextlib.contextmanager
def tuned(binaries, is_wanted):
    """Gives what was changed, a line each; None when nothing was to be."""
    if not is_wanted:
        yield None
        return
    before = {number: signal.signal(number, stop) for number in ENDS - {signal.SIGINT}}
    try:
        yield tune(binaries, "--cores", CORE)
    finally:
        # From here on nobody stops us; the child takes this over.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            tune(binaries, "--undo")
        finally:
            for number, action in before.items():
                signal.signal(number, action)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def tune(binaries, *options):
    done = subprocess.run([f"{binaries}/afterburner", "tune", *options, "--state", STATE, "--json"], stdout=subprocess.PIPE, text=True)
    changes = json.loads(done.stdout)["changes"] if done.stdout else []
    for change in changes:
        print(f"tune: {'did' if change['ok'] else 'failed'} {change['what']}", flush=True)
    return [change["what"] for change in changes if change["ok"]]


def stop(number, _frame):
    raise SystemExit(128 + number)
