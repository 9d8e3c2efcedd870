"""Makes docs/PERF/README.md and its plots from figures.json, so that no figure there is written by hand."""

import svg

NAMES = {"stub": "the load generator against a stub", "java": "Java 5.5.0", "java-sync": "Java 5.5.0", "rust": "rocketmq-rust"}
QUANTILES = [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99_9", "p99.9"), ("p99_99", "p99.99"), ("max", "max")]


def named(subject):
    base = subject.split("+")[0]
    return NAMES.get(subject) or f"`{base}`"


def plain(subject):
    return "stub" if subject == "stub" else named(subject).strip("`")


def us(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def count(value):
    return "–" if value is None else f"{value:,.0f}"


def ratio(value, base):
    return f"{value / base:.2f} ×" if base else "–"


def table(head, rows):
    text = "| " + " | ".join(head) + " |\n|" + "|".join("---" if column == 0 else "---:" for column in range(len(head))) + "|\n"
    return text + "".join("| " + " | ".join(str(cell) for cell in row) + " |\n" for row in rows) + "\n"


def of(part, load, shape=None):
    return [row for row in part["rows"] if row["load"].startswith(load) and (shape is None or row["shape"].startswith(shape))]


def latency_table(rows, first="server", label=lambda row: named(row["subject"])):
    head = [first, *(f"{name} µs" if name == "p50" else name for _, name in QUANTILES), "lowest and highest p99 of a round", "a second"]
    return table(head, [[label(row), *(us(row["latency_us"][key]) for key, _ in QUANTILES), p99_range(row), count(row["msg_per_s"])] for row in rows])


def p99_range(row):
    return f"{us(row['p99_us_min'])} – {us(row['p99_us_max'])}" if row.get("rounds", 1) > 1 and "p99_us_min" in row else "–"


def rate_table(rows):
    head = ["server", "messages/s", "slowest and fastest round", "MB/s", "p50 µs", "p99", "server ns a message", "CPU s per million"]
    return table(head, [[named(row["subject"]), count(row["msg_per_s"]), f"{count(row['msg_per_s_min'])} – {count(row['msg_per_s_max'])}",
                         count(row["mb_per_s"]), us(row["latency_us"]["p50"]), us(row["latency_us"]["p99"]), count(row["server_ns_per_msg"]),
                         f"{row['server_cpu_s_per_million']:.2f}" if row["server_cpu_s_per_million"] else "–"] for row in rows])


def percentiles(rows, label=lambda row: plain(row["subject"])):
    return [name for _, name in QUANTILES], {label(row): [row["latency_us"][key] for key, _ in QUANTILES] for row in rows}


def stem(name):
    """Of a part that is one of several: `open-5000` is one of `open`."""
    front, _, last = name.rpartition("-")
    return front if last.isdigit() else name


class Page:
    def __init__(self, folder, figures):
        self.folder, self.parts, self.machine = folder, figures["parts"], figures["machine"]
        self.text, self.plots = "", set()

    def plot(self, name, about, content):
        (self.folder / f"{name}.svg").write_text(content)
        self.plots.add(f"{name}.svg")
        self.text += f"![{about}]({name}.svg)\n\n"

    def head(self, part, title=None):
        self.text += f"## {title or part['title']}\n\n{part['about']}\n\n"

    def foot(self, *parts):
        out = {f"{NAMES.get(each['server'], each['server'])}: {each['why']}" if not each.get("load") else
               f"{each['server']}, {each['load']}: {each['why']}" for part in parts for each in part["skipped"]}
        for each in sorted(out):
            self.text += f"skipped: {each}\n\n"
        for row in (row for part in parts for row in part["rows"] if row.get("refused")):
            self.text += f"refused: {plain(row['subject'])}, {row['load']}, {row['shape']}: {row['refused']:,}, the first with code {row['first_refusal']}\n\n"
        when, tuned = parts[0]["when"], parts[0].get("tuned")
        with_tune = "" if tuned is None else f", on a host tuned for core 0 meanwhile (`afterburner tune`): {len(tuned) or 'it was tuned before, so no'} changes"
        self.text += f"*{when['date']}, commit {when['commit']}, load {when['load_before']:.1f}{with_tune}*\n\n"
        names = ",".join(dict.fromkeys(stem(part["name"]) for part in parts))
        command = parts[0]["command"] if names == "soak" else f"scripts/bench --only {names}"
        self.text += f"```console\n$ {command}{'' if tuned is None else ' --tune'}\n```\n\n"

    def group(self, name):
        found = [part for key, part in self.parts.items() if stem(key) == name != key]
        return sorted(found, key=lambda part: int(part["name"].rsplit("-", 1)[1]))

    def opening(self):
        machine = self.machine
        kind = "a virtual machine with " if machine["hypervisor"] else ""
        self.text += f"""# Figures

Written by `scripts/bench --write-docs`, which measures everything and makes this page, its plots and `figures.json`; nothing here is
written by hand. `scripts/bench --only PART` does one part, the lines under each table one run.

All of it on {kind}{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}. When each part was measured, of which
commit, and how busy the machine was just before (load average of the last minute, to which the parts before add about 2) stands under its table.

The broker polls on core 0; the load is one thread that polls on core 1, where the broker's cold threads (write-out, index) run as well.
All servers of a table take turns within one run, each round with a broker started afresh, so that a busy neighbour hits all of them: read rows against each
other. A figure is the median of its rounds, so that a pause of the machine in one of them does not decide; the slowest and fastest stand beside it, and
*max* is of all of them. `tap`, `xdp`: our TCP stack over a TAP device, and by AF_XDP over a veth pair (generic copying: no NIC with zero copy is here). `kernel`: the same
broker over the kernel's sockets on loopback; `kernel-veth`: over the same veth pair as `xdp`, with segments of up to 64 KiB; `kernel-veth-mtu`: with
segments of the MTU, as `xdp` has them. Java is the official broker 5.5.0 over loopback (G1, 4 GiB heap, its sends may queue for 20 s), free to use both
cores, warmed up for 12 s and stopped while others have their turn. `bare-tap`, `bare-xdp`: our stack without a broker. Requests have binary
headers. The load's own TCP is the kernel's, with cubic over the TAP, as `afterburner up` sets its route, and elsewhere with the host's default, here {machine.get('congestion_control') or 'not told'}.

"""

    def send(self):
        part = self.parts.get("send")
        if not part:
            return
        self.head(part)
        ping, pipe = of(part, "send", "1 x 1"), of(part, "send", "8 x")
        self.text += "One at a time:\n\n" + latency_table(ping)
        self.plot("send-latency", "latency of single sends", svg.lines("SEND 1 KiB, one at a time", "µs", *percentiles(ping)))
        self.text += "8 × 64 under way:\n\n" + rate_table(pipe)
        self.plot("send-rate", "messages a second", svg.bars("SEND 1 KiB, 8 × 64 under way", "msg/s",
                                                             [(plain(row["subject"]), row["msg_per_s"]) for row in pipe]))
        self.foot(part)

    def rates(self, name):
        part = self.parts.get(name)
        if part:
            self.head(part)
            self.text += rate_table(part["rows"])
            self.foot(part)

    def beside(self):
        part = self.parts.get("beside")
        if not part:
            return
        self.head(part)
        rows = []
        for quiet in (row for row in part["rows"] if row["shape"] == "1 x 1"):
            for both in (row for row in part["rows"] if row["shape"] != "1 x 1" and row["subject"] == quiet["subject"]):
                one, two = quiet["latency_us"], both["latency_us"]
                rows.append([named(quiet["subject"]), us(one["p50"]), us(two["p50"]), us(one["p99"]), us(two["p99"]), ratio(two["p99"], one["p99"]),
                             us(one["p99_9"]), us(two["p99_9"]), f"{both['mb_per_s'] / 1e3:.2f}"])
        self.text += table(["server", "p50 µs alone", "beside", "p99 alone", "beside", "", "p99.9 alone", "beside", "pulled GB/s"], rows)
        self.foot(part)

    def open_loop(self):
        found = self.group("open")
        if not found:
            return
        self.head(found[0], "Open loop")
        rows = [row for part in found for row in part["rows"]]
        label = lambda row: f"{named(row['subject'])} at {row['shape'].split(' at ')[1]}"
        self.text += latency_table(rows, label=label)
        self.plot("open", "latency at fixed rates", svg.lines("SEND 1 KiB at a fixed rate", "µs", *percentiles(rows, lambda row: label(row).replace("`", ""))))
        self.foot(*found)

    def disk(self):
        part = self.parts.get("disk")
        if not part:
            return
        self.head(part)
        raw = self.parts.get("raw-disk")
        ping = of(part, "send", "1 x 1") + (raw["rows"] if raw else [])
        label = lambda row: "the disk itself, 4 KiB written directly and synced" if row["subject"] == "disk" else named(row["subject"])
        self.text += "One at a time:\n\n" + latency_table(ping, label=label) + "8 × 64 under way:\n\n" + rate_table(of(part, "send", "8 x"))
        self.foot(*(each for each in (part, raw) if each))

    def loss(self):
        part = self.parts.get("loss")
        if not part:
            return
        self.head(part)
        share = lambda row: next((each[len("deviceLoss="):] for each in row["subject"].split("+") if each.startswith("deviceLoss=")), "0")
        rto = lambda row: row["subject"].rsplit("rto_min=", 1)[1]
        out = {row["subject"]: row["mb_per_s"] / 1e3 for row in of(part, "pull")}
        rows, series = [], {}
        for row in of(part, "send"):
            base = next((out[each] for each in out if "deviceLoss" not in each and each.endswith(rto(row))), None)
            latency, pulled = row["latency_us"], out.get(row["subject"])
            rows.append([f"{float(share(row)) * 100:g} %", rto(row), us(latency["p50"]), us(latency["p99"]), us(latency["p99_9"]), us(latency["max"]),
                         f"{pulled:.2f}" if pulled else "–", f"{100 * pulled / base:.0f} %" if pulled and base else "–"])
            series[f"{float(share(row)) * 100:g} %, {rto(row)}"] = [latency[key] for key, _ in QUANTILES]
        self.text += table(["lost, each way", "the client's `rto_min`", "send p50 µs", "p99", "p99.9", "max", "pulled GB/s", "of lossless"], rows)
        self.plot("loss", "latency under loss", svg.lines("SEND 1 KiB, one at a time, under loss", "µs", [name for _, name in QUANTILES], series))
        self.foot(part, *(self.parts[name] for name in ("netem",) if name in self.parts))

    def connections(self):
        part = self.parts.get("connections")
        if part:
            self.head(part)
            first, rows, series = {}, [], {}
            for row in sorted(part["rows"], key=lambda row: row["connections"]):
                number, cost = row["connections"], row["server_ns_per_msg"]
                base = first.setdefault(row["subject"], cost)
                rows.append([f"{number:,}", named(row["subject"]), count(cost), ratio(cost, base) if cost else "–", count(row["msg_per_s"]),
                             us(row["latency_us"]["p50"]), us(row["latency_us"]["p99"]), us(row["latency_us"]["p99_9"])])
                series.setdefault(plain(row["subject"]), {})[number] = cost
            self.text += table(["connections", "server", "server ns a message", "of the fewest", "messages/s", "p50 µs", "p99", "p99.9"], rows)
            ticks = sorted({number for line in series.values() for number in line})
            self.plot("connections", "cost of a message among many connections", svg.lines(
                "Server time for a message, 8 under way", "ns", [f"{tick:,}" for tick in ticks],
                {name: [line.get(tick) for tick in ticks] for name, line in series.items()}))
            self.foot(part)
        part = self.parts.get("idle")
        if part:
            self.head(part)
            self.text += latency_table(of(part, "send", "1 x 1")) + rate_table(of(part, "send", "8 x"))
            kib = [f"{named(row['subject'])} {row['server_own_kib_end'] / 1024:.0f} MiB" for row in of(part, "send", "8 x") if row["server_own_kib_end"]]
            self.text += f"Own memory of the broker with all of them, hot log apart: {', '.join(kib)}.\n\n" if kib else ""
            self.foot(part)

    def console(self, name):
        part = self.parts.get(name)
        if part:
            self.head(part)
            self.text += "```console\n" + "\n".join([f"$ {part['command']}", *part["lines"]]) + "\n```\n\n"
            self.text += f"*{part['when']['date']}, commit {part['when']['commit']}, load {part['when']['load_before']:.1f}*\n\n"

    def soak(self):
        part = self.parts.get("soak")
        if not part:
            return
        self.head(part)
        self.text += latency_table(part["rows"])
        self.text += table(["messages", "page faults", "allocations", "own memory at the start", "at the end", "errors"],
                           [[count(row["messages"]), count(row["shard_faults"]), count(row["shard_allocations"]), f"{row['server_own_kib_begin'] / 1024:.1f} MiB",
                             f"{row['server_own_kib_end'] / 1024:.1f} MiB", row["refused"] + row["unanswered"]] for row in part["rows"]])
        self.foot(part)


def write(folder, figures):
    page = Page(folder, figures)
    page.opening()
    page.send()
    page.rates("batch")
    page.rates("pull")
    page.beside()
    page.open_loop()
    page.disk()
    page.loss()
    page.connections()
    page.console("scale")
    page.console("shard")
    page.soak()
    (folder / "README.md").write_text(page.text.rstrip() + "\n")
    for old in folder.glob("*.svg"):
        if old.name not in page.plots:
            old.unlink()
    print(f"written: {folder}/README.md")
