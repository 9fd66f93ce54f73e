//! The answer to [`Command::TryKeywords`](super::command::Command::TryKeywords).

use super::command::NO_KEYWORD;
use super::response::{Refusal, without_severity};

/// What HAProxy said against the keywords; `None` if it takes them all, or has not looked at them.
pub fn refused(answer: &str) -> Option<String> {
    let said = answer.lines().take_while(|line| !line.is_empty());
    // It may warn of others first.
    let last = without_severity(said.last()?);
    let is_taken = last.starts_with(&format!("unknown keyword '{NO_KEYWORD}'"));
    let is_about_keywords = matches!(Refusal::of_change(last), Refusal::Keyword(_) | Refusal::Other(_));
    (is_about_keywords && !is_taken).then(|| last.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keyword_that_haproxy_does_not_take_is_told() {
        let check = |answer: &str, expected: Option<&str>| {
            let answer = format!("{answer}\n\nRunning as admin\n\n");
            assert_eq!(refused(&answer).as_deref(), expected, "{answer}");
        };
        check("unknown keyword '?'.", None);
        check("[3]: unknown keyword '?'.", None);
        check("Keyword 'enabled' is ignored for dynamic servers.\nunknown keyword '?'.", None);
        let check_is_kept = "'no-check' option is not accepted for dynamic server";
        check(check_is_kept, Some(check_is_kept));
        check("unknown keyword 'init-state'.", Some("unknown keyword 'init-state'"));
        check("'ca-file' : unable to load /nothing.", Some("'ca-file' : unable to load /nothing"));
        check("Permission denied", None);
        check("Already exists a server with the same name in backend.", None);
        assert_eq!(refused(""), None);
    }
}
