//! The `attributes` of a topic: `+message.type=FIFO,-cleanup.policy`.
//!
//! Pure. Only attributes that this broker can honour are taken; what another value would promise is not there.

use std::collections::BTreeMap;

/// Applies a change to the attributes a topic has; `created`: it has none yet, so nothing can be taken away.
pub fn change(
    current: &BTreeMap<String, String>,
    text: &str,
    created: bool,
) -> Result<BTreeMap<String, String>, String> {
    let mut changed = current.clone();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some(pair) = part.strip_prefix('+') {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("add/alter attribute format is wrong: {pair}"));
            };
            check(key, value)?;
            changed.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = part.strip_prefix('-') {
            if created {
                return Err(format!("only add attribute is supported while creating topic. key: {key}"));
            }
            if changed.remove(key).is_none() {
                return Err(format!("attempt to delete a nonexistent key: {key}"));
            }
        } else {
            return Err(format!("attribute must begin with + or -: {part}"));
        }
    }
    Ok(changed)
}

fn check(key: &str, value: &str) -> Result<(), String> {
    let (_, values) =
        KNOWN.iter().find(|(name, _)| *name == key).ok_or_else(|| format!("unsupported key: {key}"))?;
    if values.contains(&value) {
        return Ok(());
    }
    Err(format!("value is not in set: {}={value}, this broker takes {}", key, values.join(", ")))
}

/// Attributes with the values that are true here. `message.type` is a label for 5.x clients.
const KNOWN: [(&str, &[&str]); 3] = [
    ("message.type", &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"]),
    ("queue.type", &["SimpleCQ"]),
    ("cleanup.policy", &["DELETE"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_added_altered_and_removed() {
        let none = BTreeMap::new();
        assert_eq!(change(&none, "", true), Ok(none.clone()));
        let fifo = change(&none, "+message.type=FIFO,+queue.type=SimpleCQ", true).unwrap();
        assert_eq!(fifo.len(), 2);
        let normal = change(&fifo, "+message.type=NORMAL,-queue.type", false).unwrap();
        assert_eq!(normal, [("message.type".to_owned(), "NORMAL".to_owned())].into());
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let none = BTreeMap::new();
        for text in [
            "+cleanup.policy=COMPACTION",
            "+queue.type=BatchCQ",
            "+x=y",
            "message.type=FIFO",
            "+message.type",
        ] {
            assert!(change(&none, text, true).is_err(), "{text}");
        }
        assert!(change(&none, "-message.type", true).unwrap_err().starts_with("only add"));
        assert!(change(&none, "-message.type", false).unwrap_err().starts_with("attempt to delete"));
    }
}
