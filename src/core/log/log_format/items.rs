//! What each of HAProxy's `%` items tells, and what its value can look like.
//!
//! In: a name such as `Tr`, and its flags. Out: a [`Meaning`]. The names are those of the configuration
//! manual 8.2.6 up to HAProxy 3.5, and those of 1.5 that HAProxy 2.6 still takes. Which values are
//! encoded and which go through raw was seen on HAProxy 2.6.12 and 3.5-dev5.

use super::nodes::Flags;
use super::shape::Shape;
use crate::core::log::field::Field;

/// What an item tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A field of a line.
    Field(Field),
    /// When the connection was accepted, which with keep-alive is not when the request began.
    AcceptDate,
    /// Seconds since 1970 of the same moment.
    AcceptSeconds,
    /// The whole request line.
    RequestLine,
    /// The request's target up to its `?`.
    BarePath,
    /// What follows the `?` of the path, with it.
    Query,
    /// Nothing that a line of ours has.
    Nothing,
}

/// An item as a reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Meaning {
    pub(super) target: Target,
    pub(super) shape: Shape,
    /// How the value stands in the line.
    pub(super) writing: Writing,
    /// Its bytes come from a client or a server, so that they may look like anything of that shape.
    pub(super) is_foreign: bool,
}

/// How a value stands in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writing {
    /// In quotes.
    pub(super) is_quoted: bool,
    /// Quotes may be there or not.
    pub(super) may_be_quoted: bool,
    /// Backslashes in it are to be decoded.
    pub(super) has_backslashes: bool,
    /// The number is hexadecimal.
    pub(super) is_hex: bool,
}

/// Bytes of `21/Nov/2026:09:31:50.191`, and of `21/Nov/2026:09:31:50 +0000`.
const HAPROXY_DATE: usize = 24;
const CLF_DATE: usize = 26;

/// What `%name` means; `None` if HAProxy has no such item.
pub(super) fn meaning(name: &str, flags: Flags) -> Option<Meaning> {
    if let Some(field) = number_field(name) {
        return Some(number(Target::Field(field), flags));
    }
    Some(match name {
        "ci" | "Ci" => address(Target::Field(Field::ClientIp), flags),
        "fi" | "Fi" | "bi" | "Bi" | "si" | "Si" => address(Target::Nothing, flags),
        "cp" | "Cp" => port(Target::Field(Field::ClientPort), flags),
        "fp" | "Fp" | "bp" | "Bp" | "sp" | "Sp" | "rt" | "pid" => port(Target::Nothing, flags),
        "Th" | "Ti" | "Td" | "Tu" | "U" | "ms" | "lc" => number(Target::Nothing, flags),
        "Ts" if flags.hex => port(Target::Nothing, flags),
        "Ts" => number(Target::AcceptSeconds, flags),
        "tr" => date(Target::Field(Field::AcceptDate), HAPROXY_DATE),
        "t" => date(Target::AcceptDate, HAPROXY_DATE),
        "trg" | "trl" => date(Target::Field(Field::AcceptDate), CLF_DATE),
        "T" | "Tl" => date(Target::AcceptDate, CLF_DATE),
        "ts" => state(2),
        "tsc" => state(4),
        "b" => own(Target::Field(Field::Backend), Shape::name(), flags),
        "s" => own(Target::Field(Field::Server), Shape::name(), flags),
        "f" => own(Target::Field(Field::Frontend), Shape::name(), flags),
        "ft" => own(Target::Field(Field::Frontend), Shape::transport_name(), flags),
        "H" | "sslv" | "sslc" | "OG" => own(Target::Nothing, Shape::plain_word(), flags),
        "r" => foreign(Target::RequestLine, Shape::encoded(), flags),
        "HM" => foreign(Target::Field(Field::Method), Shape::word(), flags),
        "HU" => foreign(Target::Field(Field::Path), Shape::word(), flags),
        "HP" => foreign(Target::BarePath, Shape::word_but(b'?'), flags),
        "HQ" => foreign(Target::Query, Shape::Query, flags),
        "HPO" => foreign(Target::Nothing, Shape::word(), flags),
        "HV" => foreign(Target::Field(Field::HttpVersion), Shape::word(), flags),
        "hr" => captures(Target::Field(Field::RequestCaptures), flags),
        "hs" => captures(Target::Field(Field::ResponseCaptures), flags),
        "hrl" | "hsl" if flags.quotes => list(),
        "hrl" | "hsl" => foreign(Target::Nothing, Shape::encoded(), flags),
        "CC" | "cc" => foreign(Target::Field(Field::RequestCookie), Shape::raw(), flags),
        "CS" | "cs" => foreign(Target::Field(Field::ResponseCookie), Shape::raw(), flags),
        "ID" => foreign(Target::Nothing, Shape::raw(), flags),
        _ => return None,
    })
}

fn number_field(name: &str) -> Option<Field> {
    Some(match name {
        "Tq" => Field::Tq,
        "TR" => Field::TR,
        "Tw" => Field::Tw,
        "Tc" => Field::Tc,
        "Tr" => Field::Tr,
        "Ta" => Field::Ta,
        "Tt" => Field::Tt,
        "ST" | "st" => Field::Status,
        "B" => Field::Bytes,
        "ac" => Field::Actconn,
        "fc" => Field::Feconn,
        "bc" => Field::Beconn,
        "sc" => Field::SrvConn,
        "rc" => Field::Retries,
        "sq" => Field::SrvQueue,
        "bq" => Field::BackendQueue,
        _ => return None,
    })
}

/// Numbers stay bare under `+Q` (seen on HAProxy 2.6.12 and 3.5-dev5).
pub(super) fn number(target: Target, flags: Flags) -> Meaning {
    let writing = Writing { may_be_quoted: flags.quotes, ..Writing::default() };
    Meaning { target, shape: Shape::Number, writing, is_foreign: false }
}

fn port(target: Target, flags: Flags) -> Meaning {
    if !flags.hex {
        return number(target, flags);
    }
    let writing = Writing { may_be_quoted: flags.quotes, is_hex: true, ..Writing::default() };
    Meaning { target, shape: Shape::hex(), writing, is_foreign: false }
}

/// In hexadecimal an address is no text that anybody would look for.
fn address(target: Target, flags: Flags) -> Meaning {
    if flags.hex {
        return own(Target::Nothing, Shape::hex(), flags);
    }
    own(target, Shape::address(), flags)
}

fn date(target: Target, length: usize) -> Meaning {
    Meaning { target, shape: Shape::Date(length), writing: Writing::default(), is_foreign: false }
}

fn state(letters: usize) -> Meaning {
    let target = Target::Field(Field::TerminationState);
    Meaning { target, shape: Shape::State(letters), writing: Writing::default(), is_foreign: false }
}

/// A text from HAProxy or its configuration.
pub(super) fn own(target: Target, shape: Shape, flags: Flags) -> Meaning {
    Meaning { target, shape, writing: quoted(flags), is_foreign: false }
}

/// A text from outside.
pub(super) fn foreign(target: Target, shape: Shape, flags: Flags) -> Meaning {
    if !flags.escapes {
        return Meaning { target, shape, writing: quoted(flags), is_foreign: true };
    }
    let writing = Writing { has_backslashes: true, ..quoted(flags) };
    Meaning { target, shape: Shape::Escaped, writing, is_foreign: true }
}

fn captures(target: Target, flags: Flags) -> Meaning {
    let writing =
        Writing { may_be_quoted: flags.quotes, has_backslashes: flags.escapes, ..Writing::default() };
    Meaning { target, shape: Shape::Captures, writing, is_foreign: true }
}

fn list() -> Meaning {
    Meaning {
        target: Target::Nothing,
        shape: Shape::CaptureList,
        writing: Writing::default(),
        is_foreign: true,
    }
}

fn quoted(flags: Flags) -> Writing {
    Writing { is_quoted: flags.quotes, ..Writing::default() }
}
