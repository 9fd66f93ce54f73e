//! Words as HAProxy's configuration parser makes them of a line: quotes, backslashes, variables.
//!
//! In: one line of text, and the environment as far as it is known. Out: its words, each with the place
//! in the line that every byte comes from, so that an error can name it. The rules are those of
//! HAProxy's `parse_line` (configuration manual 2.2, "Quoting and escaping"; held against
//! HAProxy 2.6.12): `'...'` is taken as it is; in `"..."` a backslash and `$VARIABLE` work; outside of
//! quotes a backslash takes its special meaning from what follows, and `#` begins a comment.

use super::error::{LogFormatError, LogFormatErrorKind};

/// A word, unquoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    bytes: Vec<u8>,
    /// Where each byte comes from.
    places: Vec<usize>,
    /// Where the word ends.
    end: usize,
}

impl Word {
    /// `text` as it is, standing at byte `at`.
    pub(in crate::core::log) fn plain(text: &str, at: usize) -> Self {
        let places = (at..at + text.len()).collect();
        Self { bytes: text.as_bytes().to_vec(), places, end: at + text.len() }
    }

    pub(in crate::core::log) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For reading keywords; what is not UTF-8 is no keyword.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// Where byte `at` of the word comes from.
    pub(in crate::core::log) fn place(&self, at: usize) -> usize {
        self.places.get(at).copied().unwrap_or(self.end)
    }

    fn push(&mut self, byte: u8, place: usize) {
        self.bytes.push(byte);
        self.places.push(place);
    }
}

/// What is known of an environment variable of HAProxy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Is(String),
    /// There is none: a default holds, or nothing.
    Unset,
    Unknown,
}

impl From<Option<String>> for Variable {
    /// `None`: it is not known.
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Unknown, Self::Is)
    }
}

/// What is known of the environment HAProxy runs in.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Variable;

/// The words of `line`.
///
/// # Errors
/// A quote is never closed, or a variable is not known.
pub(crate) fn split(line: &str, environment: Environment<'_>) -> Result<Vec<Word>, LogFormatError> {
    let mut splitter = Splitter { text: line.as_bytes(), at: 0, word: None, words: Vec::new() };
    splitter.run(environment)?;
    Ok(splitter.words)
}

struct Splitter<'a> {
    text: &'a [u8],
    at: usize,
    /// The word being read; `None` between words.
    word: Option<Word>,
    words: Vec<Word>,
}

impl Splitter<'_> {
    fn run(&mut self, environment: Environment<'_>) -> Result<(), LogFormatError> {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.end_word();
                    self.at += 1;
                }
                b'#' => break,
                b'\'' => self.single_quoted()?,
                b'"' => self.double_quoted(environment)?,
                b'\\' => self.escape(),
                _ => self.take(),
            }
        }
        self.end_word();
        Ok(())
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn end_word(&mut self) {
        if let Some(mut word) = self.word.take() {
            word.end = self.at;
            self.words.push(word);
        }
    }

    /// Takes one byte as it is.
    fn take(&mut self) {
        let at = self.at;
        if let Some(&byte) = self.text.get(at) {
            self.word().push(byte, at);
            self.at += 1;
        }
    }

    fn single_quoted(&mut self) -> Result<(), LogFormatError> {
        let open = self.at;
        self.word();
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            if byte == b'\'' {
                self.at += 1;
                return Ok(());
            }
            self.take();
        }
        Err(LogFormatError::new(open, LogFormatErrorKind::Unclosed('\'')))
    }

    fn double_quoted(&mut self, environment: Environment<'_>) -> Result<(), LogFormatError> {
        let open = self.at;
        self.word();
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' if self.text.get(self.at + 1) == Some(&b'$') => {
                    self.at += 1;
                    self.take();
                }
                b'\\' => self.escape(),
                b'$' => self.variable(environment)?,
                _ => self.take(),
            }
        }
        Err(LogFormatError::new(open, LogFormatErrorKind::Unclosed('"')))
    }

    /// A backslash and what it makes of the byte behind it; before any other byte it is itself.
    fn escape(&mut self) {
        let at = self.at;
        let meant = match self.text.get(at + 1) {
            Some(&byte @ (b' ' | b'\\' | b'#' | b'"' | b'\'')) => byte,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b'x') => match self.text.get(at + 2..at + 4).and_then(hex_byte) {
                Some(byte) => {
                    self.word().push(byte, at);
                    self.at += 4;
                    return;
                }
                None => return self.take(),
            },
            _ => return self.take(),
        };
        self.word().push(meant, at);
        self.at += 2;
    }

    /// `$NAME`, `${NAME}`, `${NAME-default}`, or `${NAME[*]}`, which makes several words of one with blanks.
    fn variable(&mut self, environment: Environment<'_>) -> Result<(), LogFormatError> {
        let at = self.at;
        let Some(reference) = Reference::read(&self.text[at + 1..]) else {
            self.take();
            return Ok(());
        };
        let name = String::from_utf8_lossy(reference.name);
        let value = match environment(&name) {
            Variable::Is(value) => value.into_bytes(),
            Variable::Unset => reference.default.unwrap_or_default().to_vec(),
            Variable::Unknown => {
                return Err(LogFormatError::new(at, LogFormatErrorKind::UnknownVariable(name.into_owned())));
            }
        };
        if reference.is_list && self.word().bytes.is_empty() {
            // None of its words: no word at all, whatever the quotes.
            self.word = None;
        }
        for byte in value {
            if reference.is_list && byte.is_ascii_whitespace() {
                self.end_word();
            } else {
                self.word().push(byte, at);
            }
        }
        self.at += 1 + reference.length;
        Ok(())
    }
}

/// What stands behind a `$`.
struct Reference<'a> {
    name: &'a [u8],
    default: Option<&'a [u8]>,
    is_list: bool,
    /// In bytes, braces included.
    length: usize,
}

impl<'a> Reference<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let Some(braced) = text.strip_prefix(b"{") else {
            let length = text.iter().take_while(is_of_name).count();
            return (length > 0).then(|| Self {
                name: &text[..length],
                default: None,
                is_list: false,
                length,
            });
        };
        let (inside, _) = braced.split_at(braced.iter().position(|&byte| byte == b'}')?);
        let (name, rest) = inside.split_at(inside.iter().take_while(is_of_name).count());
        let (is_list, rest) = rest.strip_prefix(b"[*]").map_or((false, rest), |rest| (true, rest));
        let default = rest.strip_prefix(b"-");
        let is_good = !name.is_empty() && (rest.is_empty() || default.is_some());
        is_good.then_some(Self { name, default, is_list, length: inside.len() + 2 })
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let &[high, low] = digits else { return None };
    u8::try_from(digit(&high)? * 16 + digit(&low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Variable {
        match name {
            "KNOWN" => Variable::Is("a b".to_owned()),
            "EMPTY" => Variable::Is(String::new()),
            "UNSET" => Variable::Unset,
            _ => Variable::Unknown,
        }
    }

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let words = split(line, &environment).expect(line);
        let found: Vec<_> = words.iter().map(Word::text).collect();
        assert_eq!(found, expected, "{line}");
    }

    /// Each held against what HAProxy 2.6.12 logs with it.
    #[test]
    fn words_are_those_of_haproxy() {
        check("log-format %ci\\ %cp  # a comment", &["log-format", "%ci %cp"]);
        check(r#"log-format "%ci \"%r\" %%" "#, &["log-format", "%ci \"%r\" %%"]);
        check(r#"'{"a":"%b"}'"#, &[r#"{"a":"%b"}"#]);
        check(r#"{"a":"%b"}"#, &["{a:%b}"]);
        check(r#""%{+Q}o %t"' %s %{-Q}r'"#, &["%{+Q}o %t %s %{-Q}r"]);
        check(r#"a\#b "c#d" e\x41f\1 "" "#, &["a#b", "c#d", r"eAf\1", ""]);
        check(r#""$KNOWN/${KNOWN}/\$KNOWN/$-" $KNOWN"#, &["a b/a b/$KNOWN/$-", "$KNOWN"]);
        check("'$KNOWN \\ ' x", &["$KNOWN \\ ", "x"]);
        check(r#""${UNSET-7 8}" "${KNOWN-7}" "${EMPTY-7}" "$UNSET""#, &["7 8", "a b", "", ""]);
        check(r#"x"${KNOWN[*]}y" "${EMPTY[*]}" "${UNSET[*]-c d}""#, &["xa", "by", "c", "d"]);
    }

    #[track_caller]
    fn check_error(line: &str, position: usize, kind: LogFormatErrorKind) {
        assert_eq!(split(line, &environment), Err(LogFormatError::new(position, kind)), "{line}");
    }

    #[test]
    fn what_cannot_be_split_is_named_with_its_place() {
        check_error("ab 'c", 3, LogFormatErrorKind::Unclosed('\''));
        check_error(r#"ab "c\""#, 3, LogFormatErrorKind::Unclosed('"'));
        check_error(r#""a $NOT""#, 3, LogFormatErrorKind::UnknownVariable("NOT".to_owned()));
    }

    #[test]
    fn every_byte_knows_where_it_comes_from() {
        let words = split(r#"x "a\"${KNOWN}b""#, &environment).unwrap();
        let places: Vec<_> = (0..=words[1].bytes().len()).map(|at| words[1].place(at)).collect();
        assert_eq!(places, [3, 4, 6, 6, 6, 14, 16]);
    }
}
