//! Writes the table files in a thread of its own, so that a slow disk never delays a registration.
//!
//! ```text
//! keeper --replace(file, text)--> slot of that file (newest wins) --> this thread: write, fsync, rename
//! ```
//!
//! A file that cannot be written is tried again every second, with the newest text there is by then. Dropping the
//! handle writes what is left, once, and ends the thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use store::MediumError;

use super::keeper::ConfigFiles;
use super::mirror::ConfigFile;
use crate::speaker;

/// The keeper's end: takes a text and returns at once.
pub struct FilesThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FilesThread {
    pub fn start(files: impl ConfigFiles + 'static) -> std::io::Result<FilesThread> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = speaker::spawn("ab-files", move || theirs.write_all(files))?;
        Ok(FilesThread { shared, thread: Some(thread) })
    }
}

impl ConfigFiles for FilesThread {
    /// Never fails: what goes wrong later is logged and tried again by the thread.
    fn replace(&mut self, file: ConfigFile, text: &str) -> Result<(), MediumError> {
        self.shared.lock().texts[file as usize] = Some(text.to_owned());
        self.shared.news.notify_one();
        Ok(())
    }
}

impl Drop for FilesThread {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.news.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that writes the table files has died; the last changes may be missing");
        }
    }
}

#[derive(Default)]
struct Shared {
    slots: Mutex<Slots>,
    news: Condvar,
}

#[derive(Default)]
struct Slots {
    texts: [Option<String>; ConfigFile::ALL.len()],
    ends: bool,
}

impl Shared {
    /// A text is replaced whole, so a panic elsewhere leaves nothing half done here.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut files: impl ConfigFiles) {
        let mut slots = self.lock();
        loop {
            let next = ConfigFile::ALL.into_iter().find(|&file| slots.texts[file as usize].is_some());
            let Some(file) = next else {
                if slots.ends {
                    return;
                }
                slots = self.news.wait(slots).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let text = slots.texts[file as usize].take().expect("the slot was seen full under the same lock");
            let ends = slots.ends;
            drop(slots);
            let written = files.replace(file, &text);
            slots = self.lock();
            if let Err(error) = written {
                let then = if ends { "giving up at the end" } else { "trying again every second" };
                log::error!("cannot write {}: {error}; {then}", file.name());
                if !ends {
                    slots.texts[file as usize].get_or_insert(text);
                    let waited = self.news.wait_timeout(slots, RETRY);
                    slots = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A disk whose writes end when the test says so.
    struct Slow {
        begun: mpsc::Sender<(ConfigFile, String)>,
        goes: mpsc::Receiver<()>,
    }

    impl ConfigFiles for Slow {
        fn replace(&mut self, file: ConfigFile, text: &str) -> Result<(), MediumError> {
            self.begun.send((file, text.to_owned())).expect("the test listens");
            self.goes.recv().expect("the test lets go");
            Ok(())
        }
    }

    /// Goal: a slow disk delays nobody, and the newest text ends up in the file. Method: hand over three texts while
    /// the first write hangs; the second is never written.
    #[test]
    fn the_newest_text_wins_and_nobody_waits() {
        let (begun, seen) = mpsc::channel();
        let (go, goes) = mpsc::channel();
        let mut files = FilesThread::start(Slow { begun, goes }).unwrap();
        files.replace(ConfigFile::Topics, "one").unwrap();
        assert_eq!(seen.recv().unwrap().1, "one");
        files.replace(ConfigFile::Topics, "two").unwrap();
        files.replace(ConfigFile::Topics, "three").unwrap();
        go.send(()).unwrap();
        go.send(()).unwrap();
        drop(files);
        assert_eq!(seen.iter().map(|(_, text)| text).collect::<Vec<_>>(), ["three"]);
    }
}
