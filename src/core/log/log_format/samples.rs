//! What a sample expression, `%[fetch,converter,...]`, tells, and what its value can look like.
//!
//! HAProxy writes the value of a sample without any encoding (seen on HAProxy 2.6.12 and 3.5-dev5), so
//! an expression that is not known here may give any bytes at all. Known are those that give a field of
//! a line, those whose value is a number or an address, and the converters that encode.

use super::items::{Meaning, Target, foreign, number, own};
use super::nodes::Flags;
use super::shape::{Bytes, Shape};
use crate::core::log::field::Field;

/// What `expression` means.
pub(super) fn meaning(expression: &str, flags: Flags) -> Meaning {
    let mut parts = split(expression);
    let fetch = parts.next().unwrap_or_default();
    let converters: Vec<&str> = parts.map(name_of).collect();
    let of_fetch = fetch_meaning(fetch, flags);
    match converters.as_slice() {
        [] => of_fetch,
        ["json"] => json(of_fetch.target, flags),
        [.., "json"] => json(Target::Nothing, flags),
        [.., last] => converted(last, flags),
    }
}

/// A sample's value is a text whatever it is made of, so it is always in quotes under `+Q`.
fn fetch_meaning(fetch: &str, flags: Flags) -> Meaning {
    if let Some(field) = number_field(fetch) {
        return number(Target::Field(field), flags);
    }
    match fetch {
        "be_name" => own(Target::Field(Field::Backend), Shape::name(), flags),
        "srv_name" => own(Target::Field(Field::Server), Shape::name(), flags),
        "fe_name" => own(Target::Field(Field::Frontend), Shape::name(), flags),
        "src" => own(Target::Field(Field::ClientIp), Shape::address(), flags),
        "txn.sess_term_state" => {
            let shape = Shape::Run(Bytes::of(|byte| byte == b'-' || byte.is_ascii_alphabetic()), 1);
            own(Target::Field(Field::TerminationState), shape, flags)
        }
        "capture.req.method" | "method" => foreign(Target::Field(Field::Method), method(), flags),
        "capture.req.ver" => {
            foreign(Target::Field(Field::HttpVersion), Shape::plain_word_with_slash(), flags)
        }
        // No blank can be in it, but a quote can: it is not encoded.
        "capture.req.uri" | "url" | "pathq" => foreign(Target::Field(Field::Path), no_blank(), flags),
        "path" => foreign(Target::Nothing, no_blank(), flags),
        "dst" | "fc_src" | "fc_dst" | "bc_src" | "bc_dst" => own(Target::Nothing, Shape::address(), flags),
        "ssl_fc_protocol" | "ssl_fc_cipher" | "ssl_bc_protocol" | "ssl_bc_cipher" | "hostname" => {
            own(Target::Nothing, Shape::plain_word(), flags)
        }
        _ if is_number(name_of(fetch)) => number(Target::Nothing, flags),
        _ => foreign(Target::Nothing, Shape::raw(), flags),
    }
}

/// Timer fetches are there since HAProxy 2.9 (configuration manual 7.3.1).
fn number_field(fetch: &str) -> Option<Field> {
    Some(match fetch {
        "req.timer.tq" => Field::Tq,
        "req.timer.hdr" => Field::TR,
        "req.timer.queue" => Field::Tw,
        "bc.timer.connect" => Field::Tc,
        "res.timer.hdr" => Field::Tr,
        "txn.timer.total" => Field::Ta,
        "fc.timer.total" => Field::Tt,
        "status" | "txn.status" => Field::Status,
        "src_port" => Field::ClientPort,
        _ => return None,
    })
}

/// Fetches whose value is a number, or a boolean, which is written as 0 or 1; by name or by its beginning.
fn is_number(fetch: &str) -> bool {
    const NAMES: [&str; 27] = [
        "int",
        "bool",
        "rand",
        "date",
        "accept_date",
        "request_date",
        "nbproc",
        "nbthread",
        "proc",
        "pid",
        "uptime",
        "queue",
        "avg_queue",
        "connslots",
        "nbsrv",
        "be_id",
        "fe_id",
        "so_id",
        "srv_id",
        "bytes_in",
        "bytes_out",
        "fc_err",
        "fc_http_major",
        "bc_http_major",
        "ssl_fc",
        "ssl_bc",
        "last_rule_line",
    ];
    const BEGINNINGS: [&str; 24] = [
        "sc_",
        "sc0_",
        "sc1_",
        "sc2_",
        "src_",
        "fc_rtt",
        "fc_retrans",
        "fc_reordering",
        "fc_lost",
        "fc_unacked",
        "fc_sacked",
        "fc_fackets",
        "fc_glitches",
        "fc_nb_streams",
        "bc_rtt",
        "bc_glitches",
        "bc_nb_streams",
        "req.timer.",
        "res.timer.",
        "fc.timer.",
        "bc.timer.",
        "txn.timer.",
        "table_",
        "be_conn",
    ];
    const ENDINGS: [&str; 8] =
        ["_port", "_err", "_ca_err", "_is_resumed", "_conn", "_sess_rate", "_rate", "_use_keysize"];
    NAMES.contains(&fetch)
        || BEGINNINGS.iter().any(|beginning| fetch.starts_with(beginning))
        || ENDINGS.iter().any(|ending| fetch.ends_with(ending))
}

/// What the last converter makes of whatever it gets.
fn converted(converter: &str, flags: Flags) -> Meaning {
    let run = |is_in: fn(u8) -> bool| Shape::Run(Bytes::of(is_in), 0);
    match converter {
        "hex" => foreign(Target::Nothing, run(|byte| byte.is_ascii_hexdigit() || byte == b'-'), flags),
        "base64" | "ub64enc" => {
            let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
            foreign(Target::Nothing, Shape::Run(Bytes::of(is_in), 0), flags)
        }
        "url_enc" => {
            let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%!*'();:@&=+$,/?".contains(&byte);
            foreign(Target::Nothing, Shape::Run(Bytes::of(is_in), 0), flags)
        }
        "ltime" | "utime" | "ms_ltime" | "ms_utime" | "us_ltime" | "us_utime" | "http_date" => {
            own(Target::Nothing, Shape::encoded(), flags)
        }
        "ipmask" => own(Target::Nothing, Shape::address(), flags),
        "length" | "crc32" | "crc32c" | "djb2" | "sdbm" | "wt6" | "xxh32" | "xxh64" | "xxh3" | "add"
        | "sub" | "mul" | "div" | "mod" | "neg" | "and" | "or" | "xor" | "cpl" | "bool" | "not" | "odd"
        | "even" | "strcmp" | "secure_memcmp" | "be2dec" => number(Target::Nothing, flags),
        _ => foreign(Target::Nothing, Shape::raw(), flags),
    }
}

fn json(target: Target, flags: Flags) -> Meaning {
    let mut meaning = foreign(target, Shape::Escaped, flags);
    meaning.writing.has_backslashes = true;
    meaning
}

/// A token, as HAProxy's own HTTP parser demands.
fn method() -> Shape {
    Shape::Run(Bytes::of(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)), 0)
}

fn no_blank() -> Shape {
    Shape::Run(Bytes::of(|byte| byte > b' ' && byte != 0x7F), 0)
}

/// A fetch or converter without its arguments.
fn name_of(part: &str) -> &str {
    part.split('(').next().unwrap_or_default().trim()
}

/// Splits at commas that stand in no parentheses and no quotes.
fn split(expression: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quote) = (0_usize, None);
    expression
        .split(move |character: char| {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(character),
                (None, '(') => depth += 1,
                (None, ')') => depth = depth.saturating_sub(1),
                (None, ',') => return depth == 0,
                _ => {}
            }
            false
        })
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, target: Target, is_raw: bool) {
        let found = meaning(expression, Flags::default());
        assert_eq!((found.target, found.shape.is_raw()), (target, is_raw), "{expression}");
    }

    #[test]
    fn an_expression_is_known_by_its_fetch_and_its_last_converter() {
        check("be_name", Target::Field(Field::Backend), false);
        check("be_name,lower", Target::Nothing, true);
        check("txn.timer.total", Target::Field(Field::Ta), false);
        check("txn.timer.total,div(1000)", Target::Nothing, false);
        check("capture.req.uri,json(utf8s)", Target::Field(Field::Path), false);
        check("capture.req.hdr(0),map(\"a,b\"),json", Target::Nothing, false);
        check("capture.req.hdr(0)", Target::Nothing, true);
        check("date,ltime(%Y-%m-%d %H:%M:%S)", Target::Nothing, false);
        check("fc_rttvar", Target::Nothing, false);
        check("var(txn.a)", Target::Nothing, true);
        check("", Target::Nothing, true);
    }
}
