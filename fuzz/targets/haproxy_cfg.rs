//! HAProxy's configuration, and lines behind a form feed: formats are found or refused at lines that are there,
//! comments change nothing, and every line is one thing.
#![no_main]

use haproxy_autoscale::core::log::format::{Line, LineFormat};
use haproxy_autoscale::core::log::format_set::FormatSet;
use haproxy_autoscale::core::log::haproxy_cfg;
use haproxy_autoscale_fuzz::lines;
use haproxy_autoscale_fuzz::reference::check_request;
use libfuzzer_sys::fuzz_target;

fn read(text: &str) -> FormatSet {
    haproxy_cfg::read(text, &|name| (name == "KNOWN").then(|| "fe \"be\" $x".to_owned()))
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == 0x0C);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let formats = read(text);
    let last = text.lines().count();
    for refused in formats.refused() {
        assert!((1..=last).contains(&refused.line), "{refused}: {text}");
    }
    let commented = read(&format!("# frontend x\n{text}\n  # log-format %b\n"));
    assert_eq!(
        (commented.len(), commented.refused().len()),
        (formats.len(), formats.refused().len()),
        "{text}"
    );
    if formats.is_empty() {
        return;
    }
    let mut format = LineFormat::Set(Box::new(formats));
    for line in parts.next().into_iter().flat_map(lines) {
        match format.read(line) {
            Line::Request(request) => check_request(&request, line),
            Line::Message(_) => {}
            Line::Unparsed(error) => assert!(error.offset <= line.len(), "{error}: {}", line.escape_ascii()),
        }
    }
});
