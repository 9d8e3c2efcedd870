//! The `attributes` of a topic: `+message.type=FIFO,-cleanup.policy`, or the same as a map (code 18); and those of a group, a map (200, 225).
//!
//! Pure. Checks, their codes and remarks are those of AttributeUtil. Of the official attributes only those that this broker can honour are taken;
//! what another value would promise is not there.

use std::collections::BTreeMap;

use protocol::code::response;

use super::super::Refusal;
use super::invalid;

/// Reads what code 17 says.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut changes = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(wrong(format!("add/alter attribute format is wrong: {key}")));
            }
            Some(pair) => pair,
            None if !part.contains('-') => {
                return Err(wrong(format!("delete attribute format is wrong: {part}")));
            }
            None => (part, ""),
        };
        if changes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(wrong(format!("key duplication: {key}")));
        }
    }
    Ok(changes)
}

/// Applies changes, each a key with its sign and a value, to the attributes a topic has. None: it is being made.
pub fn change_topic(
    current: Option<&BTreeMap<String, String>>,
    changes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    if changes.get("+message.type").is_some_and(|value| value == "MIXED") {
        return Err(invalid("MIXED message type is not supported."));
    }
    change(&OF_TOPICS, current, changes)
}

/// The same with those of a group.
pub fn change_group(
    current: Option<&BTreeMap<String, String>>,
    changes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    change(&OF_GROUPS, current, changes)
}

fn change(
    all: &[Attribute],
    current: Option<&BTreeMap<String, String>>,
    changes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut changed = current.cloned().unwrap_or_default();
    let known = |key: &str| {
        let known = all.iter().find(|known| known.name == key);
        known.ok_or_else(|| wrong(format!("unsupported key: {key}")))
    };
    for (signed, value) in changes {
        let (sign, key) = signed.split_at_checked(1).unwrap_or(("", ""));
        if key.is_empty() || key.contains(['+', '-']) {
            return Err(wrong("kv string format wrong.".to_owned()));
        }
        let Some(current) = current else {
            if sign != "+" {
                let remark = format!("only add attribute is supported while creating topic. key: {key}");
                return Err(wrong(remark));
            }
            known(key)?.check(value)?;
            changed.insert(key.to_owned(), value.clone());
            continue;
        };
        match sign {
            "+" => {
                known(key)?.check_changeable()?.check(value)?;
                // Both signs of one key; `+` comes first.
                if changes.contains_key(&format!("-{key}")) {
                    return Err(wrong(format!("alter duplication key. key: {key}")));
                }
                changed.insert(key.to_owned(), value.clone());
            }
            "-" if !current.contains_key(key) => {
                return Err(wrong(format!("attempt to delete a nonexistent key: {key}")));
            }
            "-" => {
                // One that the files held and nobody knows may go, too.
                known(key).map_or(Ok(()), |attribute| attribute.check_changeable().map(|_| ()))?;
                changed.remove(key);
            }
            _ => return Err(wrong(format!("wrong format key: {key}"))),
        }
    }
    Ok(changed)
}

fn wrong(remark: String) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// An attribute with the values that are true here.
#[derive(Debug)]
struct Attribute {
    name: &'static str,
    /// Also once the topic is there.
    changeable: bool,
    values: &'static [&'static str],
}

impl Attribute {
    fn check_changeable(&self) -> Result<&Attribute, Refusal> {
        if self.changeable {
            return Ok(self);
        }
        Err(wrong(format!("attempt to update an unchangeable attribute. key: {}", self.name)))
    }

    fn check(&self, value: &str) -> Result<(), Refusal> {
        if self.values.contains(&value) {
            return Ok(());
        }
        let Attribute { name, values, .. } = self;
        Err(wrong(format!("value is not in set: {name}={value}, this broker takes {}", values.join(", "))))
    }
}

/// `message.type` is a label for 5.x clients.
const OF_TOPICS: [Attribute; 3] = [
    Attribute {
        name: "message.type",
        changeable: true,
        values: &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"],
    },
    Attribute { name: "queue.type", changeable: false, values: &["SimpleCQ"] },
    Attribute { name: "cleanup.policy", changeable: false, values: &["DELETE"] },
];

/// All are for POP, which is not there: what they say by default is true.
const OF_GROUPS: [Attribute; 6] = [
    Attribute { name: "priority.factor", changeable: true, values: &["100"] },
    Attribute { name: "lite.sub.model", changeable: true, values: &["Shared"] },
    Attribute { name: "lite.sub.reset.offset.exclusive", changeable: true, values: &["false"] },
    Attribute { name: "lite.sub.reset.offset.unsubscribe", changeable: true, values: &["false"] },
    Attribute { name: "lite.sub.client.quota", changeable: true, values: &["2000"] },
    Attribute { name: "lite.sub.client.max.event.cnt", changeable: true, values: &["400"] },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(
        current: Option<&BTreeMap<String, String>>,
        text: &str,
    ) -> Result<BTreeMap<String, String>, String> {
        parse(text)
            .and_then(|changes| change_topic(current, &changes))
            .map_err(|refusal| refusal.remark.into_owned())
    }

    #[test]
    fn attributes_are_added_altered_and_removed() {
        assert_eq!(changed(None, ""), Ok(BTreeMap::new()));
        let fifo = changed(None, "+message.type=FIFO,+queue.type=SimpleCQ").unwrap();
        assert_eq!(fifo.len(), 2);
        let normal = changed(Some(&fifo), "+message.type=NORMAL").unwrap();
        assert_eq!((normal.len(), &*normal["message.type"]), (2, "NORMAL"));
        let simple = changed(Some(&normal), "-message.type").unwrap();
        assert_eq!(simple, [("queue.type".to_owned(), "SimpleCQ".to_owned())].into());
    }

    /// Goal: what the official broker refuses is refused in its words, and so is what cannot be kept here. Method: one line for each.
    #[test]
    fn what_cannot_be_kept_is_refused() {
        let none = BTreeMap::new();
        let some = changed(None, "+message.type=FIFO,+queue.type=SimpleCQ").unwrap();
        for (current, text, begin) in [
            (None, "+cleanup.policy=COMPACTION", "value is not in set: cleanup.policy=COMPACTION, "),
            (None, "+queue.type=BatchCQ", "value is not in set: queue.type=BatchCQ, "),
            (None, "+message.type=MIXED", "MIXED message type is not supported."),
            (None, "+reserve.time=1", "unsupported key: reserve.time"),
            (None, "+x=y", "unsupported key: x"),
            (None, "message.type=FIFO", "add/alter attribute format is wrong: message.type"),
            (None, "+message.type", "delete attribute format is wrong: +message.type"),
            (None, "+message.type=FIFO,+message.type=FIFO", "key duplication: +message.type"),
            (None, "+=y", "kv string format wrong."),
            (
                None,
                "-message.type",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (Some(&none), "-message.type", "attempt to delete a nonexistent key: message.type"),
            (Some(&some), "-message.type,+message.type=NORMAL", "alter duplication key. key: message.type"),
            (Some(&some), "-queue.type", "attempt to update an unchangeable attribute. key: queue.type"),
            (
                Some(&none),
                "+queue.type=SimpleCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
        ] {
            let remark = changed(current, text).expect_err(text);
            assert!(remark.starts_with(begin), "{text}: {remark}");
        }
    }
}
