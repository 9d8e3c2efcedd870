//! What a shard shows of itself: bounded copies into the memory that whoever looks has brought, and recordings of what took
//! too long.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shard;
use crate::broker::Broker;
use crate::net::watch::Recording;
use crate::net::{ConnId, Net};
use crate::sight::conns::{ConnPage, ConnRow, GROUPS_SHOWN, SLOTS_PER_PAGE};
use crate::sight::stats::{Levels, StatsPage};
use crate::sight::{Crossing, Look};
use crate::time::{FineClock, TurnTime};

impl<N: Net> Shard<N> {
    /// Answers at most one look. Returns how many there were.
    pub(super) fn show(&mut self, now: &TurnTime, idle: bool) -> u32 {
        let Some(sight) = self.sight.as_mut() else { return 0 };
        let Some(mut numbered) = sight.next(now, idle) else { return 0 };
        match &mut numbered.look {
            Look::Conns(page) => self.show_conns(page, now),
            Look::Stats(page) => self.show_stats(page, now),
            Look::Capture { capture, done } => {
                if let Some(watch) = self.net.watch() {
                    *capture = watch.capture_into(capture.take());
                    *done = true;
                }
            }
            Look::Recording { recording, done } => {
                if let Some(watch) = self.net.watch().filter(|watch| watch.is_recording()) {
                    *done = watch.swap(recording);
                }
            }
        }
        if let Some(sight) = self.sight.as_ref() {
            sight.answer(numbered);
        }
        1
    }

    /// Once a millisecond: what was captured goes to who asked, and settings take effect.
    pub(super) fn tend_sight(&mut self) {
        let config = &self.broker.config;
        self.broker.admin.stages.set_interval(config.stage_sample_interval);
        self.bound_ns = match u64::from(config.latency_bound_micros) {
            0 => u64::MAX,
            micros => micros * 1_000,
        };
        if let Some(watch) = self.net.watch() {
            watch.hand_over();
        }
    }

    /// Something took too long: what was recorded before it goes to a file, unless one was written just now.
    #[cold]
    pub(super) fn bound_crossed(&mut self, took_ns: u64, now: &TurnTime) {
        let Some(sight) = &self.sight else { return };
        let Some(watch) = self.net.watch().filter(|watch| watch.is_recording()) else { return };
        let Some(mut recording) = sight.spare() else { return };
        watch.swap(&mut recording);
        sight.tell(Crossing { took_ns, wall_ms: now.wall_ms, recording });
    }

    /// Frames are recorded from now on, with this clock.
    pub(crate) fn open_sight(&mut self, clock: FineClock, now: &TurnTime) {
        self.broker.admin.stages.clock = clock;
        let bytes = self.broker.config.flight_recorder_bytes.0 as usize;
        if let Some(watch) = self.net.watch() {
            watch.set_clock(clock, now);
            if bytes > 0 {
                watch.record_into(Box::new(Recording::new(bytes)));
            }
        }
    }

    /// Looks at the next slots.
    fn show_conns(&self, page: &mut ConnPage, now: &TurnTime) {
        page.now_ns = now.mono_ns;
        let Some(first) = page.slot else { return };
        let end = self.sessions.slots_len().min(first.saturating_add(SLOTS_PER_PAGE));
        for slot in first..end {
            let row = self.sessions.at(slot).and_then(|(conn, opened_ms)| self.row(conn, opened_ms));
            if let Some(row) = row
                && page.rows.len() < page.rows.capacity()
            {
                page.rows.push(row);
            }
        }
        page.slot = (end < self.sessions.slots_len()).then_some(end);
    }

    fn row(&self, conn: ConnId, opened_ms: u64) -> Option<ConnRow> {
        let info = self.net.info(conn)?;
        let (first, second) = self.net.readable(conn);
        let consumers = self.broker.consumers.groups_of(conn);
        let producers = self.broker.producers.groups_of(conn);
        let mut groups = [const { None }; GROUPS_SHOWN];
        for (place, group) in groups.iter_mut().zip(consumers.into_iter().chain(producers).flatten()) {
            *place = Some(Arc::clone(group));
        }
        Some(ConnRow {
            conn,
            info,
            opened_ms,
            unread_bytes: first.len() + second.len(),
            outbox_bytes: self.outbox.queued(conn),
            client: self.broker.peers.client_of(conn).map(|client| Arc::clone(&client.id)),
            groups,
            groups_len: consumers.map_or(0, BTreeSet::len) + producers.map_or(0, BTreeSet::len),
        })
    }

    fn show_stats(&self, page: &mut StatsPage, now: &TurnTime) {
        page.now_ns = now.mono_ns;
        page.requests = self.broker.counters;
        page.sessions = self.sessions.counters;
        page.outbox = self.outbox.counters;
        let net = &mut page.net;
        self.net.count(&mut |name, count| {
            if net.len() < net.capacity() {
                net.push((name, count));
            }
        });
        let pace = &self.broker.admin.pace;
        (page.turns, page.busy_turns, page.busy_ns) = (pace.turns, pace.busy_turns, pace.busy_ns);
        page.busy.copy_from(&pace.busy);
        page.stages.copy_from(&self.broker.admin.stages.times);
        let times = self.broker.store.disk_times();
        for (copy, of) in page.disk.iter_mut().zip([&times.write, &times.sync, &times.read]) {
            copy.read(of);
        }
        page.now = levels(&self.broker, self.net.conns_len());
    }
}

fn levels(broker: &Broker, connections: usize) -> Levels {
    let published = broker.store.published();
    Levels {
        connections,
        held_pulls: broker.holds.len(),
        errands: broker.errands.len(),
        unwritten_bytes: published.since(broker.store.written_to()),
        unsynced_bytes: published.since(broker.store.synced_to()),
        log_read_only: broker.store.is_read_only(),
        disk_full: broker.store.is_disk_full(),
        allocations: crate::alloc::on_this_thread(),
    }
}
