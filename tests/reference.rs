//! HAProxy's own formats, read fast and read slowly: both say the same of every line, whole, cut or damaged.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use support::reference;

mod support;

fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines");
    let mut logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let text: Vec<u8> = logs.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    let lines = text.split(|&byte| byte == b'\n').chain(OLD.iter().map(|line| line.as_bytes()));
    lines.map(<[u8]>::to_vec).collect()
}

/// As the manuals of HAProxy 1.1 and 1.2 have them, and tcplog in CLF, which is younger than the fixtures.
const OLD: [&str; 6] = [
    r#"10.1.2.3:33320 [15/Oct/2003:08:32:17] web s1 9/7/14/30 200 243 SID=a b SID=c ---- 2/3 {h} "GET / HTTP/1.0""#,
    r#"10.1.2.3:33320 [15/Oct/2003:08:32:17] web s1 9/7/14/30 502 243 - - PH-- 2/3 "GET /a? HTTP/1.0""#,
    r#"10.1.2.3:33320 [15/Oct/2003:08:32:17] web s1 9/1/7/14/30 200 243 A=b C=d ---- 9/2/3 0/9 {h} {} "HEAD / HTTP/1.0" "#,
    "10.1.2.3:33320 [15/Oct/2003:08:32:17] web s1 0/0/5007 0 cD 0/1/2 0/0",
    "10.1.2.3:33320 [15/Oct/2003:08:32:17] web s1 0/5007 0 cD 1/2",
    r#"::1 - - [21/Nov/2026:09:49:23 +0000] "TCP " 000 69 "" "" 51868 668 "fe~" "db" "d1" 0 1 2 1002 53 sD-- 9 8 7 6 +5 4 3 "" "" "#,
];

#[test]
fn both_readings_agree_on_the_lines_of_a_real_haproxy() {
    let lines = fixtures();
    lines.iter().for_each(|line| reference::check(line));
    let read = lines.iter().filter(|line| reference::read(line).is_some()).count();
    assert!(read * 2 > lines.len(), "{read} of {} without a header are read slowly", lines.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn both_readings_agree_on_damaged_lines(
        line in prop::sample::select(fixtures()),
        damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), b' '..=b':', Just(b'"')], 0u8..4), 0..5
        ),
        other in prop::sample::select(fixtures()),
    ) {
        let mut line = line;
        for (at, byte, how) in damage {
            let at = at.index(line.len().max(1));
            match how {
                0 if at < line.len() => line[at] = byte,
                1 => line.insert(at, byte),
                2 if at < line.len() => drop(line.remove(at)),
                // The end of another line.
                _ => {
                    line.truncate(at);
                    line.extend_from_slice(other.get(at..).unwrap_or_default());
                }
            }
        }
        reference::check(&line);
    }
}
