//! Namespaced key-value settings, kept across restarts (codes 100, 101, 102, 219).
//!
//! ```text
//! namespace --> key --> value        ORDER_TOPIC_CONFIG --> T_order --> "broker-a:4;broker-b:4"
//! ```
//!
//! A namespace stays, empty, when its last key is deleted; asking for it then answers an empty table instead of
//! "no config item".

use std::collections::BTreeMap;

/// The namespace whose entries say how the queues of ordered topics lie on the brokers.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// The keys of one namespace.
pub type Table = BTreeMap<String, String>;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KvTable {
    namespaces: BTreeMap<String, Table>,
}

impl KvTable {
    pub fn new(namespaces: BTreeMap<String, Table>) -> Self {
        Self { namespaces }
    }

    /// A key without a value is a key that is not there; its namespace is.
    pub fn put(&mut self, namespace: String, key: String, value: Option<String>) {
        let table = self.namespaces.entry(namespace).or_default();
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// Returns whether there was such a key.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        self.namespaces.get_mut(namespace).is_some_and(|table| table.remove(key).is_some())
    }

    pub fn namespace(&self, namespace: &str) -> Option<&Table> {
        self.namespaces.get(namespace)
    }

    pub fn namespaces(&self) -> &BTreeMap<String, Table> {
        &self.namespaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_put_replaced_and_deleted() {
        let mut kv = KvTable::default();
        kv.put("N".into(), "k".into(), Some("1".into()));
        kv.put("N".into(), "k".into(), Some("2".into()));
        assert_eq!(kv.get("N", "k"), Some("2"));
        assert_eq!(kv.get("M", "k"), None);
        assert!(kv.delete("N", "k"));
        assert!(!kv.delete("N", "k"));
        assert!(!kv.delete("M", "k"));
        assert_eq!(kv.get("N", "k"), None);
    }

    #[test]
    fn an_emptied_namespace_stays() {
        let mut kv = KvTable::default();
        assert_eq!(kv.namespace("N"), None);
        kv.put("N".into(), "k".into(), Some("1".into()));
        kv.delete("N", "k");
        assert_eq!(kv.namespace("N"), Some(&Table::new()));
    }
}
