//! The short way through a line against the long way, line by line of a whole log.
#![no_main]

use haproxy_autoscale_fuzz::{lines, short_way};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|log: &[u8]| {
    let lines: Vec<Vec<u8>> = lines(log).map(<[u8]>::to_vec).collect();
    short_way::check(&lines);
});
