//! What a host's facts mean for speed: each line found, why it matters, and what mends it. Pure.

use super::facts::Facts;
use super::finding::{Change, Finding, Fix, command, finding};
use super::nic::{Nic, Xdp};
use super::shards::{self, Shards};

/// Every line about this host, in the order of the walk of a frame.
pub fn judge(facts: &Facts, shards: &Shards) -> Vec<Finding> {
    let mut found = vec![kernel(facts)];
    if let Some(nic) = &facts.nic {
        found.extend([driver(nic), mtu(nic)]);
        found.extend([coalescing(nic), ntuple(nic)].into_iter().flatten());
    }
    found.extend(shards::judge(facts, shards));
    found.extend(
        [governor(facts), clock_source(facts), transparent(facts), swap(facts)].into_iter().flatten(),
    );
    found.extend([overcommit(facts), page_lists(facts)].into_iter().flatten());
    found.extend([memlock(facts), open_files(facts)]);
    found.extend([direct(facts), Some(space(facts))].into_iter().flatten());
    found
}

fn write(path: impl Into<String>, value: impl Into<String>) -> Fix {
    Fix::Write(vec![Change::file(path, value)])
}

fn kernel(facts: &Facts) -> Finding {
    let mut numbers =
        facts.kernel.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    finding(
        "kernel",
        facts.kernel.clone(),
        version >= (5, 11),
        "AF_XDP without preferred busy polling",
        || command("install Linux 5.11 or later"),
    )
}

fn driver(nic: &Nic) -> Finding {
    let (mode, is_good) = match nic.xdp() {
        Xdp::ZeroCopy => ("zero copy", true),
        Xdp::Native => ("native mode with a copy", true),
        Xdp::Generic => ("generic mode at best", false),
    };
    let found = format!("{}: driver {}, AF_XDP in {mode}", nic.name, nic.driver);
    finding("driver", found, is_good, "generic XDP is slower than the kernel's sockets", || {
        command("use device=tap or device=kernel here, or a card with native XDP")
    })
}

fn mtu(nic: &Nic) -> Finding {
    let found = format!("{}: {}", nic.name, nic.mtu);
    finding("mtu", found, nic.mtu <= XDP_MTU_MAX, "a frame must fit into one chunk of AF_XDP memory", || {
        command(format!("ip link set dev {} mtu 1500", nic.name))
    })
}

fn coalescing(nic: &Nic) -> Option<Finding> {
    let told = nic.coalescing?;
    let adaptive = if told.adaptive_rx { ", adaptive" } else { "" };
    let found = format!("{}: {} us{adaptive}", nic.name, told.rx_usecs);
    let is_good = !told.adaptive_rx && told.rx_usecs <= COALESCE_USECS_MAX;
    Some(finding("coalescing", found, is_good, "frames wait in the card for others", || {
        command(format!("ethtool --coalesce {} adaptive-rx off rx-usecs 0", nic.name))
    }))
}

fn ntuple(nic: &Nic) -> Option<Finding> {
    let found = format!("{}: {}", nic.name, if nic.ntuple? { "on" } else { "off" });
    let is_good = nic.ntuple? || nic.rx_queues <= 1;
    Some(finding("ntuple", found, is_good, "the card cannot steer our flows to our queues", || {
        command(format!("ethtool --features {} ntuple on", nic.name))
    }))
}

fn governor(facts: &Facts) -> Option<Finding> {
    let (_, first) = facts.governors.first()?;
    let slow: Vec<_> = facts.governors.iter().filter(|(_, governor)| governor != "performance").collect();
    let found = if slow.is_empty() { "performance".to_owned() } else { first.clone() };
    Some(finding("governor", found, slow.is_empty(), "cores that were idle wake up slowly", || {
        let path = |core| format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        Fix::Write(slow.iter().map(|(core, _)| Change::file(path(core), "performance")).collect())
    }))
}

fn clock_source(facts: &Facts) -> Option<Finding> {
    let (current, available) = &facts.clock_sources;
    let is_good =
        matches!(current.as_str(), "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page");
    let found = Some(current.clone()).filter(|name| !name.is_empty())?;
    Some(finding("clock source", found, is_good, "every look at the clock is a system call", || {
        match available.iter().any(|name| name == "tsc") {
            true => write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
            false => command("boot with tsc=reliable if the processor's is"),
        }
    }))
}

fn transparent(facts: &Facts) -> Option<Finding> {
    let mode = Some(&facts.transparent_huge_pages).filter(|mode| !mode.is_empty())?;
    Some(finding(
        "transparent huge pages",
        mode.clone(),
        mode != "always",
        "the kernel moves memory under us",
        || write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
    ))
}

fn swap(facts: &Facts) -> Option<Finding> {
    let swappiness = facts.swappiness?;
    let found = if facts.has_swap { format!("on, swappiness {swappiness}") } else { "none".to_owned() };
    let is_good = !facts.has_swap || swappiness <= SWAPPINESS_MAX;
    Some(finding("swap", found, is_good, "what is not locked may have to come from the disk", || {
        write("/proc/sys/vm/swappiness", "1")
    }))
}

fn overcommit(facts: &Facts) -> Option<Finding> {
    let mode = facts.overcommit?;
    Some(finding(
        "overcommit",
        mode.to_string(),
        mode != 2,
        "buffers are reserved before they are needed",
        || write("/proc/sys/vm/overcommit_memory", "0"),
    ))
}

/// The longer the list a core keeps, the more pages go back at once when it is full: 2,016 by default, for some 60 us.
fn page_lists(facts: &Facts) -> Option<Finding> {
    let fraction = facts.page_list_fraction?;
    let found = match fraction {
        0 => "as long as the kernel likes".to_owned(),
        fraction => format!("1/{fraction} of a zone at most"),
    };
    let is_good = fraction >= PAGE_LIST_FRACTION_MIN;
    Some(finding(
        "page lists",
        found,
        is_good,
        "a frame waits while thousands of pages are given back",
        || write("/proc/sys/vm/percpu_pagelist_high_fraction", PAGE_LIST_FRACTION_MIN.to_string()),
    ))
}

fn memlock(facts: &Facts) -> Finding {
    let found = if facts.may_lock_memory { "memory may be locked" } else { "memory may not be locked" };
    finding(
        "memlock",
        found.to_owned(),
        facts.may_lock_memory,
        "a page fault in the middle of a message",
        || command("ulimit -l unlimited (as root), or give CAP_IPC_LOCK"),
    )
}

fn open_files(facts: &Facts) -> Finding {
    let found = facts.open_files_max.map_or_else(|| "unlimited".to_owned(), |max| format!("up to {max}"));
    let is_good = facts.open_files_max.is_none_or(|max| max >= OPEN_FILES_MIN);
    finding("open files", found, is_good, "fewer than 10,000 connections", || {
        command("ulimit -Hn 65536 (as root)")
    })
}

fn direct(facts: &Facts) -> Option<Finding> {
    let direct = facts.disk.direct.as_ref()?;
    let folder = facts.disk.folder.display();
    let found = match direct {
        Ok(()) => format!("O_DIRECT works in {folder}"),
        Err(error) => format!("no O_DIRECT in {folder}: {error}"),
    };
    Some(finding(
        "disk",
        found,
        direct.is_ok(),
        "the write-out goes through the page cache: a second per gigabyte",
        || command("put the store on ext4, xfs or another file system with O_DIRECT: --store FOLDER"),
    ))
}

fn space(facts: &Facts) -> Finding {
    let found = format!("{} GiB free in {}", facts.disk.free_bytes >> 30, facts.disk.folder.display());
    finding(
        "free space",
        found,
        facts.disk.free_bytes >= FREE_BYTES_MIN,
        "a commitlog file takes 1 GiB",
        || command("make room, or choose another folder: --store FOLDER"),
    )
}

/// A frame and its headroom in half a page of 4 KiB and more: what native XDP takes without fragments.
const XDP_MTU_MAX: u64 = 3_498;
const COALESCE_USECS_MAX: u64 = 3;
const SWAPPINESS_MAX: u64 = 10;
/// A zone of a terabyte then has lists of 268 pages, any smaller one the shortest there are, of 252.
const PAGE_LIST_FRACTION_MIN: u64 = 1_000_000;
const OPEN_FILES_MIN: u64 = 10_240;
const FREE_BYTES_MIN: u64 = 2 << 30;
