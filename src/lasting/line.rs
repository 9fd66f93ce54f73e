//! A `server` line of HAProxy's configuration: what it says, and the same line with other words.
//!
//! In: the bytes of a line. Out: the line with `disabled`, `weight` and address as they should be, every other byte
//! as it was. Variables stay as they are written.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use super::declared::Written;
use crate::core::settings::server_options::takes_value;
use crate::core::units::Weight;
use crate::haproxy::words::{Word, words};

/// What a `server` line says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerLine {
    /// All words: `server`, the name, the address, and the options.
    words: Vec<Word>,
    /// The places in `words` of `disabled` and `enabled`.
    flags: Vec<usize>,
    /// The places in `words` of `weight`; its value follows.
    weights: Vec<usize>,
}

/// What a server line should say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `None`: as it is.
    pub(super) disabled: Option<bool>,
    /// `None`: as it is.
    pub(super) weight: Option<Weight>,
    /// The weight that HAProxy started with: what a line without one stands for, or with a variable.
    pub(super) unsaid_weight: Weight,
    /// `None`: as it is. Only a line with a plain IP address is changed.
    pub(super) address: Option<(IpAddr, u16)>,
}

impl ServerLine {
    /// Reads `line`; `None` if it is no `server` line.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let words = words(line);
        if words.len() < 3 || words[0].text != "server" {
            return None;
        }
        let (mut flags, mut weights) = (Vec::new(), Vec::new());
        let mut at = 3;
        while let Some(word) = words.get(at) {
            match word.text.as_str() {
                "disabled" | "enabled" => flags.push(at),
                "weight" => weights.push(at),
                _ => {}
            }
            at += if takes_value(&word.text) { 2 } else { 1 };
        }
        Some(Self { words, flags, weights })
    }

    /// The server's name.
    pub(super) fn name(&self) -> &str {
        &self.words[1].text
    }

    /// Its address as it is written.
    pub(super) fn address(&self) -> &str {
        &self.words[2].text
    }

    /// What the line itself says; the last word wins.
    pub(super) fn disabled(&self) -> Option<bool> {
        self.flags.last().map(|&at| self.words[at].text == "disabled")
    }

    /// What the line itself says.
    pub(super) fn weight(&self) -> Option<Weight> {
        let value = self.words.get(self.weights.last()? + 1)?;
        value.text.parse().ok().and_then(Weight::new)
    }

    /// Its address and weight in the words of `line`, which this was read from.
    pub(super) fn written(&self, line: &[u8]) -> Written {
        let raw = |word: &Word| String::from_utf8_lossy(&line[word.at.clone()]).into_owned();
        let weight = self.weights.last().and_then(|&at| self.words.get(at + 1));
        Written { address: raw(&self.words[2]), weight: weight.map(raw) }
    }

    /// Everything but what may change at run time: the options without `disabled`, `enabled` and `weight`.
    pub(super) fn options(&self) -> Vec<&str> {
        let is_state = |at: usize| {
            self.flags.contains(&at) || self.weights.iter().any(|&weight| at == weight || at == weight + 1)
        };
        (3..self.words.len()).filter(|&at| !is_state(at)).map(|at| self.words[at].text.as_str()).collect()
    }

    /// `line`, which this was read from, as it should be. `is_disabled_by_default`: so says a `default-server`.
    pub(super) fn edited(&self, line: &[u8], wanted: &Wanted, is_disabled_by_default: bool) -> Vec<u8> {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        let mut added = String::new();
        if let Some(weight) = wanted.weight {
            match self.weights.last().and_then(|&at| self.words.get(at + 1)) {
                Some(_) if self.weight() == Some(weight) => {}
                // A variable, and nobody has changed what HAProxy made of it.
                Some(_) if self.weight().is_none() && weight == wanted.unsaid_weight => {}
                Some(value) => edits.push((value.at.clone(), weight.to_string())),
                None if weight == wanted.unsaid_weight => {}
                None => added.push_str(&format!(" weight {weight}")),
            }
        }
        let is_disabled = self.disabled().unwrap_or(is_disabled_by_default);
        if let Some(disabled) = wanted.disabled.filter(|&disabled| disabled != is_disabled) {
            edits.extend(self.flags.iter().map(|&at| (self.with_blank_before(at), String::new())));
            if disabled != is_disabled_by_default {
                added.push_str(if disabled { " disabled" } else { " enabled" });
            }
        }
        if let (Some(address), Some(written)) = (wanted.address, literal(self.address()))
            && written != address
        {
            edits.push((self.words[2].at.clone(), address_text(address)));
        }
        // `read` has seen three words.
        let end = self.words.last().map_or(line.len(), |word| word.at.end);
        edits.push((end..end, added));
        apply(line, edits)
    }

    /// The words of `line`, which this was read from, for another server at `address`: without what can be of one
    /// server only, and with its name for the value of its cookie.
    pub(super) fn renamed(&self, line: &[u8], name: &str, address: &str) -> Vec<u8> {
        let mut edits =
            vec![(self.words[1].at.clone(), name.to_owned()), (self.words[2].at.clone(), address.to_owned())];
        let mut at = 3;
        while let Some(word) = self.words.get(at) {
            let value = self.words.get(at + 1).filter(|_| takes_value(&word.text));
            match (word.text.as_str(), value) {
                ("id" | "guid", Some(value)) => {
                    edits.push((self.with_blank_before(at).start..value.at.end, String::new()));
                }
                ("cookie", Some(value)) => edits.push((value.at.clone(), name.to_owned())),
                _ => {}
            }
            at += if value.is_some() { 2 } else { 1 };
        }
        let end = self.words.last().map_or(line.len(), |word| word.at.end);
        let start = self.words[0].at.start;
        edits.extend([(0..start, String::new()), (end..line.len(), String::new())]);
        apply(line, edits)
    }

    /// The word at `at` and the blanks before it.
    fn with_blank_before(&self, at: usize) -> Range<usize> {
        self.words[at - 1].at.end..self.words[at].at.end
    }
}

/// `line` with each of the ranges, which do not overlap, replaced.
pub(super) fn apply(line: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut edited = Vec::with_capacity(line.len() + 16);
    let mut done = 0;
    for (range, text) in edits {
        edited.extend_from_slice(&line[done..range.start]);
        edited.extend_from_slice(text.as_bytes());
        done = range.end;
    }
    edited.extend_from_slice(&line[done..]);
    edited
}

/// A plain IP address with or without a port (0), as `server` takes it (configuration manual 5.2); `None` for
/// names, variables, unix sockets, and ports that are an offset.
pub(super) fn literal(address: &str) -> Option<(IpAddr, u16)> {
    let plain = ["ipv4@", "ipv6@", "ip@"].iter().find_map(|kind| address.strip_prefix(kind));
    let plain = plain.unwrap_or(address);
    if let Some(rest) = plain.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let port = if port.is_empty() { 0 } else { port.strip_prefix(':')?.parse().ok()? };
        return Some((ip.parse::<Ipv6Addr>().ok()?.into(), port));
    }
    // HAProxy takes what is behind the last colon for the port, in an IPv6 address too.
    match plain.rsplit_once(':') {
        Some((ip, port)) => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(())?;
            Some((ip.parse().ok()?, if port.is_empty() { 0 } else { port.parse().ok()? }))
        }
        None => Some((plain.parse().ok()?, 0)),
    }
}

/// `address` as a `server` line has it; port 0: none.
pub(super) fn address_text((ip, port): (IpAddr, u16)) -> String {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if port == 0 { ip } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(weight: u16) -> Weight {
        Weight::new(weight).unwrap()
    }

    fn wanted(disabled: bool, of: u16) -> Wanted {
        let address = Some(([10, 0, 0, 1].into(), 80));
        Wanted { disabled: Some(disabled), weight: Some(weight(of)), unsaid_weight: weight(1), address }
    }

    #[track_caller]
    fn check(line: &str, wanted: Wanted, is_disabled_by_default: bool, expected: &str) {
        let edited = |line: &str| {
            let read = ServerLine::read(line.as_bytes()).expect(line);
            String::from_utf8(read.edited(line.as_bytes(), &wanted, is_disabled_by_default)).unwrap()
        };
        assert_eq!(edited(line), expected);
        assert_eq!(edited(expected), expected, "a second time");
    }

    #[test]
    fn a_line_says_what_is_wanted_and_keeps_all_else() {
        check(
            "  server s 10.0.0.1:80 check\n",
            wanted(true, 1),
            false,
            "  server s 10.0.0.1:80 check disabled\n",
        );
        check(
            "server s 10.0.0.1:80 disabled check\r\n",
            wanted(false, 1),
            false,
            "server s 10.0.0.1:80 check\r\n",
        );
        check("server s 10.0.0.1:80 check", wanted(false, 7), false, "server s 10.0.0.1:80 check weight 7");
        check(
            "server s 10.0.0.1:80 weight 100  # ours",
            wanted(false, 7),
            false,
            "server s 10.0.0.1:80 weight 7  # ours",
        );
        check(
            "server s 10.0.0.1:80 weight 9\n",
            wanted(true, 9),
            false,
            "server s 10.0.0.1:80 weight 9 disabled\n",
        );
        for weight in ["\"${W}\"", "\"$W\""] {
            let line = format!("server s 10.0.0.1:80 weight {weight} check\n");
            check(&line, wanted(false, 1), false, &line);
            check(&line, wanted(false, 7), false, "server s 10.0.0.1:80 weight 7 check\n");
        }
        // What somebody else's `default-server` says.
        check("server s 10.0.0.1:80\n", wanted(true, 1), true, "server s 10.0.0.1:80\n");
        check("server s 10.0.0.1:80\n", wanted(false, 1), true, "server s 10.0.0.1:80 enabled\n");
        check("server s 10.0.0.1:80 enabled\n", wanted(true, 1), true, "server s 10.0.0.1:80\n");
        check("server s 10.0.0.1:80 disabled disabled\n", wanted(false, 1), false, "server s 10.0.0.1:80\n");
    }

    #[test]
    fn values_that_look_like_options_are_none() {
        let line = "server s 10.0.0.1:80 cookie disabled track weight/s";
        check(line, wanted(false, 1), false, line);
        check(
            "server s 10.0.0.1:80 cookie weight",
            wanted(true, 2),
            false,
            "server s 10.0.0.1:80 cookie weight weight 2 disabled",
        );
        check(
            "server s 10.0.0.1:80 'disabled' # disabled",
            wanted(false, 1),
            false,
            "server s 10.0.0.1:80 # disabled",
        );
        check("server disabled 10.0.0.1:80", wanted(true, 1), false, "server disabled 10.0.0.1:80 disabled");
    }

    #[test]
    fn only_plain_addresses_are_changed() {
        check("server s 192.0.2.1:1 check", wanted(false, 1), false, "server s 10.0.0.1:80 check");
        check("server s [::1]:1", wanted(false, 1), false, "server s 10.0.0.1:80");
        for address in ["web.example:80", "unix@/run/s.sock", "${WEB}:80", "10.0.0.9:+80"] {
            let line = format!("server s {address} check");
            check(&line, wanted(false, 1), false, &line);
        }
    }

    #[test]
    fn addresses_are_read_as_haproxy_does() {
        assert_eq!(literal("10.0.0.1:80"), Some(([10, 0, 0, 1].into(), 80)));
        assert_eq!(literal("ipv4@10.0.0.1"), Some(([10, 0, 0, 1].into(), 0)));
        assert_eq!(literal("ipv6@::1:80"), Some(("::1".parse().unwrap(), 80)));
        assert_eq!(literal("[::1]:80"), Some(("::1".parse().unwrap(), 80)));
        for text in ["", ":80", "web:80", "10.0.0.1:x", "10.0.0.1:99999", "[::1", "[::1]80"] {
            assert_eq!(literal(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_line_is_passed_over() {
        for line in [
            "",
            "server",
            "server s",
            "# server s 10.0.0.1:80",
            "server-template s 3 10.0.0.1:80",
            "use-server s if x",
        ] {
            assert_eq!(ServerLine::read(line.as_bytes()), None, "{line}");
        }
    }
}
