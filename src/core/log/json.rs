//! Just enough of JSON to find the members of one object in a line, without allocating.
//!
//! In: a line that begins with `{`. Out: its members in order, keys and values still as they
//! are written; [`unescape`] decodes a string into a buffer that is used again. Values inside
//! values are skipped over whole. A line that was cut gives all members before the cut.

use memchr::{memchr, memchr2};

/// One member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Between its quotes, escapes not decoded.
    pub(super) key: &'a [u8],
    pub(super) value: JsonValue<'a>,
    /// Where the text of the value begins, in bytes from the start of the object.
    pub(super) begin: usize,
}

/// A value, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonValue<'a> {
    /// Between its quotes, escapes not decoded.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Plain(&'a [u8]),
    /// An array or an object, brackets included.
    Nested(&'a [u8]),
}

/// Walks the members of the object that `text` is.
#[derive(Clone, Debug)]
pub(super) struct Members<'a> {
    text: &'a [u8],
    at: usize,
    is_first: bool,
    end: End,
}

/// How a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is more, or it has not been looked for.
    Open,
    /// The object was closed, with nothing but white space behind it.
    Closed,
    /// The text ends inside the object.
    Cut,
    /// It is no JSON.
    Broken,
}

impl<'a> Members<'a> {
    /// `None` if it does not begin like an object.
    pub(super) fn new(text: &'a [u8]) -> Option<Self> {
        text.starts_with(b"{").then_some(Self { text, at: 1, is_first: true, end: End::Open })
    }

    /// How the walk ended; all members have to be taken first.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// How far it has come.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    fn read(&mut self) -> Result<Option<Member<'a>>, End> {
        self.skip_blanks();
        match self.peek()? {
            b'}' => {
                self.at += 1;
                self.skip_blanks();
                return if self.at == self.text.len() { Ok(None) } else { Err(End::Broken) };
            }
            b',' if !self.is_first => self.at += 1,
            b'"' if self.is_first => self.is_first = false,
            _ => return Err(End::Broken),
        }
        self.skip_blanks();
        self.require(b'"')?;
        let key = self.string()?;
        self.skip_blanks();
        self.require(b':')?;
        self.skip_blanks();
        let begin = self.at;
        Ok(Some(match self.peek()? {
            b'"' => {
                self.at += 1;
                Member { key, value: JsonValue::Text(self.string()?), begin: begin + 1 }
            }
            b'{' | b'[' => {
                self.skip_nested()?;
                Member { key, value: JsonValue::Nested(&self.text[begin..self.at]), begin }
            }
            _ => {
                let rest = &self.text[begin..];
                let length = rest.iter().position(|&byte| !is_plain(byte)).ok_or(End::Cut)?;
                if length == 0 {
                    return Err(End::Broken);
                }
                self.at += length;
                Member { key, value: JsonValue::Plain(&rest[..length]), begin }
            }
        }))
    }

    fn peek(&self) -> Result<u8, End> {
        self.text.get(self.at).copied().ok_or(End::Cut)
    }

    fn require(&mut self, byte: u8) -> Result<(), End> {
        if self.peek()? != byte {
            return Err(End::Broken);
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        let blanks = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace());
        self.at += blanks.count();
    }

    /// The rest of a string whose opening quote is taken; takes the closing one.
    fn string(&mut self) -> Result<&'a [u8], End> {
        let begin = self.at;
        let length = string_length(&self.text[begin..]).ok_or(End::Cut)?;
        self.at += length + 1;
        Ok(&self.text[begin..begin + length])
    }

    /// Goes behind an array or an object. What is wrong inside is not looked at.
    fn skip_nested(&mut self) -> Result<(), End> {
        let mut depth = 0_usize;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if self.end != End::Open {
            return None;
        }
        match self.read() {
            Ok(Some(member)) => Some(member),
            Ok(None) => {
                self.end = End::Closed;
                None
            }
            Err(end) => {
                self.end = end;
                None
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

/// Bytes before the quote that ends a string; `None` if there is none.
pub(super) fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Appends what `raw`, the text between the quotes of a string, stands for. An escape that JSON does not
/// know stands for the byte behind its backslash. Returns how many bytes of `raw` make up the first `wanted`.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>, wanted: usize) -> usize {
    let begin = out.len();
    let mut rest = raw;
    while let Some(backslash) = memchr(b'\\', rest) {
        if out.len() - begin + backslash >= wanted {
            break;
        }
        out.extend_from_slice(&rest[..backslash]);
        let (escape, after) = rest[backslash..].split_at(2.min(rest.len() - backslash));
        rest = after;
        match escape {
            b"\\n" => out.push(b'\n'),
            b"\\r" => out.push(b'\r'),
            b"\\t" => out.push(b'\t'),
            b"\\b" => out.push(8),
            b"\\f" => out.push(12),
            b"\\u" => rest = unescape_unicode(rest, out),
            [_, byte] => out.push(*byte),
            _ => {}
        }
        if out.len() - begin >= wanted {
            return raw.len() - rest.len();
        }
    }
    let missing = wanted.saturating_sub(out.len() - begin).min(rest.len());
    out.extend_from_slice(rest);
    raw.len() - rest.len() + missing
}

/// Decodes what follows `\u`: four digits, and the second half of a pair if there is one.
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((first, mut rest)) = hex4(text) else {
        return text;
    };
    let mut code = first;
    if let 0xD800..=0xDBFF = first
        && let Some((second @ 0xDC00..=0xDFFF, after)) = rest.strip_prefix(b"\\u").and_then(hex4)
    {
        code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        rest = after;
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |sum, &digit| Some(sum * 16 + char::from(digit).to_digit(16)?))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Members as `key=value` joined by blanks, and how it ended.
    #[track_caller]
    fn check(text: &str, expected: &str, end: End) {
        let mut members = Members::new(text.as_bytes()).expect("it begins like an object");
        let mut found = Vec::new();
        for Member { key, value, begin } in members.by_ref() {
            let (JsonValue::Text(value) | JsonValue::Plain(value) | JsonValue::Nested(value)) = value;
            assert_eq!(&text.as_bytes()[begin..begin + value.len()], value, "{text}");
            found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        }
        assert_eq!((found.join(" ").as_str(), members.end()), (expected, end), "{text}");
    }

    #[test]
    fn members_are_found_in_order() {
        check("{}", "", End::Closed);
        check(r#"{"a":"b"}"#, "a=b", End::Closed);
        check(
            r#"{ "a" : 1 , "b":-2.5e+3,"c":null, "d":"x\"y" } "#,
            r#"a=1 b=-2.5e+3 c=null d=x\"y"#,
            End::Closed,
        );
        check(r#"{"a":["]",{"b":"}"}],"c":{}}"#, r#"a=["]",{"b":"}"}] c={}"#, End::Closed);
    }

    #[test]
    fn what_is_cut_or_broken_gives_what_came_before() {
        check(r#"{"a":1,"b":"cu"#, "a=1", End::Cut);
        check(r#"{"a":1,"b":12"#, "a=1", End::Cut);
        check(r#"{"a":1,"b":[1,"#, "a=1", End::Cut);
        check(r#"{"a":1,"#, "a=1", End::Cut);
        check(r#"{"a":1} x"#, "a=1", End::Broken);
        check(r#"{"a":1 "b":2}"#, "a=1", End::Broken);
        check("{a:1}", "", End::Broken);
        check(r#"{,"a":1}"#, "", End::Broken);
        assert!(Members::new(b"[]").is_none());
    }

    #[track_caller]
    fn check_unescape(raw: &str, expected: &str) {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out, usize::MAX);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{raw}");
    }

    #[test]
    fn escapes_are_decoded() {
        check_unescape(r#"a\"b\\c\/d\n"#, "a\"b\\c/d\n");
        check_unescape(r"\u00e9\u003c\ud83d\ude00", "\u{e9}<\u{1f600}");
        check_unescape(r"\ud83d!\u12", "\u{fffd}!12");
        check_unescape("\\", "");
    }

    proptest! {
        #[test]
        fn what_serde_writes_reads_back(texts in proptest::collection::vec(any::<String>(), 0..5)) {
            let object: serde_json::Map<_, _> = texts
                .iter()
                .enumerate()
                .map(|(number, text)| (number.to_string(), text.clone().into()))
                .collect();
            let line = serde_json::Value::Object(object).to_string();
            let mut members = Members::new(line.as_bytes()).unwrap();
            let found: Vec<_> = members
                .by_ref()
                .map(|member| {
                    let JsonValue::Text(raw) = member.value else { panic!("a string") };
                    let mut out = Vec::new();
                    prop_assert_eq!(unescape(raw, &mut out, usize::MAX), raw.len());
                    Ok(String::from_utf8(out).unwrap())
                })
                .collect::<Result<_, _>>()?;
            prop_assert_eq!(found, texts);
            prop_assert_eq!(members.end(), End::Closed);
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b':'), Just(b','), any::<u8>()], 0..60)) {
            let text = [b"{".as_slice(), &bytes].concat();
            for member in Members::new(&text).unwrap() {
                unescape(member.key, &mut Vec::new(), 3);
            }
        }
    }
}
