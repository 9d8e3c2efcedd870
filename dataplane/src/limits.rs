//! Every bound of the dataplane's hot side, in one place, tied to its neighbours.
//!
//! A bound is here because something must be finite: a turn, a buffer, a table. Each says what happens at the
//! bound, and none of them is "drop an acknowledged message".

/// Shards of one process.
pub const SHARDS_MAX: usize = 64;

/// Frames taken from the device in one turn.
pub const RX_BURST_MAX: usize = 256;
/// Frames given to the device in one turn.
pub const TX_BURST_MAX: usize = 256;

/// Requests served in one turn, over all connections.
pub const REQUESTS_PER_TURN_MAX: u32 = 512;
/// Requests served for one connection before the next one gets its go.
pub const REQUESTS_PER_VISIT_MAX: u32 = 64;

/// A frame that is not whole yet and needs more bytes than this is joined outside the receive ring, since the
/// smallest ring class could not hold it. Smaller ones wait in the ring.
pub const JOIN_BYTES_MIN: usize = 8 * 1024;
/// The smallest receive ring a connection may have (the idle class of the socket slab).
pub const RECEIVE_RING_BYTES_MIN: usize = 16 * 1024;
/// The largest frame of the wire, its own length word included.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024 + 4;
/// Bytes of a request's header. A longer one is answered with the reason, and its connection closed: to read it takes as long as a thousand
/// requests, and the longest that a desk takes, an expression all of whose characters JSON escapes, has not half as many.
pub const HEADER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a request's JSON body: heartbeats, locks, lists of topics and of groups. A longer one is refused.
pub const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Names and elements in it: over 6,000 subscriptions, 16,000 queues, 7,000 topics or 4,000 groups. With more it is refused.
/// An element of three bytes may take 400 once it is read, and some 100 ns.
pub const JSON_VALUES_MAX: usize = 65_536;
/// Up to so many bytes a JSON body is read within the turn; a longer one by the cold thread, and its connection waits. Some 100 subscriptions.
pub const JSON_SHORT_BYTES_MAX: usize = 16 * 1024;
/// Long bodies that are being read, or that have been and wait for their request to be offered again: 30 MB each at most. At the bound the
/// next one waits, unread.
pub const LONG_BODIES_MAX: usize = 8;
/// After so long one that was not asked for makes room for another.
pub const LONG_BODY_MS_MAX: u64 = 100;
/// Bytes of the settings that one request changes. A longer one is refused.
pub const SETTINGS_BYTES_MAX: usize = 256 * 1024;
/// Memory for joined frames, over all connections. At the bound a connection waits, unread, for its buffer.
pub const JOIN_POOL_BYTES_MAX: usize = 128 * 1024 * 1024;
/// A joined frame that gains no byte for this long gives its buffer back: its connection is closed.
pub const JOIN_STALL_MS_MAX: u64 = 30_000;

/// Encoded bytes waiting for one connection's send ring above which that connection is not read any more.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// Below this it is read again.
pub const OUTBOX_BYTES_LOW: usize = 64 * 1024;
/// What the topics take of a registration with name servers, which is one frame; without it no client finds this broker any more. At the
/// bound no topic is made: some 80,000 with names of 20 characters, 40,000 with the longest.
pub const TOPICS_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;
/// Names of topics in one run, of deleted ones too: each keeps its place, which takes some 300 bytes. At the bound no new name is taken.
pub const TOPIC_NAMES_MAX: usize = 524_288;
/// Queues of a topic: more than anybody needs, and few enough to list.
pub const QUEUES_PER_TOPIC_MAX: i32 = 65_535;
/// Queues that those topics have or have had. One that is read or written takes some 200 bytes and a file. At the bound topics get no more.
pub const QUEUES_MAX: usize = 1_048_576;
/// Queues that the disk thread has still to look at for whoever wants emptied ones gone; at the bound such a request is refused. One that is
/// not brings all queues there are.
pub const EMPTIED_WAITING_MAX: usize = 65_536;
/// Memory for subscription groups: 200,000 and more. At the bound no group is made.
pub const GROUPS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Rows of committed offsets, one for each topic that a group has read: some 500 bytes and the offsets, which take 48 each. At the bound a
/// commit that needs a new one is refused; the others go on.
pub const OFFSET_ROWS_MAX: usize = 524_288;
pub const OFFSETS_MAX: usize = 4_194_304;
/// Offsets of one row: no topic has more queues.
pub const OFFSETS_PER_ROW_MAX: usize = 65_536;
/// Members of one consumer or producer group, and of all of each kind together: some 200 bytes each, and a producer group's name. At the
/// bound a heartbeat that would bring one more is refused; those who are in stay.
pub const MEMBERS_PER_GROUP_MAX: usize = 65_536;
pub const MEMBERS_MAX: usize = 1_048_576;
/// A longer heartbeat is not kept, to be known again by its bytes, and read anew each time.
pub const BEAT_BYTES_MAX: usize = 32 * 1024;
/// Memory for heartbeats that are known by their bytes. At the bound those of others are read anew each time.
pub const BEATS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Changes of topics and groups on their way to the files. At the bound heartbeats that say something new and administrators wait unread.
pub const PERSIST_OPS_MAX: usize = 65_536;
/// So many of them the shard holds without growing; committed offsets wait in their table for room among these.
pub const PERSIST_OPS_ROOM: usize = 1024;
/// Capacity of the lane on which they leave.
pub const PERSIST_LANE_MAX: usize = 4096;
/// Consumer groups one connection may be in. A heartbeat that would bring it into more is refused: each new group is a topic, too.
pub const CONSUMER_GROUPS_PER_CONN_MAX: usize = 4_096;
/// Items that one turn takes of a list that a client has sent: groups and subscriptions of a heartbeat, topics, queues to lock. Each may be
/// an entry in two files. The rest of a longer one follows in the next turns, then its answer.
pub const LONG_WORK_PER_TURN_MAX: usize = 128;
/// Groups that those who have gone leave in one turn; they leave the others in the next.
pub const LEAVES_PER_TURN_MAX: usize = 256;
/// Connections that have gone and are still in groups. At the bound heartbeats that say something new wait unread, so that nobody joins
/// faster than others leave.
pub const LEAVING_MAX: usize = 4_096;
/// Members of groups that one turn looks at for those that are silent, every ten seconds; the others follow in the next.
pub const SCANNED_PER_TURN_MAX: usize = 128;
/// Rows that one turn copies out of a table that is asked for as a whole, or takes out of one; the others follow in the next.
pub const ROWS_PER_TURN_MAX: usize = 512;
/// Members told in one turn that their group has changed; the others follow in the next.
pub const NOTICES_PER_TURN_MAX: u32 = 256;
/// Memory for what all groups subscribe. At the bound a heartbeat that subscribes more than its groups have is refused; all others go on.
pub const SUBSCRIPTIONS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Order locks of one group, and of all together. With that many a queue is locked when its lock is free or expired, no other.
pub const LOCKS_PER_GROUP_MAX: usize = 16_384;
pub const LOCKS_MAX: usize = 131_072;
/// Bytes of a group's, topic's or broker's name that is kept because a client says so; official clients refuse longer ones themselves.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a client's id: addresses and names of an instance, a unit and a stream.
pub const CLIENT_ID_BYTES_MAX: usize = 1_024;
/// Producer groups one connection may be in; the ones after that are not known.
pub const PRODUCER_GROUPS_PER_CONN_MAX: usize = 65_536;
/// Encoded bytes a client may leave untaken before it is sent no more requests of ours, which others cause: it is told nothing,
/// and who asked is told that it cannot be reached.
pub const REQUESTS_UNTAKEN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Our calls to clients under way, answered ones included until their deadline: far more than clients answer in that time. At the bound no call is
/// made, and who asked is told so.
pub const CALLS_MAX: usize = 1 << 20;
/// How long a client may take for its answer.
pub const CALL_MS_MAX: u64 = 10_000;
/// Questions for a topic's route under way; more are refused, and the client rebalances by itself.
pub const ROUTE_LANE_MAX: usize = 256;
/// Room an outbox starts with when its connection first answers.
pub const OUTBOX_CHUNK_BYTES: usize = 16 * 1024;
/// A drained outbox larger than this gives its memory back.
pub const OUTBOX_CHUNK_BYTES_KEPT_MAX: usize = 64 * 1024;
/// Idle chunks kept for the next connection that answers.
pub const OUTBOX_CHUNKS_KEPT_MAX: usize = 256;

/// What a line may hold without being counted as much: it goes to its send ring before those with more.
pub const LITTLE_LINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes that the lines with much move to their send rings in one turn; the rest follows in the next.
pub const DRAIN_BYTES_MAX: usize = 256 * 1024;
/// The same while somebody asks for little, who waits for a turn to end: copying and sending this takes a few microseconds. So much
/// is moved for each of those who asked in this very turn, and once where none did: about as long as serving two or three sends.
pub const DRAIN_BYTES_SHORT: usize = 6 * 1024;
/// Somebody asks for little when an answer has a body no longer than this,
pub const LITTLE_BODY_BYTES_MAX: usize = 1024;
/// and does so for as many turns with much to move from then on: longer than one who sends again at once takes, on this host or next to it.
pub const SHORT_DRAINS: u32 = 16;

/// Bytes of a remark of ours. Of a longer one, which repeats what a client has said, the beginning and the end are sent.
pub const REMARK_BYTES_MAX: usize = 4_096;

/// The first message of a new topic waits this long for name servers to hear of the topic, then goes on without them.
pub const ANNOUNCE_MS_MAX: u64 = 1_000;

/// Records in one pull answer, whatever the client asks for (`maxTransferCountOnMessageInMemory` is 32).
pub const PULL_RECORDS_MAX: usize = 32;
/// Smallest scan of one pull over queue units (`maxFilterMessageSize` 16000 bytes of 20-byte units).
pub const PULL_UNITS_MIN: usize = 800;

/// Held pulls over all queues. At the bound a pull that would wait is answered as if it could not suspend.
pub const HOLDS_MAX: usize = 65_536;
/// Those of one connection: a message looks at all that wait for its queue.
pub const HOLDS_PER_CONN_MAX: usize = 8_192;
/// A held pull whose subscription and names are longer is a long one; what it took is given back.
pub const HOLD_BYTES_KEPT_MAX: usize = 1024;
/// Memory for the long ones. At the bound they do not wait; the others do.
pub const HOLDS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a filter expression and its type, and tags of a subscription. A longer one is refused as one that cannot be parsed.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
pub const TAGS_MAX: usize = 16_384;
/// Held pulls answered in one turn; the rest follow in the next.
pub const HOLDS_PER_TURN_MAX: u32 = 256;
/// Replies released from the flush gate in one turn.
pub const GATE_PER_TURN_MAX: u32 = 1024;

/// Delayed messages delivered in one turn, over all levels; the rest follow in the next.
pub const DELIVERIES_PER_TURN_MAX: u32 = 64;
/// Half and op messages looked at in one turn.
pub const HALVES_PER_TURN_MAX: u32 = 64;
/// Decisions kept for half messages whose copy has not been met; older ones are forgotten, and then asked for again.
pub const EARLY_MAX: usize = 65_536;
/// Send-backs and ended transactions finished in one turn after their message came from the cold thread.
pub const STALLED_PER_TURN_MAX: u32 = 16;
/// Records, and bytes of them, that a desk reads ahead from below the hot log.
pub const OLD_RECORDS_READ_MAX: u32 = 32;
pub const OLD_RECORDS_READ_BYTES_MAX: u32 = 256 * 1024;

/// Queues that one turn looks at for who asks how far topics and groups have come; the others follow in the next turns.
pub const QUEUES_COUNTED_PER_TURN_MAX: u32 = 512;
/// Such questions at a time; at the bound the next one waits unread.
pub const COUNTS_MAX: usize = 16;

/// Errands that may be under way with the cold thread; at the bound requests that would make one wait unread.
pub const ERRANDS_MAX: usize = 4096;
/// Bytes of names and values that a request leaves with its errand: with more it is refused. All errands together keep 256 MiB so.
pub const ERRAND_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of answers that the cold thread has made and the shard has not taken: at the bound it makes no other.
pub const ANSWERS_UNTAKEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that may come from there for one connection: at the bound it is not read until one of them has come. 128 pulls, two tables.
pub const ANSWERS_AWAITED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of such answers, and of others that are long, which peers have asked for and not taken: above it those that hold most are ended,
pub const ANSWERS_HELD_BYTES_MAX: usize = 512 * 1024 * 1024;
/// until they are no more than this.
pub const ANSWERS_HELD_BYTES_LOW: usize = ANSWERS_HELD_BYTES_MAX / 8 * 7;
/// One connection awaits no more than this part of what is left of them, but one answer always.
pub const ANSWERS_HELD_SHARE: usize = 8;
/// Capacity of the lanes to and from the cold thread.
pub const COLD_LANE_MAX: usize = 1024;
/// Cold answers taken in one turn.
pub const COLD_REPLIES_PER_TURN_MAX: u32 = 64;
/// Once those of a turn have so many bytes the rest waits for the next one: they are copied out of memory that no cache holds, and
/// who sends or tails must not wait for all of it.
pub const COLD_BYTES_PER_TURN_MIN: usize = 16 * 1024;

/// A connection with no traffic in or out for this long is closed (`serverChannelMaxIdleTimeSeconds`).
pub const IDLE_MS_MAX: u64 = 120_000;
/// Connections looked at for idleness in one sweep step (one step a millisecond).
pub const IDLE_SWEEP_STEP: usize = 64;

const _: () = assert!(REQUESTS_PER_VISIT_MAX <= REQUESTS_PER_TURN_MAX);
const _: () = assert!(JOIN_BYTES_MIN <= RECEIVE_RING_BYTES_MIN / 2);
const _: () = assert!(FRAME_BYTES_MAX * 2 <= JOIN_POOL_BYTES_MAX);
const _: () =
    assert!(EXPRESSION_BYTES_MAX * 6 * 2 < HEADER_BYTES_MAX && JSON_SHORT_BYTES_MAX < JSON_BYTES_MAX);
const _: () = assert!(
    BEAT_BYTES_MAX <= BEATS_BYTES_MAX
        && PERSIST_OPS_ROOM <= PERSIST_LANE_MAX
        && PERSIST_LANE_MAX <= PERSIST_OPS_MAX
);
const _: () = assert!(OUTBOX_BYTES_LOW < OUTBOX_BYTES_MAX);
const _: () = assert!(
    ANSWERS_AWAITED_BYTES_MAX <= ANSWERS_HELD_BYTES_MAX / ANSWERS_HELD_SHARE
        && ANSWERS_UNTAKEN_BYTES_MAX < ANSWERS_HELD_BYTES_LOW
);
const _: () = assert!(OUTBOX_CHUNK_BYTES <= OUTBOX_CHUNK_BYTES_KEPT_MAX);
const _: () = assert!(OUTBOX_CHUNK_BYTES_KEPT_MAX <= OUTBOX_BYTES_MAX);
const _: () = assert!(OFFSET_ROWS_MAX <= OFFSETS_MAX && QUEUES_MAX <= OFFSETS_MAX);
const _: () = assert!(LOCKS_PER_GROUP_MAX < LOCKS_MAX && LOCKS_MAX.is_multiple_of(LOCKS_PER_GROUP_MAX));
const _: () = assert!(HOLDS_PER_CONN_MAX <= HOLDS_MAX && EXPRESSION_BYTES_MAX * 4 <= HOLDS_BYTES_MAX);
const _: () = assert!(MEMBERS_MAX / SCANNED_PER_TURN_MAX < 10_000);
const _: () = assert!(COLD_LANE_MAX <= ERRANDS_MAX);
