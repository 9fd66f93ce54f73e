//! Why there is no config: file, line, column, key, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::nearest::nearest;

/// Why a config could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file.
    #[error(
        "there is no config file `{path}`\n  \
         the smallest one is a line: `backends: [{{name: BACKEND, target: {{below: 250ms}}}}]`\n  \
         without one: `--backend BACKEND --target 250ms`"
    )]
    Absent {
        /// It was looked for here.
        path: PathBuf,
    },
    /// There is something, but it cannot be read.
    #[error("cannot read config file `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It can be read, but something in it is wrong.
    #[error("{}", Listed { path, problems })]
    Invalid {
        /// The file.
        path: PathBuf,
        /// In the order of the file where that is known; never empty.
        problems: Vec<Problem>,
    },
    /// An option of the command line is wrong.
    #[error("{option}: {mistake}")]
    Option {
        /// As it is typed.
        option: &'static str,
        /// What is wrong with it.
        mistake: Mistake,
    },
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` if it is the file as a whole.
    pub at: Option<Position>,
    /// The keys that lead there, such as `backends[0].target`; empty at the top.
    pub key: String,
    /// What is wrong.
    pub mistake: Mistake,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is no YAML, in libyaml's words; or YAML that no config needs.
    Yaml(String),
    /// YAML indents with spaces.
    Tab,
    /// A byte that is not UTF-8.
    NotUtf8,
    /// Larger than any config.
    TooLarge {
        /// The bound.
        most_bytes: usize,
    },
    /// Nothing in it but comments.
    Empty,
    /// A key that is not known here.
    UnknownKey {
        /// The key.
        key: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// A word that is not known here.
    UnknownWord {
        /// The word.
        word: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// A key has to be there and is not.
    MissingKey(String),
    /// A key is there twice.
    RepeatedKey(String),
    /// A list, a mapping or nothing where something else was expected.
    WrongType {
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// A value that does not read as what it should be: the value and why.
    Value(String),
    /// A value outside its range.
    OutOfRange {
        /// The value.
        value: String,
        /// What is allowed, such as `at least 1`.
        allowed: String,
    },
    /// A list that has to name something.
    EmptyList,
    /// Two values in the wrong order.
    Order(Box<Order>),
    /// Two keys that exclude each other.
    Exclusive {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Two backends of one name.
    RepeatedBackend {
        /// The name.
        name: String,
        /// The key of the first one.
        first: String,
    },
    /// An address others can reach, and nobody said that they may.
    NotLoopback {
        /// The address.
        address: String,
    },
    /// A backend of the command line has no target, neither there nor in the file.
    NoTarget {
        /// The backend.
        backend: String,
    },
}

/// Of two values the first must be below the second, or at most the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The first one's key.
    pub first: &'static str,
    /// And its value.
    pub first_value: String,
    /// What it is: `above`, or `not below`.
    pub relation: &'static str,
    /// The second one's key.
    pub second: &'static str,
    /// And its value.
    pub second_value: String,
}

impl Mistake {
    /// What to do about it, if there is something to say.
    fn remedy(&self) -> Option<String> {
        let listed = |known: &[String]| {
            let quoted: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("known: {}", quoted.join(", "))
        };
        Some(match self {
            Self::UnknownKey { key: word, known } | Self::UnknownWord { word, known } => {
                nearest(word, known).map_or_else(|| listed(known), |near| format!("did you mean `{near}`?"))
            }
            Self::Tab => "indent with spaces".to_owned(),
            Self::Empty => {
                "the smallest config is a line: `backends: [{name: BACKEND, target: {below: 250ms}}]`"
                    .to_owned()
            }
            Self::Exclusive { remedy, .. } => (*remedy).to_owned(),
            Self::NotLoopback { .. } => {
                "everybody who can reach it can read it: `metrics.allow_remote: true` says that is meant"
                    .to_owned()
            }
            Self::NoTarget { .. } => "add `--target 250ms`".to_owned(),
            _ => return None,
        })
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yaml(problem) => write!(f, "not readable as YAML: {problem}"),
            Self::Tab => f.write_str("a tab where YAML allows none"),
            Self::NotUtf8 => f.write_str("a byte that is not UTF-8"),
            Self::TooLarge { most_bytes } => write!(f, "larger than {most_bytes} bytes"),
            Self::Empty => f.write_str("the file says nothing"),
            Self::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            Self::UnknownWord { word, .. } => write!(f, "unknown value `{word}`"),
            Self::MissingKey(key) => write!(f, "`{key}` is missing"),
            Self::RepeatedKey(key) => write!(f, "`{key}` is there twice"),
            Self::WrongType { found, expected } => write!(f, "expected {expected}, found {found}"),
            Self::Value(text) => f.write_str(text),
            Self::OutOfRange { value, allowed } => write!(f, "{value} is out of range: {allowed}"),
            Self::EmptyList => f.write_str("the list is empty"),
            Self::Order(order) => order.fmt(f),
            Self::Exclusive { first, second, .. } => write!(f, "`{first}` and `{second}` exclude each other"),
            Self::RepeatedBackend { name, first } => write!(f, "backend `{name}` is already in `{first}`"),
            Self::NotLoopback { address } => write!(f, "{address} is not a loopback address"),
            Self::NoTarget { backend } => write!(f, "backend `{backend}` has no target"),
        }?;
        self.remedy().map_or(Ok(()), |remedy| write!(f, "\n  {remedy}"))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, first_value, relation, second, second_value } = self;
        write!(f, "`{first}` ({first_value}) is {relation} `{second}` ({second_value})")
    }
}

/// Problems a line each, as `file:line:column: key: mistake`.
struct Listed<'a> {
    path: &'a PathBuf,
    problems: &'a [Problem],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            let line_break = if place == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}", self.path.display())?;
            if let Some(at) = problem.at {
                write!(f, ":{}:{}", at.line, at.column)?;
            }
            if !problem.key.is_empty() {
                write!(f, ": {}", problem.key)?;
            }
            write!(f, ": {}", problem.mistake)?;
        }
        Ok(())
    }
}
