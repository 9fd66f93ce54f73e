//! HAProxy's configuration line by line, for all who read it: words, variables, sections, branches, defaults.
//!
//! In: lines, in their order, and what is known of the environment HAProxy was started in. Out: of each line its
//! keyword, its words as HAProxy reads them, and the `.if` that it stands in, of which only HAProxy knows whether it
//! holds. Variables are those that the configuration itself has set by then (configuration manual 2.3 and 3.1); one
//! that it sets within an `.if`, or from others that are not known, is asked of the environment like any other.

use std::collections::HashMap;

use super::super::log_format::LogFormatError;
use super::super::log_format::words::{self, Environment, Variable, Word};

/// Words that begin a section (configuration manual 2.3 and the chapters it names).
pub(crate) const SECTIONS: [&str; 22] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "userlist",
    "resolvers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "log-profile",
    "mailers",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
    "dynamic-update",
    "stats-file",
    "healthcheck",
];

/// A line that says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigLine<'a> {
    /// Its number, from 1.
    pub number: usize,
    pub text: &'a str,
    pub keyword: &'a str,
    /// The line of the `.if` it stands in.
    pub branch: Option<usize>,
}

impl ConfigLine<'_> {
    /// It begins a section.
    pub(crate) fn is_section(&self) -> bool {
        SECTIONS.contains(&self.keyword)
    }
}

/// What the lines so far have brought about.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    number: usize,
    /// The lines of the `.if` that are open.
    branches: Vec<usize>,
    /// Set by the configuration itself.
    variables: HashMap<String, Variable>,
}

impl Lines {
    /// Takes the next line; `None` if it is empty, a comment, or only about branches and variables.
    pub(crate) fn take<'a>(&mut self, text: &'a str, environment: Environment<'_>) -> Option<ConfigLine<'a>> {
        self.number += 1;
        let keyword = text.split_ascii_whitespace().next().filter(|word| !word.starts_with('#'))?;
        match keyword {
            ".if" => self.branches.push(self.number),
            ".endif" => drop(self.branches.pop()),
            "setenv" | "presetenv" | "unsetenv" | "resetenv" => self.set(text, environment),
            _ => {
                let branch = self.branches.last().copied();
                return Some(ConfigLine { number: self.number, text, keyword, branch });
            }
        }
        None
    }

    /// The words of a line that was just taken.
    ///
    /// # Errors
    /// A quote is never closed, or a variable is not known.
    pub(crate) fn words(
        &self,
        line: &ConfigLine<'_>,
        environment: Environment<'_>,
    ) -> Result<Vec<Word>, LogFormatError> {
        words::split(line.text, &|name| self.known(name, environment))
    }

    fn known(&self, name: &str, environment: Environment<'_>) -> Variable {
        self.variables.get(name).cloned().unwrap_or_else(|| environment(name))
    }

    /// A variable from here on.
    fn set(&mut self, text: &str, environment: Environment<'_>) {
        let own = words::split(text, &|name| self.known(name, &|_| Variable::Unknown));
        let is_sure = self.branches.is_empty() && own.is_ok();
        // Which variables it is about is to be seen where their values are not.
        let all = own.or_else(|_| words::split(text, &|_| Variable::Unset)).unwrap_or_default();
        let all: Vec<&str> = all.iter().map(Word::text).collect();
        match all[..] {
            ["unsetenv", ref names @ ..] => {
                let gone = if is_sure { Variable::Unset } else { Variable::Unknown };
                names.iter().for_each(|name| self.put(name, &gone));
            }
            ["resetenv", ref kept @ ..] => self.variables.retain(|name, _| kept.contains(&name.as_str())),
            [_, name, ..] if !is_sure => self.put(name, &Variable::Unknown),
            ["setenv", name, value, ..] => self.put(name, &Variable::Is(value.to_owned())),
            ["presetenv", name, value, ..] if self.known(name, environment) == Variable::Unset => {
                self.put(name, &Variable::Is(value.to_owned()));
            }
            _ => {}
        }
    }

    /// One that the text does not tell is the environment's to tell.
    fn put(&mut self, name: &str, value: &Variable) {
        match value {
            Variable::Unknown => drop(self.variables.remove(name)),
            value => drop(self.variables.insert(name.to_owned(), value.clone())),
        }
    }
}

/// What the `defaults` sections so far have said, for the sections behind them (configuration manual 4.1).
#[derive(Debug, Default)]
pub(crate) struct Defaults<T> {
    last: T,
    named: HashMap<String, T>,
}

impl<T: Clone + Default> Defaults<T> {
    /// The `defaults` called `name` have ended.
    pub(crate) fn end(&mut self, name: &str, said: T) {
        self.named.insert(name.to_owned(), said.clone());
        self.last = said;
    }

    pub(crate) fn last(&self) -> &T {
        &self.last
    }

    /// What a section begins with, whose first line has these `words` behind its keyword.
    pub(crate) fn of(&self, keyword: &str, words: &[&str]) -> T {
        let from = words.iter().position(|&word| word == "from").and_then(|at| words.get(at + 1));
        match (from, keyword) {
            (Some(&from), _) => self.named.get(from).cloned().unwrap_or_default(),
            (None, "frontend" | "backend" | "listen") => self.last.clone(),
            // Without `from` defaults begin with HAProxy's own.
            (None, _) => T::default(),
        }
    }
}

/// The name of a section, whose first line has these `words` behind its keyword; empty if it has none.
pub(crate) fn name(words: &[&str]) -> String {
    words.first().filter(|&&name| name != "from").copied().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn haproxys(name: &str) -> Variable {
        match name {
            "THERE" => Variable::Is("there".to_owned()),
            "SECRET" => Variable::Unknown,
            _ => Variable::Unset,
        }
    }

    /// The last line of `text`, in its words.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut lines = Lines::default();
        let taken = text.lines().filter_map(|line| lines.take(line, &haproxys)).last().expect("a line");
        let words = lines.words(&taken, &haproxys);
        let words = words.map(|words| words.iter().map(Word::text).collect::<Vec<_>>().join(" "));
        assert_eq!(words.unwrap_or_else(|error| error.to_string()), expected, "{text}");
    }

    #[test]
    fn variables_are_as_the_lines_before_have_left_them() {
        check("setenv A 1\nsetenv B \"${A}2\"\nx \"$A\" \"$B\"", "x 1 12");
        check("presetenv THERE 1\npresetenv A 2\nx \"$THERE\" \"$A\"", "x there 2");
        check("setenv A 1\nunsetenv A THERE\nx \"${A-gone}\" \"${THERE-gone}\"", "x gone gone");
        check("setenv A 1\nsetenv B 2\nresetenv B\nx \"${A-gone}\" \"$B\"", "x gone 2");
    }

    #[test]
    fn what_the_text_does_not_tell_is_asked() {
        let unknown = "at byte 3: the environment variable `SECRET` is not known here";
        check("presetenv SECRET 1\nx \"$SECRET\"", unknown);
        check(".if 1\nsetenv SECRET 1\n.endif\nx \"$SECRET\"", unknown);
        check("setenv SECRET 1\nsetenv SECRET \"$THERE\"\nx \"$SECRET\"", unknown);
        check("setenv SECRET 1\n.if 1\nunsetenv SECRET\n.endif\nx \"$SECRET\"", unknown);
    }

    #[test]
    fn a_line_knows_the_branch_it_stands_in() {
        let mut lines = Lines::default();
        let text = "a\n.if 1\nb\n.if 2\nc\n.else\n# c\nd\n.endif\n.elif 3\ne\n.endif\nf";
        let taken = text.lines().filter_map(|line| lines.take(line, &haproxys));
        let taken: Vec<_> = taken.map(|line| (line.keyword, line.number, line.branch)).collect();
        let expected = [
            ("a", 1, None),
            ("b", 3, Some(2)),
            ("c", 5, Some(4)),
            (".else", 6, Some(4)),
            ("d", 8, Some(4)),
            (".elif", 10, Some(2)),
            ("e", 11, Some(2)),
            ("f", 13, None),
        ];
        assert_eq!(taken, expected);
    }
}
