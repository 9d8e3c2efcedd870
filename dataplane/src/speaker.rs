//! Whose a line of the log is: with several shards in one process, each begins with its broker's name.
//!
//! ```text
//! [2026-03-01T12:00:00Z WARN  dataplane::cold::namesrv::link] broker-a-1: name server 10.0.0.5:9876 closed the connection; ..
//! ```
//!
//! A thread speaks for whom the thread that started it did. Nothing but a line that is written looks at it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// A broker's name. None: there is one only, or the line is about all.
pub type Speaker = Option<Arc<str>>;

thread_local! {
    static SPEAKER: RefCell<Speaker> = const { RefCell::new(None) };
}

/// What this thread, and the threads it starts, log in `body` is of this broker.
pub fn speak_for<T>(speaker: Speaker, body: impl FnOnce() -> T) -> T {
    let before = SPEAKER.replace(speaker);
    let done = body();
    SPEAKER.set(before);
    done
}

/// A thread that speaks for whom this one does.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let speaker = SPEAKER.with_borrow(Clone::clone);
    Builder::new().name(name.into()).spawn(move || speak_for(speaker, body))
}

/// To standard error. `level`: what is told when RUST_LOG does not say.
pub fn start_logging(level: &str) {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(|out, record| {
            let (time, level, from) = (out.timestamp(), record.level(), record.target());
            let style = out.default_level_style(level);
            write!(out, "[{time} {style}{level:<5}{style:#} {from}] ")?;
            SPEAKER.with_borrow(|speaker| match speaker {
                Some(name) => writeln!(out, "{name}: {}", record.args()),
                None => writeln!(out, "{}", record.args()),
            })
        })
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker() -> Speaker {
        SPEAKER.with_borrow(Clone::clone)
    }

    /// Goal: threads speak for whom their maker did then, and nobody else does. Method: a thread that starts another.
    #[test]
    fn threads_inherit_their_speaker() {
        let inner = speak_for(Some("b-1".into()), || {
            assert_eq!(speaker().as_deref(), Some("b-1"));
            spawn("outer", || spawn("inner", speaker).unwrap().join().unwrap()).unwrap()
        });
        assert_eq!(speaker(), None);
        assert_eq!(inner.join().unwrap().as_deref(), Some("b-1"));
        assert_eq!(spawn("other", speaker).unwrap().join().unwrap(), None);
    }
}
