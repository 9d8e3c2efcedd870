//! What a group wants of a topic: tags, or an expression over properties.

use super::validate;
use crate::error::Invalid;
use protocol::body::{EXPRESSION_SQL92, EXPRESSION_TAG, SubscriptionData};
use std::collections::BTreeSet;

/// What a group wants of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub topic: String,
    /// "TAG" or "SQL92".
    pub kind: &'static str,
    pub expression: String,
    pub tags: BTreeSet<String>,
    /// The client's clock when it last changed, or its share of the queues did.
    pub version: i64,
}

impl Subscription {
    /// `*`, nothing, or tags joined by `||`.
    pub fn tags(topic: &str, expression: &str) -> Result<Subscription, Invalid> {
        validate::topic(topic)?;
        let mut subscription = Subscription {
            topic: topic.to_owned(),
            kind: EXPRESSION_TAG,
            expression: ALL.to_owned(),
            tags: BTreeSet::new(),
            version: 0,
        };
        if expression.trim().is_empty() || expression.trim() == ALL {
            return Ok(subscription);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        subscription.tags = tags.map(str::to_owned).collect();
        if subscription.tags.is_empty() {
            return Err(Invalid::Subscription { topic: topic.to_owned(), expression: expression.to_owned() });
        }
        subscription.expression = expression.to_owned();
        Ok(subscription)
    }

    /// An expression over properties; the broker must have enablePropertyFilter set.
    pub fn sql(topic: &str, expression: &str) -> Result<Subscription, Invalid> {
        validate::topic(topic)?;
        if expression.trim().is_empty() {
            return Err(Invalid::Subscription { topic: topic.to_owned(), expression: expression.to_owned() });
        }
        let (topic, expression) = (topic.to_owned(), expression.to_owned());
        Ok(Subscription { topic, kind: EXPRESSION_SQL92, expression, tags: BTreeSet::new(), version: 0 })
    }

    /// Whether a message the broker let through is wanted: two tags may share a hash.
    pub fn is_sql(&self) -> bool {
        self.kind == EXPRESSION_SQL92
    }

    pub(crate) fn wants(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|tag| self.tags.contains(tag))
    }

    pub(crate) fn data(&self) -> SubscriptionData {
        SubscriptionData {
            topic: self.topic.clone(),
            sub_string: self.expression.clone(),
            tags_set: self.tags.clone(),
            code_set: self.tags.iter().map(|tag| protocol::hash::java_hash(tag)).collect(),
            sub_version: self.version,
            expression_type: self.kind.to_owned(),
            ..SubscriptionData::default()
        }
    }
}

/// Every message.
pub(super) const ALL: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the forms of a tag expression.
    #[test]
    fn tag_expressions_are_read() {
        let tags = |expression| {
            Subscription::tags("T", expression)
                .map(|read| (read.expression, read.tags.into_iter().collect::<Vec<_>>()))
        };
        assert_eq!(tags("*"), Ok(("*".to_owned(), vec![])));
        assert_eq!(tags(" "), Ok(("*".to_owned(), vec![])));
        assert_eq!(tags("a || b||c"), Ok(("a || b||c".to_owned(), vec!["a".into(), "b".into(), "c".into()])));
        assert!(tags("||").is_err());
        assert!(Subscription::sql("T", " ").is_err());
        let data = Subscription::tags("T", "TagA").unwrap().data();
        assert_eq!(data.code_set, BTreeSet::from([2_598_919]));
    }

    /// Goal: a message with a tag of the same hash is not wanted.
    #[test]
    fn the_tag_itself_is_compared() {
        let some = Subscription::tags("T", "AaAa || x").unwrap();
        assert!(some.wants(Some("AaAa")) && !some.wants(Some("BBBB")) && !some.wants(None));
        let all = Subscription::tags("T", "*").unwrap();
        assert!(all.wants(Some("any")) && all.wants(None));
    }
}
