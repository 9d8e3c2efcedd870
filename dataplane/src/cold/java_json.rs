//! Writes JSON as fastjson does: byte for byte what the official broker puts into its files and bodies.
//!
//! ```text
//! compact  {"offsetTable":{1:4,3:1}}          pretty  the same with a tab a level; no blank after `:`
//! ```
//!
//! Keys that are numbers in Java stand without quotes, which is not JSON but what is written. Deliberately not
//! serde: the key forms and the order of fields are Java's, not ours.

use std::fmt::Write;

/// One text in the making. The caller closes what it opened.
#[derive(Debug)]
pub struct JavaJson {
    text: String,
    pretty: bool,
    depth: usize,
    /// Nothing was written yet in the innermost object or list.
    empty: bool,
}

impl JavaJson {
    pub fn compact() -> JavaJson {
        JavaJson { text: String::new(), pretty: false, depth: 0, empty: true }
    }

    pub fn pretty() -> JavaJson {
        JavaJson { pretty: true, ..JavaJson::compact() }
    }

    pub fn finish(self) -> String {
        assert!(self.depth == 0);
        self.text
    }

    /// `{ .. }` around what `fill` writes.
    pub fn object(&mut self, fill: impl FnOnce(&mut JavaJson)) {
        self.enclose('{', '}', fill);
    }

    /// `[ .. ]` around what `fill` writes.
    pub fn list(&mut self, fill: impl FnOnce(&mut JavaJson)) {
        self.enclose('[', ']', fill);
    }

    /// Begins the next value of a list.
    pub fn item(&mut self) -> &mut JavaJson {
        self.separate();
        self
    }

    /// Begins a field; its value must follow.
    pub fn key(&mut self, name: &str) -> &mut JavaJson {
        self.separate();
        self.string(name);
        self.text.push(':');
        self
    }

    /// A key that is a number in Java.
    pub fn number_key(&mut self, number: i64) -> &mut JavaJson {
        self.separate();
        self.number(number);
        self.text.push(':');
        self
    }

    /// A key that is an object in Java: `{{"topic":"T"}:1}`.
    pub fn object_key(&mut self, fill: impl FnOnce(&mut JavaJson)) -> &mut JavaJson {
        self.separate();
        self.object(fill);
        self.text.push(':');
        self
    }

    pub fn string(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\0'..='\u{1f}' | '\u{7f}' => {
                    write!(self.text, "\\u{:04x}", u32::from(c)).expect("a String takes everything");
                }
                _ => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    pub fn number(&mut self, value: i64) {
        write!(self.text, "{value}").expect("a String takes everything");
    }

    /// As Java prints a double: always with a fraction.
    pub fn double(&mut self, value: f64) {
        write!(self.text, "{value:?}").expect("a String takes everything");
    }

    pub fn boolean(&mut self, value: bool) {
        self.text.push_str(if value { "true" } else { "false" });
    }

    /// A value that was read from JSON, in this form.
    pub fn value(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => self.object(|j| {
                for (name, field) in fields {
                    j.key(name).value(field);
                }
            }),
            serde_json::Value::Array(items) => self.list(|j| {
                for item in items {
                    j.item().value(item);
                }
            }),
            serde_json::Value::String(text) => self.string(text),
            other => self.text.push_str(&other.to_string()),
        }
    }

    fn enclose(&mut self, open: char, close: char, fill: impl FnOnce(&mut JavaJson)) {
        self.text.push(open);
        self.depth += 1;
        let outer_empty = std::mem::replace(&mut self.empty, true);
        fill(self);
        self.depth -= 1;
        if !std::mem::replace(&mut self.empty, outer_empty) {
            self.line();
        }
        self.text.push(close);
    }

    fn separate(&mut self) {
        if !std::mem::replace(&mut self.empty, false) {
            self.text.push(',');
        }
        self.line();
    }

    fn line(&mut self) {
        if self.pretty {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n('\t', self.depth));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(mut json: JavaJson) -> String {
        json.object(|j| {
            j.key("empty").object(|_| {});
            j.key("none").list(|_| {});
            j.key("offsetTable").object(|j| {
                j.number_key(0).number(12);
                j.number_key(1).number(-9);
            });
            j.key("names").list(|j| {
                j.item().string("a\"b\\\u{1}\n");
                j.item().string("é");
            });
            j.key("on").boolean(true);
            j.key("tps").double(0.0);
        });
        json.finish()
    }

    #[test]
    fn compact_form() {
        let expected = r#"{"empty":{},"none":[],"offsetTable":{0:12,1:-9},"names":["a\"b\\\u0001\n","é"],"on":true,"tps":0.0}"#;
        assert_eq!(sample(JavaJson::compact()), expected);
    }

    #[test]
    fn pretty_form() {
        let expected = "{\n\t\"empty\":{},\n\t\"none\":[],\n\t\"offsetTable\":{\n\t\t0:12,\n\t\t1:-9\n\t},\n\t\"names\":[\n\t\t\"a\\\"b\\\\\\u0001\\n\",\n\t\t\"é\"\n\t],\n\t\"on\":true,\n\t\"tps\":0.0\n}";
        assert_eq!(sample(JavaJson::pretty()), expected);
    }

    #[test]
    fn objects_as_keys() {
        let mut json = JavaJson::compact();
        json.object(|j| j.object_key(|j| j.key("topic").string("T")).number(1));
        assert_eq!(json.finish(), r#"{{"topic":"T"}:1}"#);
    }

    #[test]
    fn values_that_were_read() {
        let value = serde_json::json!({"type": "CUSTOMIZED", "next": [1, null, {"a": 1.5}]});
        let mut json = JavaJson::compact();
        json.value(&value);
        assert_eq!(json.finish(), r#"{"type":"CUSTOMIZED","next":[1,null,{"a":1.5}]}"#);
    }
}
