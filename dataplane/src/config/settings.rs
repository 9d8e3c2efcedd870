//! Every key that has an effect: one table of key, type and default.
//!
//! `change` marks the keys that code 25 may alter in a running broker: none names a path, an address or a command.

use std::path::PathBuf;

use super::network::{Device, NamesrvList, Network};
use super::value::{BrokerRole, Bytes, Cores, DelayLevels, FlushDiskType, Hours, Permission, Setting, Share};

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $key:literal $field:ident : $type:ty = $default:expr, $when:ident; )+) => {
        /// The checked settings of one broker. A desk reads the field it needs; code 25 changes a few at run time.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl Config {
            /// Every key with effect, in the order of the table.
            pub const KEYS: &[&str] = &[$( $key, )+];

            /// Takes one value. `Ok(false)`: no such key. `Err`: what the value must look like.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
                match key {
                    $( $key => self.$field = Setting::parse(text)?, )+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// All settings as `key`, `value`, in the order of the table.
            pub fn entries(&self) -> Vec<(&'static str, String)> {
                vec![$( ($key, self.$field.show()), )+]
            }

            /// What a key is for: its line in `--help-keys` and in docs.
            pub fn explain(key: &str) -> Option<&'static str> {
                match key {
                    $( $key => Some(concat!($( $doc, )+).trim()), )+
                    _ => None,
                }
            }

            /// Whether code 25 may alter this key while the broker runs.
            pub fn is_changeable(key: &str) -> bool {
                match key {
                    $( $key => stringify!($when) == "change", )+
                    _ => false,
                }
            }
        }
    };
}

settings! {
    // Who we are.
    /// cluster this broker belongs to
    "brokerClusterName" broker_cluster_name: String = "DefaultCluster".into(), start;
    /// name of this broker; the host's name when not given
    "brokerName" broker_name: String = String::new(), start;
    /// 0: a master
    "brokerId" broker_id: u64 = 0, start;
    /// ASYNC_MASTER
    "brokerRole" broker_role: BrokerRole = BrokerRole::AsyncMaster, start;
    /// address told to clients and written into messages; by default that of the device
    "brokerIP1" broker_ip1: Option<std::net::IpAddr> = None, start;
    /// address told to replicas; brokerIP1 when not given
    "brokerIP2" broker_ip2: Option<std::net::IpAddr> = None, start;
    /// name servers, separated by `;`
    "namesrvAddr" namesrv_addr: NamesrvList = NamesrvList::default(), start;
    /// port for clients; listenPort - 2 serves the same (VIP)
    "listenPort" listen_port: u16 = 10911, start;
    /// port told to replicas; listenPort + 1 when 0
    "haListenPort" ha_listen_port: u16 = 0, start;
    /// address to listen on with device=kernel
    "bindAddress" bind_address: std::net::Ipv4Addr = std::net::Ipv4Addr::UNSPECIFIED, start;
    /// region stamped on messages (MSG_REGION)
    "regionId" region_id: String = "DefaultRegion".into(), start;

    // Registration.
    /// ms between registrations with every name server, 10000 to 60000
    "registerNameServerPeriod" register_name_server_period: u64 = 30_000, start;
    /// ms to wait for a name server's answer
    "registerBrokerTimeoutMills" register_broker_timeout_mills: u64 = 24_000, start;

    // Store.
    /// directory of the store, RocketMQ's own layout
    "storePathRootDir" store_path_root_dir: PathBuf = PathBuf::new(), start;
    /// directory of the commitlog; <storePathRootDir>/commitlog when not given
    "storePathCommitLog" store_path_commit_log: Option<PathBuf> = None, start;
    /// ASYNC_FLUSH: acknowledged messages survive kill -9. SYNC_FLUSH: also a power cut
    "flushDiskType" flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, start;
    /// bytes of a commitlog file
    "mappedFileSizeCommitLog" mapped_file_size_commit_log: u64 = 1 << 30, start;
    /// bytes of a consume queue file, a multiple of 20
    "mappedFileSizeConsumeQueue" mapped_file_size_consume_queue: u64 = 6_000_000, start;
    /// hours a message is kept at least, unless the disk gets too full
    "fileReservedTime" file_reserved_time: u32 = 72, start;
    /// hours of local time at which old files are deleted, separated by `;`
    "deleteWhen" delete_when: Hours = Hours(vec![4]), start;
    /// percent of the disk above which old files are deleted at any hour, 10 to 95
    "diskMaxUsedSpaceRatio" disk_max_used_space_ratio: u32 = 75, start;
    /// percent of the disk above which files are deleted whatever their age, 30 to 85
    "diskSpaceCleanForciblyRatio" disk_space_clean_forcibly_ratio: u32 = 85, start;
    /// percent of the disk above which sends are refused, 35 to 90
    "diskSpaceWarningLevelRatio" disk_space_warning_level_ratio: u32 = 90, start;
    /// delete files whatever their age when the disk gets too full
    "cleanFileForciblyEnable" clean_file_forcibly_enable: bool = true, start;
    /// ms between looks at what may be deleted
    "cleanResourceInterval" clean_resource_interval: u64 = 10_000, start;
    /// most commitlog files deleted at one look
    "deleteFileBatchMax" delete_file_batch_max: u32 = 10, start;
    /// keep an index of keys, for queries by key
    "messageIndexEnable" message_index_enable: bool = true, start;
    /// hash slots of an index file
    "maxHashSlotNum" max_hash_slot_num: u32 = 5_000_000, start;
    /// entries of an index file
    "maxIndexNum" max_index_num: u32 = 20_000_000, start;
    /// most messages of one answer to a query by key
    "maxMsgsNumBatch" max_msgs_num_batch: u32 = 64, change;
    /// most messages of one answer to a query by unique key
    "defaultQueryMaxNum" default_query_max_num: u32 = 32, change;
    /// ms between writes of consumerOffset.json
    "flushConsumerOffsetInterval" flush_consumer_offset_interval: u64 = 5_000, start;
    /// ms between writes of delayOffset.json
    "flushDelayOffsetInterval" flush_delay_offset_interval: u64 = 10_000, start;
    /// ms a send waits for its flush under SYNC_FLUSH
    "syncFlushTimeout" sync_flush_timeout: u64 = 5_000, change;

    // Topics and groups.
    /// make unknown topics when a client sends to them
    "autoCreateTopicEnable" auto_create_topic_enable: bool = true, start;
    /// make unknown consumer groups when a client names them
    "autoCreateSubscriptionGroup" auto_create_subscription_group: bool = true, change;
    /// queues of the template topic TBW102, 65535 at most
    "defaultTopicQueueNums" default_topic_queue_nums: u32 = 8, start;
    /// 6: read and write; 4: read; 2: write
    "brokerPermission" broker_permission: Permission = Permission(6), change;
    /// keep a topic named as the cluster
    "clusterTopicEnable" cluster_topic_enable: bool = true, start;
    /// keep a topic named as the broker
    "brokerTopicEnable" broker_topic_enable: bool = true, start;
    /// keep the trace topic
    "traceTopicEnable" trace_topic_enable: bool = false, start;
    /// name of the trace topic
    "msgTraceTopicName" msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".into(), start;
    /// tell producers to trace (TRACE_ON)
    "traceOn" trace_on: bool = true, change;
    /// refuse to create or delete topics with names of the system
    "validateSystemTopicWhenUpdateTopic" validate_system_topic_when_update_topic: bool = true, change;

    // Sending.
    /// largest message body in bytes
    "maxMessageSize" max_message_size: u32 = 4 << 20, start;
    /// delays of levels 1, 2, ...
    "messageDelayLevel" message_delay_level: DelayLevels = DelayLevels::default(), start;
    /// ms since 1970 before which sends are refused
    "startAcceptSendRequestTimeStamp" start_accept_send_request_time_stamp: i64 = 0, change;
    /// refuse half messages
    "rejectTransactionMessage" reject_transaction_message: bool = false, change;
    /// ms before a half message is checked
    "transactionTimeOut" transaction_time_out: u64 = 6_000, change;
    /// checks before a half message is given up
    "transactionCheckMax" transaction_check_max: u32 = 15, change;
    /// ms between rounds of checks
    "transactionCheckInterval" transaction_check_interval: u64 = 30_000, change;
    /// store replies of request-reply calls
    "storeReplyMessageEnable" store_reply_message_enable: bool = true, change;

    // Consuming.
    /// hold a pull that finds nothing until a message comes
    "longPollingEnable" long_polling_enable: bool = true, change;
    /// ms such a pull is held when longPollingEnable=false
    "shortPollingTimeMills" short_polling_time_mills: u64 = 1_000, change;
    /// serve code 361
    "litePullMessageEnable" lite_pull_message_enable: bool = true, change;
    /// tell the members of a group when one comes or goes
    "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true, change;
    /// most bytes of one pull answer from memory
    "maxTransferBytesOnMessageInMemory" max_transfer_bytes_on_message_in_memory: u32 = 262_144, change;
    /// most messages of one pull answer from memory
    "maxTransferCountOnMessageInMemory" max_transfer_count_on_message_in_memory: u32 = 32, change;
    /// most bytes of one pull answer from disk; what was read ahead counts as memory
    "maxTransferBytesOnMessageInDisk" max_transfer_bytes_on_message_in_disk: u32 = 65_536, change;
    /// most messages of one pull answer from disk; what was read ahead counts as memory
    "maxTransferCountOnMessageInDisk" max_transfer_count_on_message_in_disk: u32 = 8, change;

    // Connections.
    /// s without traffic after which a connection is closed
    "serverChannelMaxIdleTimeSeconds" server_channel_max_idle_time_seconds: u64 = 120, start;
    /// ms without heartbeat after which a client is dropped
    "channelExpiredTimeout" channel_expired_timeout: u64 = 120_000, change;

    // Ours.
    /// tap[:NAME]: our own TCP stack behind a TAP device. xdp:INTERFACE: the same on a NIC (AF_XDP). kernel[:IP]: sockets of the kernel
    "device" device: Device = Device::Tap { name: "ab0".into() }, start;
    /// our address and network on the device; with xdp one of our own, or the host's, of which we then take our ports alone
    "address" address: Network = Network::DEFAULT, start;
    /// next hop to other networks; the host's end of the TAP when not given
    "gateway" gateway: Option<std::net::Ipv4Addr> = None, start;
    /// with xdp: let the driver sleep until it is told, and tell it only then
    "xdpNeedWakeup" xdp_need_wakeup: bool = true, start;
    /// with xdp: µs for which our own calls run the driver (preferred busy polling); 0: interrupts do
    "xdpBusyPoll" xdp_busy_poll: u32 = 0, start;
    /// cores that poll, as 2,3: each runs a shard, a broker of its own; `auto`: one, on the last core allowed; `none`: one, not pinned
    "cores" cores: Cores = Cores::Auto, start;
    /// memory for messages that are served without a disk, as 512M or 4G
    "hotLogBytes" hot_log_bytes: Bytes = Bytes(256 << 20), start;
    /// directory of the hot log, hugetlbfs or tmpfs; found by itself when not given
    "hotLogPath" hot_log_path: Option<PathBuf> = None, start;
    /// bytes of commitlog files to keep at most, as 100G; 0: no limit
    "commitLogBytesMax" commit_log_bytes_max: Bytes = Bytes(0), start;
    /// an unanswered SYN-ACK is repeated after 1 s / stackClock; loss after the handshake is timed by the measured path
    "stackClock" stack_clock: u32 = 5, start;
    /// for experiments: the share of segments that our own stack loses on purpose, both ways, as 0.001
    "deviceLoss" device_loss: Share = Share::NONE, start;
    /// most connections at a time
    "connectionsMax" connections_max: u32 = 10_000, start;
    /// of so many sends one is timed stage by stage; 0: none
    "stageSampleInterval" stage_sample_interval: u32 = 64, change;
    /// memory for the heads of the last frames in and out, as 16M; 0: none are recorded
    "flightRecorderBytes" flight_recorder_bytes: Bytes = Bytes(0), start;
    /// microseconds a turn or a send may take before the flight recorder is written to a file; 0: never
    "latencyBoundMicros" latency_bound_micros: u32 = 0, change;
}
