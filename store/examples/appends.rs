//! Appends COUNT messages of BODY bytes to a fresh store and ends, in one thread and always in the same way: for counting instructions
//! (`scripts/instructions`).
//!
//! ```text
//! appends BODY COUNT
//! ```

#[path = "../benches/sent/mod.rs"]
mod sent;

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use protocol::record::RecordDraft;
use store::{RealMedium, StoreConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<usize> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let [body_len, count] = args[..] else { return Err("appends BODY COUNT".into()) };
    let dir = std::env::temp_dir().join(format!("ab-appends-{}", std::process::id()));
    // Room for all of them, so that nothing but appends depends on their number.
    let hot_bytes = 4 * (count * (body_len + 400)).next_power_of_two().max(1 << 20);
    let config =
        StoreConfig { hot_dir: Some(dir.join("hot")), hot_bytes, hot_segments: 4, ..StoreConfig::new(&dir) };
    let (mut store, cold, _) = store::open(config, Arc::new(RealMedium::new()))?;
    let host = "127.0.0.1:10911".parse()?;
    let list = sent::list();
    let queue = store.queue("Bench", 0);
    let body = vec![b'x'; body_len];
    for _ in 0..count {
        let draft =
            RecordDraft { properties: &list, ..RecordDraft::plain(b"Bench", 0, host, black_box(&body)) };
        assert!(store.has_room(draft.encoded_len()));
        black_box(store.append(queue, &draft, 0, 1)?);
    }
    drop((store, cold));
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
