//! Which messages of a queue a subscription wants, judged by the tags code of the queue entry alone.
//!
//! A hash collision passes here and is sorted out by the client, which compares the tag's text.

use protocol::hash::tags_code;

/// The tags of one subscription. Reused from pull to pull, so that building one allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFilter {
    all: bool,
    codes: Vec<i32>,
}

/// The expression names no tag: `||`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTags;

impl TagFilter {
    pub fn matches(&self, code: i64) -> bool {
        self.all || self.codes.contains(&(code as i32))
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
}

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

    /// Goal: only the low 32 bits of a queue entry's code count.
    #[test]
    fn the_low_half_of_the_code_decides() {
        let mut filter = TagFilter::default();
        filter.set_codes(false, [7]);
        assert!(filter.matches(7 | 1 << 40));
    }
}
