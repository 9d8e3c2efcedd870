//! Which messages of a queue a subscription wants, judged by the tags code of the queue entry alone.
//!
//! A hash collision passes here and is sorted out by the client, which compares the tag's text.

use protocol::body::SubscriptionData;
use protocol::code::response;
use protocol::hash::tags_code;

use super::Refusal;
use crate::limits::{EXPRESSION_BYTES_MAX, TAGS_MAX};

/// The tags of one subscription. Reused from pull to pull, so that building one allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFilter {
    all: bool,
    /// In order.
    codes: Vec<i32>,
}

/// The expression names no tag: `||`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTags;

impl TagFilter {
    pub fn matches(&self, code: i64) -> bool {
        let code = code as i32;
        // Nearly all subscriptions name one tag or two; one that names thousands must not cost a look at each.
        self.all
            || match self.codes.len() {
                0..=FEW_CODES => self.codes.contains(&code),
                _ => self.codes.binary_search(&code).is_ok(),
            }
    }

    /// Everything passes, as for an SQL expression that does not compile.
    pub fn set_all(&mut self) {
        self.all = true;
        self.codes.clear();
    }

    /// Takes the tag hashes a heartbeat brought.
    pub fn set_codes(&mut self, all: bool, codes: impl IntoIterator<Item = i32>) {
        self.all = all;
        self.codes.clear();
        self.codes.extend(codes);
        self.codes.sort_unstable();
    }

    /// Takes an expression: nothing, `*`, or tags joined by `||`.
    pub fn set_expression(&mut self, expression: Option<&str>) -> Result<(), NoTags> {
        self.set_all();
        let Some(expression) = expression.filter(|text| !text.is_empty() && *text != "*") else {
            return Ok(());
        };
        self.all = false;
        if expression.split("||").all(str::is_empty) {
            return Err(NoTags);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        self.codes.extend(tags.map(|tag| tags_code(tag) as i32));
        self.codes.sort_unstable();
        Ok(())
    }

    pub fn copy_from(&mut self, other: &TagFilter) {
        self.all = other.all;
        self.codes.clone_from(&other.codes);
    }

    pub fn wants_all(&self) -> bool {
        self.all
    }

    pub fn codes(&self) -> &[i32] {
        &self.codes
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.codes)
    }

    /// Memory that it keeps.
    pub fn bytes_kept(&self) -> usize {
        self.codes.capacity() * size_of::<i32>()
    }
}

/// A subscription that is kept, by a held pull or a group, has a length.
pub fn check_expression(expression: &str, expression_type: &str) -> Result<(), Refusal> {
    let len = expression.len() + expression_type.len();
    if len > EXPRESSION_BYTES_MAX {
        let remark = format!(
            "the consumer's subscription has {len} bytes, more than the {EXPRESSION_BYTES_MAX} it may have"
        );
        return Err(Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark));
    }
    Ok(())
}

/// The same of one that a client registers or asks about.
pub fn check_subscription(data: &SubscriptionData) -> Result<(), Refusal> {
    check_expression(&data.sub_string, &data.expression_type)?;
    let tags = data.code_set.len().max(data.tags_set.len());
    if tags > TAGS_MAX {
        let remark =
            format!("the consumer's subscription has {tags} tags, more than the {TAGS_MAX} it may have");
        return Err(Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark));
    }
    Ok(())
}

/// Up to so many are looked through faster than searched.
const FEW_CODES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(expression: Option<&str>) -> Result<TagFilter, NoTags> {
        let mut filter = TagFilter::default();
        filter.set_expression(expression).map(|()| filter)
    }

    /// Goal: expressions mean what FilterAPI of the official software makes of them. Method: one row per form.
    #[test]
    fn expressions_become_codes() {
        for all in [None, Some(""), Some("*")] {
            assert!(filter(all).unwrap().matches(17), "{all:?}");
        }
        let two = filter(Some("TagA || order-created")).unwrap();
        assert!(two.matches(2_598_919));
        assert!(two.matches(-392_709_271));
        assert!(!two.matches(0));
        assert!(!filter(Some("Nope")).unwrap().matches(2_598_919));
        assert_eq!(filter(Some("||")), Err(NoTags));
        assert_eq!(filter(Some("||TagA||")).unwrap().codes(), [2_598_919]);
        assert!(filter(Some(" ")).unwrap().codes().is_empty());
    }

    /// Goal: many tags pass as few do. Method: more than are looked through, in any order; all of them and others.
    #[test]
    fn many_tags_are_found() {
        let tags: Vec<String> = (0..1_000).map(|at| format!("tag-{at}")).collect();
        let many = filter(Some(&tags.join("||"))).unwrap();
        assert!(tags.iter().all(|tag| many.matches(tags_code(tag))));
        assert!(!many.matches(tags_code("tag-1000")) && !many.matches(0));
        let mut codes = TagFilter::default();
        codes.set_codes(false, (0..1_000).rev());
        assert!((0..1_000).all(|code| codes.matches(code)) && !codes.matches(1_000));
    }

    /// Goal: only the low 32 bits of a queue entry's code count.
    #[test]
    fn the_low_half_of_the_code_decides() {
        let mut filter = TagFilter::default();
        filter.set_codes(false, [7]);
        assert!(filter.matches(7 | 1 << 40));
    }
}
