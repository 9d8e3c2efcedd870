//! Namespaced key-value settings, kept across restarts (codes 100, 101, 102, 219).
//!
//! ```text
//! namespace --> key --> value        ORDER_TOPIC_CONFIG --> T_order --> "broker-a:4;broker-b:4"
//! ```
//!
//! A namespace stays, empty, when its last key is deleted; asking for it then answers an empty table instead of
//! "no config item".
//!
//! What is put is bounded: a namespace is told in one answer, ORDER_TOPIC_CONFIG to every broker that registers, and an answer
//! larger than a frame would part them all from this server.

use std::collections::BTreeMap;

/// The namespace whose entries say how the queues of ordered topics lie on the brokers.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// The keys of one namespace.
pub type Table = BTreeMap<String, String>;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KvTable {
    namespaces: BTreeMap<String, Table>,
    /// Of all names, keys and values, with what writing them out adds.
    bytes: usize,
}

/// There is no room for a key.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl KvTable {
    pub fn new(namespaces: BTreeMap<String, Table>) -> Self {
        let keys = namespaces.values().flatten();
        let bytes = namespaces.keys().map(|name| size(name, "")).sum::<usize>()
            + keys.map(|(key, value)| size(key, value)).sum::<usize>();
        Self { namespaces, bytes }
    }

    /// A key without a value is a key that is not there; its namespace is.
    pub fn put(&mut self, namespace: String, key: String, value: Option<String>) -> Result<(), Full> {
        let before = self.get(&namespace, &key).map_or(0, |value| size(&key, value));
        let name = if self.namespaces.contains_key(&namespace) { 0 } else { size(&namespace, "") };
        let after = value.as_deref().map_or(0, |value| size(&key, value));
        let bytes = self.bytes - before + name + after;
        if bytes > KV_BYTES_MAX && bytes > self.bytes {
            return Err(Full);
        }
        self.bytes = bytes;
        let table = self.namespaces.entry(namespace).or_default();
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
        Ok(())
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// Returns whether there was such a key.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let Some(value) = self.namespaces.get_mut(namespace).and_then(|table| table.remove(key)) else {
            return false;
        };
        self.bytes -= size(key, &value);
        true
    }

    pub fn namespace(&self, namespace: &str) -> Option<&Table> {
        self.namespaces.get(namespace)
    }

    pub fn namespaces(&self) -> &BTreeMap<String, Table> {
        &self.namespaces
    }
}

/// Written as JSON a byte takes six at most (an escaped control character), and a key some marks around it.
fn size(key: &str, value: &str) -> usize {
    let escaped = |text: &str| {
        text.bytes()
            .map(|byte| {
                if byte < 0x20 {
                    6
                } else if matches!(byte, b'"' | b'\\') {
                    2
                } else {
                    1
                }
            })
            .sum::<usize>()
    };
    escaped(key) + escaped(value) + MARKS_BYTES
}

/// Half of what a frame holds; the official console makes a few hundred keys.
pub const KV_BYTES_MAX: usize = 8 << 20;
/// Quotes, colon and comma, and the memory of an entry.
const MARKS_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_put_replaced_and_deleted() {
        let mut kv = KvTable::default();
        kv.put("N".into(), "k".into(), Some("1".into())).unwrap();
        kv.put("N".into(), "k".into(), Some("2".into())).unwrap();
        assert_eq!(kv.get("N", "k"), Some("2"));
        assert_eq!(kv.get("M", "k"), None);
        assert!(kv.delete("N", "k"));
        assert!(!kv.delete("N", "k"));
        assert!(!kv.delete("M", "k"));
        assert_eq!(kv.get("N", "k"), None);
    }

    /// Goal: keys, values and names of namespaces are counted, and what leaves makes room.
    #[test]
    fn what_is_put_is_bounded() {
        let mut kv = KvTable::default();
        let long = |len: usize| Some("v".repeat(len));
        kv.put("N".into(), "k".into(), long(KV_BYTES_MAX - 1000)).unwrap();
        assert_eq!(kv.put("N".into(), "j".into(), long(1000)), Err(Full));
        assert_eq!(kv.put("M".repeat(1000), "j".into(), None), Err(Full));
        assert_eq!(kv.put("N".into(), "k".into(), long(KV_BYTES_MAX)), Err(Full));
        assert_eq!((kv.get("N", "j"), kv.get("N", "k").map(str::len)), (None, Some(KV_BYTES_MAX - 1000)));
        kv.put("N".into(), "k".into(), long(10)).unwrap();
        kv.put("N".into(), "j".into(), long(1000)).unwrap();
        assert!(kv.delete("N", "j") && kv.delete("N", "k"));
        assert_eq!(kv.put("N".into(), "\u{1}".repeat(KV_BYTES_MAX / 4), None), Ok(()));
        assert_eq!(kv.put("N".into(), "\u{1}".repeat(KV_BYTES_MAX / 4), Some("v".into())), Err(Full));
        // Larger from of old: it shrinks, and does not grow.
        let table = Table::from([("k".to_owned(), "v".repeat(KV_BYTES_MAX * 2))]);
        let mut kv = KvTable::new([("N".to_owned(), table)].into());
        assert_eq!(kv.put("N".into(), "j".into(), Some("v".into())), Err(Full));
        kv.put("N".into(), "k".into(), long(KV_BYTES_MAX + 1)).unwrap();
    }

    #[test]
    fn an_emptied_namespace_stays() {
        let mut kv = KvTable::default();
        assert_eq!(kv.namespace("N"), None);
        kv.put("N".into(), "k".into(), Some("1".into())).unwrap();
        kv.delete("N", "k");
        assert_eq!(kv.namespace("N"), Some(&Table::new()));
    }
}
