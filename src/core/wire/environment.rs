//! What HAProxy says of a variable of its environment.

use crate::core::log::log_format::words::Variable;

/// Reads the answer to `show env NAME`: `NAME=value`, which may have lines (seen on HAProxy 2.6 to 3.2).
pub(crate) fn variable(name: &str, answer: &str) -> Variable {
    let answer = answer.strip_suffix("\n\n").unwrap_or(answer);
    let value = answer.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
    match value {
        Some(value) => Variable::Is(value.to_owned()),
        None if answer.contains("Variable not found") => Variable::Unset,
        None => Variable::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_value_or_is_not_there() {
        assert_eq!(variable("W", "W=40\n\n"), Variable::Is("40".to_owned()));
        assert_eq!(variable("W", "W=a\n\nb=c \n\n"), Variable::Is("a\n\nb=c ".to_owned()));
        assert_eq!(variable("W", "W=\n\n"), Variable::Is(String::new()));
        assert_eq!(variable("W", "Variable not found\n\n"), Variable::Unset);
        assert_eq!(variable("W", "[3]: Variable not found\n\n"), Variable::Unset);
        assert_eq!(variable("W", "what?\n\n"), Variable::Unknown);
    }
}
