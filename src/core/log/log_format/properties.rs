//! What holds for every log-format and every line: no panic, no wrong field, and the same readings as a
//! reference that tries everything.

use proptest::prelude::*;

use super::{CompiledFormat, reference};
use crate::core::log::format::{Line, LineFormat};
use crate::core::log::parser::LineParser;

/// Pieces that log-formats are made of, good ones and bad ones.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "%b", "%s", "%Ta", "%Tr", "%ST", "%ci", "%cp", "%hr", "%r", "%CC", "%ts", "%HP", "%HQ", "%Ts", "%ms", "%hrl",
            "%[var(a)]", "%[capture.req.hdr(0),json]", "%{+Q}r", "%{+Q}s", "%{+E}r", "%{+Q,+E}[var(a)]", "%{+Q}CC", "%{+X}cp",
            "%{+Q}hrl", "%{+Q}Ta", "%tr", "%{+Q}hr", "%{+Q}hs", "%{+Q}cp", "%{+Q,+X}cp",
        ])
        .prop_map(str::to_owned),
        4 => prop::sample::select(vec![" ", "/", "|", ":", "\"", "x", "{", "}", "-", "=", "1", "  ", "a b"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "%{+Q}o ", "%{+json}o ", "%(a)b", "%", "%{", "%[", "%(", "'", "\\", "%%", "%q", "$A", "${HAPROXY_TCP_LOG_FMT}", "#",
        ])
        .prop_map(str::to_owned),
    ]
}

fn format_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..10).prop_map(|pieces| pieces.concat())
}

/// Short lines of the bytes that formats are made of, so that they collide with them.
fn line() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop::sample::select(b"ab1-/|:\"{} \\x=?+".to_vec()), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_a_format_or_refused(text in prop_oneof![format_text(), any::<String>()], lines in proptest::collection::vec(line(), 3)) {
        if let Ok(format) = CompiledFormat::new(&text) {
            let mut parser = LineParser::new(LineFormat::Compiled(Box::new(format)));
            for line in lines {
                let _ = parser.read(&line);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_line_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let format = r#"'%ci:%cp [%tr] %b/%s %Ta %hr "%[var(a)]" %{+E}r %CC %{+Q}hrl'"#;
        let mut parser = LineParser::new(LineFormat::Compiled(Box::new(CompiledFormat::new(format).unwrap())));
        let _ = parser.read(&bytes);
        let whole = [b"1.2.3.4:5 [21/Nov/2026:09:31:50.191] be/s1 12 ".as_slice(), &bytes].concat();
        if let Line::Request(line) = parser.read(&whole) {
            prop_assert_eq!((line.backend, line.server), (&b"be"[..], &b"s1"[..]));
        }
    }

    #[test]
    fn a_line_that_can_be_cut_up_in_very_many_ways_is_glanced_at(at in 0..3_usize) {
        let format = "%CC %CS %hrl %hs %hrl %hs VUUUUUU\x05%hs %CC %CS %hrl %hs %hrl rl %hs %hrl %hsl'";
        let line = b"hrl %hs VUUUUUU\x05%hs %CC %CS %hrl %hs %hrl rl %hs %hrl %hsl'";
        reference::check_line(format, &line[at..]).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn certain_values_are_those_of_every_reading(text in format_text(), line in line()) {
        reference::check_line(&text, &line).map_err(TestCaseError::fail)?;
    }

    /// Lines that the format does make, each value a text of few bytes.
    #[test]
    fn a_rendered_line_reads_back(text in format_text(), values in proptest::collection::vec(line(), 10)) {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        reference::check_rendered(&text, &values).map_err(TestCaseError::fail)?;
    }
}
