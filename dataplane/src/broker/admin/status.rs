//! How the broker is doing: code 28, which clusterList and brokerStatus print.
//!
//! Every key mqadmin and the dashboard look for is there, since a missing one makes them fail. Keys of thread pools say
//! zero: requests wait in no queue here.

use protocol::body::{Body as _, HARuntimeInfo, KVTable};
use protocol::code::response;
use protocol::version;
use store::Cause;

use super::super::{Broker, Refusal, Request};
use super::rates::Sums;
use crate::measure::histogram::Histogram;
use crate::outbox::{Body, Outbox};
use crate::plan::Amount;
use crate::time::TurnTime;

/// Takes one figure by its name.
type Put<'a> = dyn FnMut(&str, String) + 'a;

impl Broker {
    /// Called every turn; once a second the rates get their sample.
    pub(in crate::broker) fn sample_rates(&mut self, now: &TurnTime) {
        if self.admin.rates.is_due(now.mono_ms()) {
            let sums = self.sums();
            self.admin.rates.sample(now.mono_ms(), now.wall_ms, sums);
        }
    }

    fn sums(&self) -> Sums {
        Sums {
            put_messages: self.counters.put_messages,
            pulls_found: self.counters.pulls_found,
            pulls_missed: self.counters.pulls_missed,
            got_messages: self.counters.got_messages,
        }
    }

    /// Code 28.
    pub(super) fn runtime_info(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let mut body = KVTable::default();
        let put = &mut |key: &str, value: String| {
            body.table.insert(key.to_owned(), value);
        };
        self.put_life(req.now.wall_ms, put);
        self.put_rates(put);
        self.put_messages(put);
        self.put_log(put);
        self.put_files(put);
        put_what_is_not_here(put);
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
        Ok(())
    }

    fn put_life(&self, now_ms: i64, put: &mut Put<'_>) {
        put("bootTimestamp", self.admin.started_ms.to_string());
        put("brokerActive", "true".into());
        put("brokerVersion", version::OURS.to_string());
        put("brokerVersionDesc", version::name(version::OURS));
        put("runtime", runtime(now_ms - self.admin.started_ms));
        put("startAcceptSendRequestTimeStamp", self.config.start_accept_send_request_time_stamp.to_string());
    }

    fn put_rates(&self, put: &mut Put<'_>) {
        let (counters, rates) = (&self.counters, &self.admin.rates);
        put("putTps", rates.triple(|sums| sums.put_messages));
        put("getFoundTps", rates.triple(|sums| sums.pulls_found));
        put("getMissTps", rates.triple(|sums| sums.pulls_missed));
        put("getTotalTps", rates.triple(|sums| sums.pulls_found + sums.pulls_missed));
        put("getTransferredTps", rates.triple(|sums| sums.got_messages));
        let (yesterday, today) = rates.mornings();
        put("msgPutTotalYesterdayMorning", yesterday.put_messages.to_string());
        put("msgPutTotalTodayMorning", today.put_messages.to_string());
        put("msgPutTotalTodayNow", counters.put_messages.to_string());
        put("msgGetTotalYesterdayMorning", yesterday.got_messages.to_string());
        put("msgGetTotalTodayMorning", today.got_messages.to_string());
        put("msgGetTotalTodayNow", counters.got_messages.to_string());
    }

    fn put_messages(&self, put: &mut Put<'_>) {
        let counters = &self.counters;
        put("putMessageTimesTotal", counters.put_messages.to_string());
        put("putMessageSizeTotal", counters.put_bytes.to_string());
        put("putMessageFailedTimes", counters.put_failures.to_string());
        let average = counters.put_bytes as f64 / counters.put_messages.max(1) as f64;
        put("putMessageAverageSize", format!("{average:?}"));
        // Of a put or a get we know how long its turn took, which is at least as long (measure/pace.rs).
        let (pace, puts) = (&self.admin.pace, self.admin.pace.puts());
        put("putMessageEntireTimeMax", (pace.longest_put_ns / NANOS_PER_MILLI).to_string());
        put("getMessageEntireTimeMax", (pace.longest_pull_ns / NANOS_PER_MILLI).to_string());
        put("putLatency99", millis(puts.quantile(0.99)));
        put("putLatency999", millis(puts.quantile(0.999)));
        put("putMessageDistributeTime", distribution(&puts));
        put("pageCacheLockTimeMills", "0".into());
    }

    fn put_log(&self, put: &mut Put<'_>) {
        let disk = self.admin.disk.read();
        let (published, written) = (self.store.published(), self.store.written_to());
        put("commitLogMinOffset", self.store.min_physical().to_string());
        put("commitLogMaxOffset", published.to_string());
        put("remainHowManyDataToFlush", Amount(published.since(self.store.synced_to())).to_string());
        put("dispatchBehindBytes", published.since(written).to_string());
        put("dispatchMaxBuffer", "0".into());
        put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
        put("earliestMessageTimeStamp", disk.earliest_ms.to_string());
        put("commitLogDirCapacity", format!("Total : {}, Free : {}.", Amount(disk.total), Amount(disk.free)));
        let ratio = format!("{:.2?}", disk.used_ratio());
        let commitlog = self.config.store_path_commit_log.clone();
        let commitlog = commitlog.unwrap_or_else(|| self.config.store_path_root_dir.join("commitlog"));
        put(&format!("commitLogDiskRatio_{}", commitlog.display()), ratio.clone());
        put("commitLogDiskRatio", ratio.clone());
        put("consumeQueueDiskRatio", ratio);
    }

    /// Ours, not RocketMQ's: what was deleted, how the disk does, and what proves that the hot path allocates nothing.
    fn put_files(&self, put: &mut Put<'_>) {
        let removed = self.store.removed();
        for (cause, files) in Cause::ALL.into_iter().zip(removed.files) {
            let key = match cause {
                Cause::Time => "commitLogFilesDeletedTime",
                Cause::Disk => "commitLogFilesDeletedDisk",
                Cause::Asked => "commitLogFilesDeletedAsked",
                Cause::Forced => "commitLogFilesDeletedForced",
                Cause::Quota => "commitLogFilesDeletedQuota",
            };
            put(key, files.to_string());
        }
        put("commitLogBytesDeleted", removed.bytes.to_string());
        put("diskFullTimes", removed.disk_full_times.to_string());
        let mended = self.store.mended();
        put("queueEntriesRemade", mended.remade.to_string());
        put("queueEntriesLost", mended.lost.to_string());
        put("logReadOnly", self.store.is_read_only().to_string());
        let mut syncs = Histogram::default();
        syncs.read(&self.store.disk_times().sync);
        put("diskSyncTimes", syncs.count().to_string());
        put("diskSyncLatency50", millis(syncs.quantile(0.5)));
        put("diskSyncLatency99", millis(syncs.quantile(0.99)));
        put("diskSyncLatencyMax", millis(syncs.max()));
        put("shardAllocations", crate::alloc::on_this_thread().to_string());
    }

    /// Code 907: a master without replicas.
    pub(super) fn ha_status(&mut self, req: &Request<'_>, out: &mut Outbox) -> Result<(), Refusal> {
        let body = HARuntimeInfo {
            master: true,
            master_commit_log_max_offset: self.store.published().0,
            ..HARuntimeInfo::default()
        };
        out.reply(req.reply_to(), response::SUCCESS, |w| w, Body::Owned(body.encode()));
        Ok(())
    }
}

/// Queues of threads and timers that the official broker has.
fn put_what_is_not_here(put: &mut Put<'_>) {
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        put(&format!("{pool}ThreadPoolQueueSize"), "0".into());
        put(&format!("{pool}ThreadPoolQueueCapacity"), "0".into());
        put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".into());
    }
    put("EndTransactionQueueSize", "0".into());
    put("EndTransactionThreadPoolQueueCapacity", "0".into());
    put("timerReadBehind", "0".into());
    put("timerOffsetBehind", "0".into());
    put("timerCongestNum", "0".into());
    put("timerEnqueueTps", "0.0".into());
    put("timerDequeueTps", "0.0".into());
}

/// As the official broker prints an uptime.
fn runtime(uptime_ms: i64) -> String {
    let seconds = uptime_ms.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

/// As the official broker prints a latency.
fn millis(ns: u64) -> String {
    format!("{:.2}", ns as f64 / NANOS_PER_MILLI as f64)
}

/// How many puts took how long, in the official buckets.
fn distribution(puts: &Histogram) -> String {
    let buckets = [
        ("<=0ms", 1),
        ("0~10ms", 10),
        ("10~50ms", 50),
        ("50~100ms", 100),
        ("100~200ms", 200),
        ("200~500ms", 500),
        ("500ms~1s", 1_000),
        ("1~2s", 2_000),
        ("2~3s", 3_000),
        ("3~4s", 4_000),
        ("4~5s", 5_000),
        ("5~10s", 10_000),
        ("10s~", u64::MAX),
    ];
    let (mut text, mut below) = (String::new(), 0);
    for (name, end_ms) in buckets {
        let up_to = puts.count_to(end_ms.saturating_mul(NANOS_PER_MILLI) - 1);
        text += &format!("[{name}]:{} ", up_to - below);
        below = up_to;
    }
    text
}

const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_official_ones() {
        assert_eq!(runtime(207_999), "[ 0 days, 0 hours, 3 minutes, 27 seconds ]");
        assert_eq!(runtime(90_061_000), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        let mut puts = Histogram::default();
        puts.record_many(900, 28);
        puts.record(7 * NANOS_PER_MILLI);
        puts.record(60_000 * NANOS_PER_MILLI);
        let text = distribution(&puts);
        assert!(text.starts_with("[<=0ms]:28 [0~10ms]:1 [10~50ms]:0 "), "{text}");
        assert!(text.ends_with("[5~10s]:0 [10s~]:1 "), "{text}");
        assert_eq!(millis(1_234_567), "1.23");
    }
}
