//! A log-format string to its nodes: text, blanks, items.
//!
//! In: the word behind `log-format`. Out: what HAProxy makes of it (configuration manual 8.2.6,
//! "Custom log format"): blanks in a row count once, `%o` gives its flags to all items behind it, and
//! each item has a name only where JSON is made of it.

use super::error::{LogFormatError, LogFormatErrorKind};
use super::words::Word;

/// One piece of a log-format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Written as it is; has no blank in it.
    Text(Vec<u8>),
    /// One blank; not written if one was written just before.
    Blank,
    /// Something that differs from line to line.
    Item(Item),
}

/// An item: `%alias` or `%[sample expression]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Where its `%` stands in the text as it was given.
    pub(super) position: usize,
    /// As written, without the flags.
    pub(super) source: Source,
    pub(super) flags: Flags,
    /// `%(name)`.
    pub(super) name: Option<String>,
}

/// Where an item's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// One of HAProxy's `%xyz`.
    Alias(String),
    /// A sample expression.
    Sample(String),
}

impl Source {
    /// As it stands in a log-format.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Alias(name) => format!("%{name}"),
            Self::Sample(expression) => format!("%[{expression}]"),
        }
    }
}

/// How the value of an item is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `+Q`: in quotes.
    pub(super) quotes: bool,
    /// `+X`: hexadecimal, where it is a number that has such a form.
    pub(super) hex: bool,
    /// `+E`: backslashes before `"`, `\` and `]`.
    pub(super) escapes: bool,
    /// `+json`: a JSON value.
    pub(super) json: bool,
}

/// All of a log-format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    pub(super) list: Vec<Node>,
    /// `%{+json}o`: a line is one JSON object of the named items, and nothing else is written.
    pub(super) is_json: bool,
}

/// Reads `word`.
///
/// # Errors
/// HAProxy would not take it either, or it is not text that HAProxy writes.
pub(super) fn read(word: &Word) -> Result<Nodes, LogFormatError> {
    let mut reader = Reader { word, at: 0, defaults: Flags::default(), nodes: Nodes::default() };
    while let Some(byte) = reader.peek() {
        match byte {
            b' ' => reader.blank(),
            b'%' => reader.item()?,
            _ => reader.text(),
        }
    }
    Ok(reader.nodes)
}

struct Reader<'a> {
    word: &'a Word,
    at: usize,
    /// What `%o` has set for all items behind it.
    defaults: Flags,
    nodes: Nodes,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        self.word.bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn error<T>(&self, at: usize, kind: LogFormatErrorKind) -> Result<T, LogFormatError> {
        Err(LogFormatError::new(self.word.place(at), kind))
    }

    fn blank(&mut self) {
        self.at += 1;
        if self.nodes.list.last() != Some(&Node::Blank) {
            self.nodes.list.push(Node::Blank);
        }
    }

    /// One byte of text.
    fn text(&mut self) {
        let byte = self.rest().first().copied();
        self.at += 1;
        match self.nodes.list.last_mut() {
            Some(Node::Text(text)) => text.extend(byte),
            _ => self.nodes.list.push(Node::Text(byte.into_iter().collect())),
        }
    }

    /// What begins with a `%`.
    fn item(&mut self) -> Result<(), LogFormatError> {
        let begin = self.at;
        self.at += 1;
        let (mut name, mut flags) = (None, self.defaults);
        loop {
            match self.peek() {
                Some(b'%') if self.at == begin + 1 => {
                    self.text();
                    return Ok(());
                }
                Some(b'(') => name = Some(self.name()?),
                Some(b'{') => flags = self.flags(flags)?,
                Some(b'[') => {
                    let source = Source::Sample(self.sample()?);
                    self.push_item(begin, source, flags, name);
                    return Ok(());
                }
                Some(byte) if byte.is_ascii_alphabetic() => return self.alias(begin, flags, name),
                _ => return self.error(begin, LogFormatErrorKind::NotAnItem),
            }
        }
    }

    fn alias(&mut self, begin: usize, flags: Flags, name: Option<String>) -> Result<(), LogFormatError> {
        let alias: String = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .copied()
            .map(char::from)
            .collect();
        self.at += alias.len();
        if alias != "o" {
            self.push_item(begin, Source::Alias(alias), flags, name);
            return Ok(());
        }
        self.defaults = flags;
        self.nodes.is_json |= flags.json;
        Ok(())
    }

    fn push_item(&mut self, begin: usize, source: Source, flags: Flags, name: Option<String>) {
        let position = self.word.place(begin);
        self.nodes.list.push(Node::Item(Item { position, source, flags, name }));
    }

    /// `(name:type)`; the type does not matter to a reader.
    fn name(&mut self) -> Result<String, LogFormatError> {
        let inner = self.bracketed(b')', '(')?;
        Ok(inner.split(':').next().unwrap_or_default().to_owned())
    }

    /// `{+Q,-X}`.
    fn flags(&mut self, mut flags: Flags) -> Result<Flags, LogFormatError> {
        let begin = self.at;
        let inner = self.bracketed(b'}', '{')?;
        let mut is_on = true;
        let mut rest = inner.as_str();
        while let Some(first) = rest.chars().next() {
            rest = match first {
                '+' | '-' => {
                    is_on = first == '+';
                    &rest[1..]
                }
                ',' | ' ' => &rest[1..],
                _ => {
                    let (flag, after) = rest.split_at(rest.find([',', ' ', '+', '-']).unwrap_or(rest.len()));
                    match flag {
                        "Q" => flags.quotes = is_on,
                        "X" => flags.hex = is_on,
                        "E" => flags.escapes = is_on,
                        "json" => flags.json = is_on,
                        "cbor" | "bin" => {
                            let what = "binary encodings cannot be read; use %{+json}o";
                            return self.error(begin, LogFormatErrorKind::Unsupported(what));
                        }
                        // HAProxy passes over what it does not know (seen on 2.6.12).
                        _ => {}
                    }
                    after
                }
            };
        }
        Ok(flags)
    }

    /// The expression in `[...]`; brackets inside quotes and parentheses belong to it.
    fn sample(&mut self) -> Result<String, LogFormatError> {
        let begin = self.at;
        let (mut depth, mut quote) = (0_usize, None);
        let end = self.rest().iter().skip(1).position(|&byte| {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') if depth > 0 => quote = Some(byte),
                (None, b'(') => depth += 1,
                (None, b')') => depth = depth.saturating_sub(1),
                (None, b']') => return depth == 0,
                _ => {}
            }
            false
        });
        let Some(length) = end else {
            return self.error(begin, LogFormatErrorKind::Unclosed('['));
        };
        let expression = String::from_utf8_lossy(&self.rest()[1..=length]).into_owned();
        self.at += length + 2;
        Ok(expression)
    }

    /// What stands between the bracket here and the next `close`.
    fn bracketed(&mut self, close: u8, open: char) -> Result<String, LogFormatError> {
        let Some(length) = self.rest().iter().position(|&byte| byte == close) else {
            return self.error(self.at, LogFormatErrorKind::Unclosed(open));
        };
        let inner = String::from_utf8_lossy(&self.rest()[1..length]).into_owned();
        self.at += length + 1;
        Ok(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes in a short form: text in quotes, `_` for a blank, items with their flags.
    fn short(node: &Node) -> String {
        match node {
            Node::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
            Node::Blank => "_".to_owned(),
            Node::Item(item) => {
                let flag = |is_on, flag| if is_on { flag } else { "" };
                format!(
                    "{}{}{}{}{}{}",
                    item.name.as_ref().map(|name| format!("({name})")).unwrap_or_default(),
                    flag(item.flags.quotes, "Q"),
                    flag(item.flags.hex, "X"),
                    flag(item.flags.escapes, "E"),
                    flag(item.flags.json, "J"),
                    item.source.shown()
                )
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let nodes = read(&Word::plain(text, 0)).expect(text);
        let found: Vec<_> = nodes.list.iter().map(short).collect();
        assert_eq!(found.join(" "), expected, "{text}");
    }

    #[test]
    fn text_blanks_and_items_are_told_apart() {
        check("%ci:%cp  [%tr] x", "%ci ':' %cp _ '[' %tr ']' _ 'x'");
        check("100%% %b", "'100%' _ %b");
        check("%b%s", "%b %s");
        check("%[capture.req.hdr(0),json(utf8s)]}", "%[capture.req.hdr(0),json(utf8s)] '}'");
        check("%[var(txn.a),map(\"a]b\")]]", "%[var(txn.a),map(\"a]b\")] ']'");
    }

    #[test]
    fn flags_are_of_one_item_or_of_all_that_follow() {
        check("%{+Q}r %r", "Q%r _ %r");
        check("%{+Q,+E}r %{+Q +X}ci", "QE%r _ QX%ci");
        check("%{+Q}o %r %{-Q}ci %{+E}s", "_ Q%r _ %ci _ QE%s");
        check("%{+json}o %(be:str)b %(x){-json}[int(1)]", "_ (be)J%b _ (x)%[int(1)]");
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = read(&Word::plain(text, 0)).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn what_haproxy_would_not_take_is_refused_with_its_place() {
        check_error("a %[b", "at byte 3: `[` is never closed");
        check_error("a %{+Q", "at byte 3: `{` is never closed");
        check_error("a % b", "at byte 2: no item follows the `%` (the sign itself is `%%`)");
        check_error("a %", "at byte 2: no item follows the `%` (the sign itself is `%%`)");
        check_error("%{+cbor}o %(a)b", "at byte 1: binary encodings cannot be read; use %{+json}o");
    }
}
