//! A pool in a file: an address a line, and perhaps a name.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::core::plan::supply::Candidate;
use crate::core::wire::command::{Name, NameError};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No address that a server can have.
    #[error("`{0}` is not an IP address with a port, such as 10.0.0.4:80")]
    Address(String),
    /// No name that a server can have.
    #[error("not a server's name")]
    Name(#[from] NameError),
    /// More than an address and a name.
    #[error("`{0}` after the address and the name")]
    More(String),
    /// It was there before.
    #[error("`{0}` is there twice")]
    Twice(String),
}

/// The addresses in `text`.
///
/// # Errors
/// The first line that is not one, from 1.
pub(super) fn read(text: &str) -> Result<Vec<Candidate>, (usize, LineError)> {
    let (mut seen, mut candidates) = (HashSet::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next() else { continue };
        let candidate = candidate(address, words).map_err(|error| (number, error))?;
        if !seen.insert(candidate.address.to_string()) {
            return Err((number, LineError::Twice(candidate.address.to_string())));
        }
        if let Some(name) = candidate.name.as_ref().filter(|name| !seen.insert((*name).clone())) {
            return Err((number, LineError::Twice(name.clone())));
        }
        candidates.push(candidate);
    }
    Ok(candidates)
}

fn candidate<'a>(address: &str, mut rest: impl Iterator<Item = &'a str>) -> Result<Candidate, LineError> {
    let parsed: Option<SocketAddr> = address.parse().ok();
    let parsed = parsed.filter(|address| address.port() > 0 && !address.ip().is_unspecified());
    let address = parsed.ok_or_else(|| LineError::Address(shown(address)))?;
    let name = rest.next().map(Name::new).transpose()?.map(|name| name.to_string());
    match rest.next() {
        Some(more) => Err(LineError::More(shown(more))),
        None => Ok(Candidate { address, name, warm_up: None }),
    }
}

/// `text`, safe to be told.
fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address, and perhaps a name.
    type Found<'a> = (&'a str, Option<&'a str>);

    #[track_caller]
    fn check(text: &str, expected: Result<&[Found<'_>], (usize, LineError)>) {
        let found = read(text).map(|candidates| {
            let one = |candidate: Candidate| (candidate.address.to_string(), candidate.name);
            candidates.into_iter().map(one).collect::<Vec<_>>()
        });
        let one = |&(address, name): &Found<'_>| (address.to_owned(), name.map(str::to_owned));
        assert_eq!(found, expected.map(|all| all.iter().map(one).collect()), "{text:?}");
    }

    #[test]
    fn a_line_is_an_address_and_perhaps_a_name() {
        check(
            "# the pool\n10.0.0.4:80\n\n  [::1]:8080\tweb5  # warm\r\n",
            Ok(&[("10.0.0.4:80", None), ("[::1]:8080", Some("web5"))]),
        );
        check("", Ok(&[]));
    }

    #[test]
    fn a_line_that_is_none_is_told_with_its_number() {
        for text in ["10.0.0.4", "web4:80", "10.0.0.4:0", "0.0.0.0:80", "10.0.0.4:99999"] {
            check(&format!("10.0.0.3:80\n{text}"), Err((2, LineError::Address(text.to_owned()))));
        }
        let found = ';';
        let name = NameError::Forbidden { name: "a;b".to_owned(), found };
        check("10.0.0.4:80 a;b", Err((1, LineError::Name(name))));
        check("10.0.0.4:80 a check", Err((1, LineError::More("check".to_owned()))));
        check("10.0.0.4:80\n10.0.0.4:80 a", Err((2, LineError::Twice("10.0.0.4:80".to_owned()))));
        check("10.0.0.4:80 a\n10.0.0.5:80 a", Err((2, LineError::Twice("a".to_owned()))));
    }
}
