//! What a shard counts: plain numbers, owned by its thread, copied out for whoever asks.

/// Who is told counts by name.
pub type Tell<'a> = dyn FnMut(&'static str, u64) + 'a;

/// Gives a struct of counts `each`, which tells every one by name. A count that is not listed does not compile.
macro_rules! count_fields {
    ($name:ident: $($field:ident),+ $(; and $group:ident)* $(,)?) => {
        impl $name {
            pub fn each(&self, tell: &mut $crate::counters::Tell<'_>) {
                let Self { $($field,)+ $($group,)* } = *self;
                $( tell(stringify!($field), $field); )+
                $( $group.each(tell); )*
            }
        }
    };
}
pub(crate) use count_fields;

/// Counts of the broker's desks since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    pub refusals: u64,
    /// Send requests, and the messages and record bytes they stored.
    pub sends: u64,
    pub put_messages: u64,
    pub put_bytes: u64,
    pub put_failures: u64,
    /// Pull requests; held and cold ones count once more when they are answered.
    pub pulls: u64,
    pub pulls_found: u64,
    pub pulls_missed: u64,
    pub got_messages: u64,
    pub got_bytes: u64,
    /// Pulls that had to wait, and pulls that the cold thread read.
    pub holds: u64,
    pub cold_pulls: u64,
    /// Requests that had to be offered again for want of room.
    pub waits: u64,
    /// Replies that waited for the disk, and those that waited in vain.
    pub gated: u64,
    pub flush_timeouts: u64,
}

count_fields!(Counters: requests, refusals, sends, put_messages, put_bytes, put_failures, pulls, pulls_found,
    pulls_missed, got_messages, got_bytes, holds, cold_pulls, waits, gated, flush_timeouts);
