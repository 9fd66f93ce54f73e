//! Lines inside JSON, as Docker and journald wrap them: the same is read as of the line alone, and nothing of
//! the line before is left.
#![no_main]

use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::parser::LineParser;
use haproxy_autoscale_fuzz::lines;
use haproxy_autoscale_fuzz::reference::{Said, fields_of};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fn said(parser: &mut LineParser, line: &[u8]) -> Said {
    match parser.read(line) {
        Line::Request(request) => Said::Request(fields_of(&request)),
        Line::Message(_) => Said::Message,
        Line::Unparsed(error) => {
            assert!(error.offset <= line.len(), "{error}: {}", line.escape_ascii());
            Said::Unparsed
        }
    }
}

fuzz_target!(|log: &[u8]| {
    let mut used = LineParser::new(LineFormat::Auto);
    for line in lines(log) {
        let alone = said(&mut LineParser::new(LineFormat::Auto), line);
        assert_eq!(said(&mut used, line), alone, "{}", line.escape_ascii());
        // What is wrapped already, or ends like a line, would be another line inside.
        if line.starts_with(b"{") || line.ends_with(b"\r") || line.is_empty() {
            continue;
        }
        let mut wrapped = vec![json!({"__CURSOR": "s=1", "MESSAGE": line, "_PID": "7"})];
        if let Ok(text) = std::str::from_utf8(line) {
            wrapped.push(
                json!({"log": format!("{text}\n"), "stream": "stdout", "time": "2026-11-21T09:36:03Z"}),
            );
            wrapped.push(json!({"__CURSOR": "s=1", "MESSAGE": text}));
        }
        for wrapped in wrapped {
            let wrapped = wrapped.to_string();
            assert_eq!(said(&mut used, wrapped.as_bytes()), alone, "{wrapped}");
        }
    }
});
