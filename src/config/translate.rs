//! Errors of the YAML library and of serde's derived code, read back into [`Problem`]s.
//!
//! Both only hand out sentences: `backends[0].target: unknown field `x`, expected one of `a`, `b`
//! at line 3 column 16`. The forms below are those of yaml_serde 0.10 and serde 1; what has
//! none of them is passed on as it is, so that a new form costs beauty and nothing else.

use super::document::position;
use super::error::{Mistake, Problem};

/// What is said of a file whose aliases multiply.
pub(super) const ALIAS_BOMB: &str = "aliases make more of it than any config needs";

/// How the messages begin that are made below a key; a library's, and our own of `value.rs`.
const OPENINGS: [&str; 6] =
    ["unknown field `", "unknown variant `", "missing field `", "duplicate field `", "invalid type: ", "`"];

impl Problem {
    /// What `error` says about `text`.
    pub(super) fn from_yaml(error: &serde_yaml::Error, text: &str) -> Self {
        let at = position(error);
        let mut message = without_control_characters(&error.to_string());
        if let Some(at) = at {
            message = message.replacen(&format!(" at line {} column {}", at.line, at.column), "", 1);
        }
        let character = at.and_then(|at| text.lines().nth(at.line - 1)?.chars().nth(at.column - 1));
        let opening = OPENINGS.iter().filter_map(|opening| beginning(&message, opening)).min();
        match opening {
            Some(place) => {
                let key = message[..place].trim_end_matches(": ").to_owned();
                Self { at, key, mistake: mistake(&message[place..]) }
            }
            None if character == Some('\t') => Self { at, ..Self::of_file(Mistake::Tab) },
            None => Self { at, ..Self::of_file(Mistake::Yaml(in_our_words(message))) },
        }
    }

    /// A problem of the file as a whole.
    pub(super) fn of_file(mistake: Mistake) -> Self {
        Self { at: None, key: String::new(), mistake }
    }
}

/// A message about the YAML itself, where the library's words say little.
fn in_our_words(message: String) -> String {
    let words = match message.as_str() {
        "deserializing from YAML containing more than one document is not supported" => {
            "there is a second document in it (`---`)"
        }
        "recursion limit exceeded" => "nested too deeply, or an alias of itself",
        "repetition limit exceeded" => ALIAS_BOMB,
        _ => return message,
    };
    words.to_owned()
}

/// Where `opening` begins `message`, or what follows a key in it.
fn beginning(message: &str, opening: &str) -> Option<usize> {
    if message.starts_with(opening) {
        return Some(0);
    }
    message.find(&format!(": {opening}")).map(|place| place + 2)
}

/// What a message without its key says.
fn mistake(message: &str) -> Mistake {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let quoted = || quotations(what).next().unwrap_or_default();
    let known = || quotations(expected).collect();
    if what.starts_with("unknown field") {
        Mistake::UnknownKey { key: quoted(), known: known() }
    } else if what.starts_with("unknown variant") {
        Mistake::UnknownWord { word: quoted(), known: known() }
    } else if what.starts_with("missing field") {
        Mistake::MissingKey(quoted())
    } else if what.starts_with("duplicate field") {
        Mistake::RepeatedKey(quoted())
    } else if let Some(found) = what.strip_prefix("invalid type: ") {
        let expected = expected.replace("a sequence", "a list");
        Mistake::WrongType { found: found_in_words(found), expected }
    } else {
        Mistake::Value(message.to_owned())
    }
}

/// Keys are quoted as they stand in the file, which may be anything; a message is one line.
fn without_control_characters(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            clean.extend(character.escape_debug());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// What stands between backticks.
fn quotations(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Serde's name for what it found, in the words of a config.
fn found_in_words(found: &str) -> String {
    match found {
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" => "nothing".to_owned(),
        "enum" => "a tag".to_owned(),
        other => match other.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("integer" | "floating", number)) => {
                format!("the number {}", number.trim_start_matches("point ").trim_matches('`'))
            }
            Some(("boolean", value)) => value.to_owned(),
            _ => other.to_owned(),
        },
    }
}
