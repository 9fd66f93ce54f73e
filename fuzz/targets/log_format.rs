//! A log-format and lines: it is refused at a place in it, or compiled; then nothing is read that a reading by
//! trying everything refuses, what is certain is so in every reading, and what it writes reads back.
#![no_main]

use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::log_format::{CompiledFormat, reference};
use haproxy_autoscale::core::log::parser::LineParser;
use haproxy_autoscale_fuzz::reference::check_request;
use haproxy_autoscale_fuzz::{first_line, lines};
use libfuzzer_sys::fuzz_target;

/// Longer ones can be read in too many ways to try them all.
const MOST_TRIED: usize = 60;

fuzz_target!(|input: &[u8]| {
    let Some((text, log)) = first_line(input) else { return };
    let values: Vec<&[u8]> = lines(log).collect();
    if let Err(difference) = reference::check_rendered(text, &values) {
        panic!("`{text}`: {difference}");
    }
    for line in values.iter().filter(|line| line.len() <= MOST_TRIED).take(4) {
        if let Err(difference) = reference::check_line(text, line) {
            panic!("`{text}`: {difference}");
        }
    }
    match CompiledFormat::new(text) {
        Ok(format) => {
            let mut parser = LineParser::new(LineFormat::Compiled(Box::new(format)));
            for line in values {
                if let Line::Request(request) = parser.read(line) {
                    check_request(&request, line);
                }
            }
        }
        Err(error) => assert!(error.position <= text.len(), "{error}: `{text}`"),
    }
});
