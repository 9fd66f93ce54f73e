//! Servers that others stand in for, as the reason of a decision.

use std::fmt::{Display, Formatter, Result};

/// Servers in service that are DOWN by their checks, and as many that take their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The names of those that are DOWN.
    pub servers: Vec<String>,
    /// The names of the others.
    pub stand_ins: Vec<String>,
}

impl Display for Replacement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (servers, stand_ins) = (Listed(&self.servers), Listed(&self.stand_ins));
        match self.servers.len() {
            1 => write!(f, "{servers} is DOWN by its check: {stand_ins} takes its place"),
            _ => write!(f, "{servers} are DOWN by their checks: {stand_ins} take their places"),
        }
    }
}

/// `s1`, `s1 and s2`, `s1, s2 and s3`.
struct Listed<'a>(&'a [String]);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            [] => Ok(()),
            [one] => f.write_str(one),
            [rest @ .., last] => write!(f, "{} and {last}", rest.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(servers: &[&str], stand_ins: &[&str], expected: &str) {
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let replacement = Replacement { servers: named(servers), stand_ins: named(stand_ins) };
        assert_eq!(replacement.to_string(), expected);
    }

    #[test]
    fn each_server_is_named() {
        check(&["s1"], &["s4"], "s1 is DOWN by its check: s4 takes its place");
        check(
            &["s1", "s2"],
            &["s4", "s5"],
            "s1 and s2 are DOWN by their checks: s4 and s5 take their places",
        );
        check(
            &["s1", "s2", "s3"],
            &["s4", "s5", "s6"],
            "s1, s2 and s3 are DOWN by their checks: s4, s5 and s6 take their places",
        );
    }
}
