//! Prints an error with its causes; the only place that does.

use std::error::Error;
use std::io::Write;

/// `a: b: c`: the error, then each cause. A cause whose text its effect ends with is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Prints `error: ...` to standard error. If nobody can read that (a closed pipe, a full disk), the exit
/// code still tells.
pub fn print(error: &str) {
    let _ = writeln!(std::io::stderr(), "error: {error}");
}

/// Prints `warning: ...` there: what does not keep a command from being done.
pub fn warn(warning: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {warning}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_their_effects() {
        let error = Outer(std::io::Error::other("no key"));
        assert_eq!(chain(&error), "cannot open the door: no key");
    }
}
