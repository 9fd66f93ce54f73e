//! The state file: what is read of it is what is read of it again, once written.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use haproxy_autoscale::state_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let now = UNIX_EPOCH + Duration::from_secs(1_795_253_510);
    if let Ok(memory) = state_file::parse(text, now) {
        let written = state_file::render(&memory, now);
        assert_eq!(state_file::parse(&written, now).expect("our own"), memory);
    }
});
