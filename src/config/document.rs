//! A file as YAML, before anybody asks what its keys mean.
//!
//! [`read`] has its text, [`walk`] goes through all of it once, so that aliases cannot make much
//! out of little and no key is there twice, [`locate`] tells where the value of a key stands.
//! The YAML library names a position only for an error made at that position; so that is
//! what [`locate`] makes, on purpose.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{ConfigError, Mistake, Position, Problem};
use super::path::{KeyPath, Step};
use super::translate::ALIAS_BOMB;

/// A thousand backends with ten servers each, spelled out, are less; and what the YAML library makes of the
/// worst of this size (nothing but `[`) takes it seconds and some hundred MiB, no more.
const MOST_BYTES: usize = 1 << 20;

/// What a value costs beside the bytes of its text: about what serde makes of it.
const BYTES_A_VALUE: usize = 32;

/// What all values may cost. `{a,b,c...}`, two bytes for a key and its value, is the most that can be
/// had without aliases; it stays below.
const MOST_COST: usize = MOST_BYTES * (2 * BYTES_A_VALUE + 2) / 2;

/// The text of the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::Absent { path: path.to_owned() },
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    decode(bytes).map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problems: vec![problem] })
}

/// The text that `bytes` are.
fn decode(bytes: Vec<u8>) -> Result<String, Problem> {
    if bytes.len() > MOST_BYTES {
        return Err(Problem::of_file(Mistake::TooLarge { most_bytes: MOST_BYTES }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Problem { at: Some(Position { line, column }), ..Problem::of_file(Mistake::NotUtf8) }
    })
}

/// Goes through all of `text`, aliases followed.
pub(super) fn walk(text: &str) -> Result<(), Problem> {
    let left = Cell::new(MOST_COST);
    let yaml = serde_yaml::Deserializer::from_str(text);
    match (Walk { left: &left }).deserialize(yaml) {
        Ok(Found::Something) => Ok(()),
        Ok(Found::Nothing) => Err(Problem::of_file(Mistake::Empty)),
        Err(error) => Err(Problem::from_yaml(&error, text)),
    }
}

/// Whether a value is there.
enum Found {
    Nothing,
    Something,
}

/// Goes through one value and all in it.
#[derive(Clone, Copy)]
struct Walk<'a> {
    /// Bytes that may still come.
    left: &'a Cell<usize>,
}

impl Walk<'_> {
    fn spend<E: Error>(self, bytes: usize) -> Result<Found, E> {
        let left = self.left.get().checked_sub(bytes + BYTES_A_VALUE);
        self.left.set(left.ok_or_else(|| E::custom(ALIAS_BOMB))?);
        Ok(Found::Something)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        self.spend(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        self.spend(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Found, E> {
        self.spend(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Found, E> {
        self.spend(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Found, E> {
        self.spend(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        self.spend(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        self.spend(text.len())
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        self.spend(0).map(|_| Found::Nothing)
    }

    fn visit_none<E: Error>(self) -> Result<Found, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        self.spend(0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Found, A::Error> {
        let mut seen = HashSet::new();
        while mapping.next_key_seed(NewKey { walk: self, seen: &mut seen })?.is_some() {
            mapping.next_value_seed(self)?;
        }
        self.spend(0)
    }
}

/// A key that this mapping does not have yet.
struct NewKey<'a, 'b> {
    walk: Walk<'a>,
    seen: &'b mut HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for NewKey<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.walk.spend::<E>(key.len())?;
        if self.seen.insert(key.to_owned()) {
            Ok(())
        } else {
            Err(E::custom(format_args!("duplicate field `{key}`")))
        }
    }
}

/// Where in `text` the value at `path` stands; of a value that is not there, the nearest thing it is missing in.
pub(super) fn locate(text: &str, path: &KeyPath) -> Option<Position> {
    let mut steps = path.steps();
    loop {
        let reached = Cell::new(false);
        let seek = Seek { steps, reached: &reached };
        let error = seek.deserialize(serde_yaml::Deserializer::from_str(text)).err();
        if reached.get() {
            return error.and_then(|error| position(&error));
        }
        steps = steps.split_last()?.1;
    }
}

/// Where `error` was made.
pub(super) fn position(error: &serde_yaml::Error) -> Option<Position> {
    error.location().map(|at| Position { line: at.line(), column: at.column() })
}

/// Goes down `steps` and fails at the value where they end.
#[derive(Clone, Copy)]
struct Seek<'a> {
    steps: &'a [Step],
    reached: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            self.reached.set(true);
            deserializer.deserialize_any(Nothing)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if let [Step::Index(index), below @ ..] = self.steps {
            for _ in 0..*index {
                list.next_element::<IgnoredAny>()?;
            }
            list.next_element_seed(Seek { steps: below, ..self })?;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<(), A::Error> {
        while let Some(key) = mapping.next_key::<String>()? {
            match self.steps {
                [Step::Key(wanted), below @ ..] if *wanted == key => {
                    mapping.next_value_seed(Seek { steps: below, ..self })?;
                }
                _ => {
                    mapping.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Takes no value whatever: each is an error where it stands.
struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
