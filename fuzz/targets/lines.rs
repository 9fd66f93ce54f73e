//! Lines in HAProxy's own formats: all that is read is what a slow reading by regular expressions says, each
//! single format reads what `auto` does, a known header changes nothing, and a line that was cut says nothing
//! that the whole one does not.
#![no_main]

use haproxy_autoscale_fuzz::reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| reference::check(line));
