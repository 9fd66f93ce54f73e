//! Records of named values as text: JSON objects, or `name=value` pairs.
//!
//! Written by hand, not by a serializer, because a record has thirty fields and a log millions of
//! lines. Bytes that are not UTF-8 become U+FFFD.

/// Something that a record can be written to.
pub(super) trait Record {
    /// Bytes as they stand in the log.
    fn text(&mut self, name: &str, text: &[u8]);
    /// A whole number.
    fn number(&mut self, name: &str, number: u64);
    /// Yes or no.
    fn flag(&mut self, name: &str, flag: bool);
    /// A field that the format has, and this line has not.
    fn null(&mut self, name: &str);
    /// Ends the record.
    fn end(self);

    /// A whole number, or null.
    fn number_or_null(&mut self, name: &str, number: Option<impl Into<u64>>) {
        match number {
            Some(number) => self.number(name, number.into()),
            None => self.null(name),
        }
    }

    /// Text, or null.
    fn text_or_null(&mut self, name: &str, text: Option<&[u8]>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }
}

/// One JSON object on a line of its own.
pub(super) struct Json<'a> {
    out: &'a mut Vec<u8>,
    before_next: u8,
}

impl<'a> Json<'a> {
    /// At the end of `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, before_next: b'{' }
    }

    /// Names are ours and need no escapes.
    fn name(&mut self, name: &str) {
        self.out.push(self.before_next);
        self.before_next = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

impl Record for Json<'_> {
    fn text(&mut self, name: &str, text: &[u8]) {
        self.name(name);
        push_quoted(self.out, text);
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_number(self.out, number);
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.out.extend_from_slice(b"null");
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

/// `name=value name="a value"` on a line of its own. What is not there is left out.
pub(super) struct Pairs<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Pairs<'a> {
    /// At the end of `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_first: true }
    }

    fn name(&mut self, name: &str) {
        if !self.is_first {
            self.out.push(b' ');
        }
        self.is_first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'=');
    }
}

impl Record for Pairs<'_> {
    fn text(&mut self, name: &str, text: &[u8]) {
        self.name(name);
        let is_word = |&byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if !text.is_empty() && text.iter().all(is_word) {
            self.out.extend_from_slice(text);
        } else {
            push_quoted(self.out, text);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_number(self.out, number);
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn null(&mut self, _: &str) {}

    fn end(self) {
        self.out.push(b'\n');
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    /// Digits of the largest number.
    const MOST: usize = 20;
    let mut digits = [0; MOST];
    let mut begin = MOST;
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

/// A JSON string (RFC 8259, section 7). Nothing a terminal would obey is left in it.
fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // All bytes without a branch, as nearly all texts are plain: so many are looked at in one go.
    if text.iter().fold(true, |all, &byte| all & (byte.is_ascii() & !needs_escape(byte))) {
        out.extend_from_slice(text);
    } else {
        push_unusual(out, text);
    }
    out.push(b'"');
}

fn push_unusual(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        push_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
        let (plain, special, after) = (&rest[..at], rest[at], &rest[at + 1..]);
        out.extend_from_slice(plain);
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let hex = |nibble: u8| char::from_digit(nibble.into(), 16).map_or(b'0', |digit| digit as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control & 15)]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Below the blank, DEL, `"` and `\`; DEL only for the terminal's sake.
fn needs_escape(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &[u8], number: u64) -> serde_json::Value {
        let mut out = Vec::new();
        let mut record = Json::new(&mut out);
        record.text("text", text);
        record.number("number", number);
        record.null("null");
        record.flag("flag", true);
        record.end();
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.iter().any(|&byte| byte < b' '), "one record is one line");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn pairs_quote_what_would_not_be_one_word() {
        let mut out = Vec::new();
        let mut record = Pairs::new(&mut out);
        for text in ["app", "", "a b", "a=b", "\u{e9}", "\x1b[2J"] {
            record.text("x", text.as_bytes());
        }
        record.null("none");
        record.end();
        let expected = "x=app x=\"\" x=\"a b\" x=\"a=b\" x=\"\u{e9}\" x=\"\\u001b[2J\"\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_json_object_that_reads_back(
            text in proptest::collection::vec(any::<u8>(), 0..60),
            number in any::<u64>(),
        ) {
            let expected = serde_json::json!({
                "text": String::from_utf8_lossy(&text), "number": number, "null": null, "flag": true,
            });
            prop_assert_eq!(json(&text, number), expected);
        }
    }
}
