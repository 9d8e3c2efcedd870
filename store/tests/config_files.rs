//! Replacing a configuration file, killed and cut off at every call.
#![allow(clippy::unwrap_used)] // Tests: the helpers too.

use std::path::Path;

use store::config_files::{Loaded, load, replace};
use store::sim_medium::SimMedium;
use store::{Medium, MediumError};

fn read(medium: &SimMedium) -> Option<u64> {
    look(medium).value()
}

fn look(medium: &SimMedium) -> Loaded<u64> {
    load(medium, Path::new(PATH), |bytes| str::from_utf8(bytes).ok()?.parse().ok()).unwrap()
}

fn write(medium: &SimMedium, value: u64) -> Result<(), MediumError> {
    replace(medium, Path::new(PATH), value.to_string().as_bytes())
}

/// D-8. Goal: a kill or power cut at any moment leaves the old content or the new. Method: at every call of a replacement, of
/// the first one and of a later one, many seeds.
#[test]
fn the_old_or_the_new_content_is_read() {
    for seed in 0..50 {
        for is_power_cut in [false, true] {
            for before in [None, Some(1), Some(2)] {
                for kill_after in 0.. {
                    let medium = SimMedium::new(seed);
                    medium.create_dir(Path::new("/store/config")).unwrap();
                    for value in 1..=before.unwrap_or(0) {
                        write(&medium, value).unwrap();
                    }
                    medium.kill_after(kill_after);
                    let done = write(&medium, 9).is_ok();
                    match is_power_cut {
                        true => medium.power_cut(),
                        false => medium.restart(),
                    }
                    let found = look(&medium);
                    assert_ne!(found, Loaded::Broken, "half of a first file is none, seed {seed}");
                    let found = found.value();
                    assert!(found == before || found == Some(9), "{found:?} of {before:?}, seed {seed}");
                    if done {
                        assert_eq!(found, Some(9));
                        break;
                    }
                    write(&medium, 10).unwrap();
                    assert_eq!(read(&medium), Some(10));
                }
            }
        }
    }
}

/// D-8. Goal: a broken file falls back to its `.bak`, and nothing that could not be read is taken for nothing. Method: empty the newest, then
/// break its `.bak`, and empty that, too.
#[test]
fn a_broken_file_falls_back() {
    let medium = SimMedium::new(1);
    write(&medium, 1).unwrap();
    write(&medium, 2).unwrap();
    assert_eq!(read(&medium), Some(2));
    medium.create(Path::new(PATH), 0).unwrap();
    assert_eq!(read(&medium), Some(1));
    medium.create(Path::new("/store/config/topics.json.bak"), 3).unwrap();
    assert_eq!(look(&medium), Loaded::Broken);
    medium.create(Path::new("/store/config/topics.json.bak"), 0).unwrap();
    assert_eq!(look(&medium), Loaded::Missing);
}

const PATH: &str = "/store/config/topics.json";
