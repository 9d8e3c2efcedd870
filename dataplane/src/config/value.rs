//! The types of settings: each reads its own text, and says what it wants when it cannot.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::limits::SHARDS_MAX;

/// A value as it stands in a file. `parse` answers a sentence that says the fix.
pub trait Setting: Sized {
    fn parse(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() != text || text.is_empty() {
            return Err("write a name without blanks before or after it".into());
        }
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if !path.is_absolute() {
            return Err("write an absolute path, as in /var/lib/afterburner".into());
        }
        Ok(path)
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for bool {
    /// Java reads every text but "true" as false; a `yes` that means no helps nobody.
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("write true or false".into()),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! numbers {
    ($($type:ty),+) => { $(
        impl Setting for $type {
            fn parse(text: &str) -> Result<Self, String> {
                let range = format!("write a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                text.trim().parse().map_err(|_| range)
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}
numbers!(u16, u32, u64, i64);

impl Setting for Ipv4Addr {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "write an IPv4 address, as in 10.77.0.2".into())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for IpAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "write an IP address, as in 10.77.0.2".into())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// Empty text is "not given".
impl<T: Setting> Setting for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, Setting::show)
    }
}

/// One enum by its official names.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl Setting for $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("write one of {}", [$($word),+].join(", "))),
                }
            }
            fn show(&self) -> String {
                self.name().to_owned()
            }
        }
    };
}
words!(BrokerRole { AsyncMaster = "ASYNC_MASTER", SyncMaster = "SYNC_MASTER", Slave = "SLAVE" });
words!(FlushDiskType { AsyncFlush = "ASYNC_FLUSH", SyncFlush = "SYNC_FLUSH" });

/// Permission bits: 1 inherit, 2 write, 4 read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission(pub i32);

impl Permission {
    pub fn can_read(self) -> bool {
        self.0 & 4 != 0
    }
    pub fn can_write(self) -> bool {
        self.0 & 2 != 0
    }
}

impl Setting for Permission {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse() {
            Ok(bits @ 0..8) => Ok(Self(bits)),
            _ => Err("write 6 (read and write), 4 (read) or 2 (write)".into()),
        }
    }
    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A number of bytes that may be written 512M or 4G.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Setting for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (digits, shift) = match text.char_indices().last() {
            Some((end, 'k' | 'K')) => (&text[..end], 10),
            Some((end, 'm' | 'M')) => (&text[..end], 20),
            Some((end, 'g' | 'G')) => (&text[..end], 30),
            _ => (text, 0),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        bytes.map(Self).ok_or_else(|| "write a number of bytes, as in 536870912, 512M or 4G".into())
    }
    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Hours of the day, separated by `;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(pub Vec<u8>);

impl Setting for Hours {
    fn parse(text: &str) -> Result<Self, String> {
        let hours = text.split(';').map(str::trim).filter(|hour| !hour.is_empty());
        let hours: Vec<u8> = hours
            .map(|hour| hour.parse().ok().filter(|hour| *hour < 24))
            .collect::<Option<_>>()
            .ok_or("write hours from 00 to 23, separated by `;`")?;
        Ok(Self(hours))
    }
    fn show(&self) -> String {
        let hours: Vec<_> = self.0.iter().map(|hour| format!("{hour:02}")).collect();
        hours.join(";")
    }
}

/// A share of a whole, up to a half, by the millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    millionths: u32,
}

impl Share {
    pub const NONE: Self = Self { millionths: 0 };

    pub fn as_f64(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }
}

impl Setting for Share {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(share) if (0.0..=0.5).contains(&share) => {
                Ok(Self { millionths: (share * 1e6).round() as u32 })
            }
            _ => Err("write a share from 0 to 0.5, as in 0.001".into()),
        }
    }
    fn show(&self) -> String {
        self.as_f64().to_string()
    }
}

/// Delays of the levels, in ms; level 1 is the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    text: String,
    delays_ms: Vec<i64>,
}

impl DelayLevels {
    pub fn delays_ms(&self) -> &[i64] {
        &self.delays_ms
    }
}

impl Default for DelayLevels {
    fn default() -> Self {
        Self::parse("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h").expect("the official text")
    }
}

impl Setting for DelayLevels {
    fn parse(text: &str) -> Result<Self, String> {
        let delay_ms = |word: &str| {
            let (end, unit) = word.char_indices().last()?;
            let unit_ms = match unit {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            word[..end].parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(unit_ms))
        };
        let delays_ms: Option<Vec<i64>> = text.split_whitespace().map(delay_ms).collect();
        match delays_ms {
            Some(delays_ms) if !delays_ms.is_empty() => Ok(Self { text: text.to_owned(), delays_ms }),
            _ => {
                Err("write delays separated by blanks, each a number and s, m, h or d, as in 1s 5s 1m 2h"
                    .into())
            }
        }
    }
    fn show(&self) -> String {
        self.text.clone()
    }
}

/// Which cores poll: each runs a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cores {
    Auto,
    None,
    /// In the order written; the first runs shard 0.
    List(Vec<usize>),
}

impl Cores {
    /// How many shards there are.
    pub fn shards(&self) -> usize {
        match self {
            Self::Auto | Self::None => 1,
            Self::List(cores) => cores.len(),
        }
    }
}

impl Setting for Cores {
    fn parse(text: &str) -> Result<Self, String> {
        let mut cores = Vec::new();
        match text.trim() {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            list => {
                for word in list.split(',') {
                    let core = word.trim().parse::<usize>().map_err(|_| {
                        "write the numbers of cores, auto or none, as in cores=1 or cores=2,3".to_owned()
                    })?;
                    if cores.contains(&core) {
                        return Err(format!(
                            "core {core} stands twice, and a core runs one shard: write each core once"
                        ));
                    }
                    cores.push(core);
                }
            }
        }
        if cores.len() > SHARDS_MAX {
            return Err(format!("write {SHARDS_MAX} cores at most"));
        }
        Ok(Self::List(cores))
    }
    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::None => "none".into(),
            Self::List(cores) => cores.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn same<T: Setting + PartialEq + std::fmt::Debug>(texts: &[&str]) {
        for text in texts {
            let value = T::parse(text).unwrap();
            assert_eq!(T::parse(&value.show()).unwrap(), value, "{text}");
        }
    }

    pub fn refused<T: Setting>(texts: &[&str], fix: &str) {
        for text in texts {
            let error = T::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(error.contains(fix), "{text}: {error}");
        }
    }

    /// Goal: what is shown is read back as the same value. Method: one of each form of each type.
    #[test]
    fn what_is_shown_is_read_back() {
        same::<Cores>(&["auto", "none", "3", "2,3", " 5, 1 "]);
        same::<Bytes>(&["0", "512M", "4g", "7k", "123"]);
        same::<DelayLevels>(&["1s 5s", "1s 5m 2h 1d"]);
        same::<Permission>(&["6", "4"]);
        same::<bool>(&["true", "TRUE", "false "]);
        same::<Option<PathBuf>>(&["", "/a b "]);
    }

    #[test]
    fn bad_values_are_refused_with_the_fix() {
        refused::<Cores>(&["1-3", "x", "", "1,", "1;2"], "cores=2,3");
        refused::<Cores>(&["1,2,1", "3, 3"], "stands twice");
        let many: Vec<String> = (0..=SHARDS_MAX).map(|core| core.to_string()).collect();
        refused::<Cores>(&[&many.join(",")], "64 cores at most");
        refused::<Bytes>(&["", "M", "12T", "-1", "99999999999G"], "512M");
        refused::<DelayLevels>(&["", "1", "s", "1x"], "1s 5s");
        refused::<bool>(&["yes", "1", ""], "true or false");
        refused::<PathBuf>(&["store", ""], "absolute path");
        refused::<String>(&["a ", " a", ""], "without blanks");
        refused::<u16>(&["65536", "-1", "a"], "0 to 65535");
        refused::<Permission>(&["8", "rw"], "6 (read and write)");
    }
}
