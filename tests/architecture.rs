//! The rules of which part may know which, checked by reading `src/`.
//!
//! What is compiled for tests only is not looked at, nor are comments: a doc comment may link
//! onwards, code may not. Each rule is held against a bad example as well, so that a rule which
//! sees nothing does not pass for one that is kept.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// The stages of the core in the order of the road; a stage may name those before it.
/// What is below all of them comes first.
const STAGES: [&[&str]; 6] =
    [&["names", "settings", "units"], &["log"], &["estimate"], &["policy"], &["plan"], &["wire"]];

/// What the core knows nothing of: runtimes, sockets, files, the environment, clocks.
const NOT_IN_CORE: [(&str, &str); 6] = [
    (
        r"\b(tokio|tracing|tracing_subscriber|serde|serde_json|serde_yaml)::",
        "the core knows no runtime, no log and no format",
    ),
    (
        r"\b(nix|axum|reqwest|rustls|linemux|clap|prometheus_client|sd_notify)::",
        "the core knows nothing outside",
    ),
    (r"\bstd::(fs|io|env|process|thread|os)\b", "the core touches no files, no environment and no threads"),
    (
        r"\b(TcpStream|TcpListener|UdpSocket|UnixStream|UnixDatagram|ToSocketAddrs)\b",
        "the core knows no sockets",
    ),
    (r"\b(Instant::now|SystemTime|UNIX_EPOCH)\b|\.elapsed\(\)", "the core has no clock: time is an argument"),
    (r"\b(println|eprintln|print|eprint|dbg)!", "the core prints nothing"),
];

/// Everything but the tests of a file; more is two files.
const MOST_LINES: usize = 520;

#[test]
fn the_rules_are_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let sources: Vec<Source> = files.iter().map(|path| Source::read(&root, path)).collect();
    let for_tests: Vec<Vec<String>> = sources.iter().flat_map(Source::test_modules).collect();
    let is_for_tests = |source: &Source| for_tests.iter().any(|module| source.module.starts_with(module));
    let looked_at: Vec<&Source> = sources.iter().filter(|source| !is_for_tests(source)).collect();
    assert!(!for_tests.is_empty() && looked_at.len() > 50, "{} of {} files", looked_at.len(), sources.len());
    let broken: Vec<Broken> = looked_at.iter().flat_map(|source| source.broken()).collect();
    assert!(broken.is_empty(), "{} rules broken:\n{}", broken.len(), told(&broken));
}

#[test]
fn the_lints_that_watch_with_us_are_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, line) in [
        ("Cargo.toml", "unsafe_code = \"forbid\""),
        ("src/core/mod.rs", "#![cfg_attr(not(test), deny(clippy::disallowed_methods))]"),
    ] {
        let text = fs::read_to_string(root.join(file)).expect("it is part of the source");
        assert!(text.lines().any(|found| found == line), "{file} has no line `{line}`");
    }
}

#[test]
fn the_core_is_told_apart_from_the_world() {
    check("core/log/http.rs", "use tokio::sync::mpsc;", "core/log/http.rs:2: the core knows no runtime");
    check("core/controller.rs", "let now = Instant::now();", "the core has no clock");
    check("core/controller.rs", "if since.elapsed() > limit {", "the core has no clock");
    check("core/wire/stat.rs", "use std::{collections::BTreeMap, fs};", "the core touches no files");
    check("core/plan/planner.rs", "println!(\"{plan}\");", "the core prints nothing");
    check("core/plan/planner.rs", "use std::net::{IpAddr, TcpStream};", "the core knows no sockets");
    check("core/plan/planner.rs", "use std::net::IpAddr;", "");
    check("core/plan/planner.rs", "let limit = 3; // Instant::now() would be wrong", "");
    check("haproxy/client.rs", "use tokio::net::UnixStream;", "");
}

#[test]
fn a_stage_may_name_the_stages_before_it_only() {
    check("core/log/sample.rs", "use crate::core::names::ServerId;", "");
    check("core/policy/machine.rs", "use super::super::estimate::snapshot::Snapshot;", "");
    check("core/policy/machine.rs", "use super::decision::Decision;", "");
    check("core/controller.rs", "use super::{log::sample::Sample, wire::command::Command};", "");
    check(
        "core/log/http.rs",
        "use crate::core::estimate::window::Window;",
        "core::log may not name core::estimate",
    );
    check(
        "core/plan/step.rs",
        "use crate::core::{\n    names::ServerId,\n    wire,\n};",
        "core::plan may not name core::wire",
    );
    check("core/log/mod.rs", "use super::policy::decision::Decision;", "core::log may not name core::policy");
    check("core/log/http.rs", "let it: super::super::plan::Plan = x;", "core::log may not name core::plan");
    check("core/units.rs", "use super::log::sample::Sample;", "core::units may not name core::log");
    check(
        "core/wire/stat.rs",
        "use crate::core::controller::Controller;",
        "core::wire may not name core::controller",
    );
    check("core/log/sample.rs", "/// See [`Window`](crate::core::estimate::window::Window).", "");
}

#[test]
fn what_is_outside_points_inwards() {
    check("core/units.rs", "use crate::config::duration;", "core may not name config");
    check("config/check.rs", "use crate::core::settings::Target;", "");
    check("config/check.rs", "use crate::haproxy::client::Client;", "config may not name haproxy");
    check("haproxy/client.rs", "use crate::agent::Agent;", "haproxy may not name agent");
    check(
        "telemetry/status.rs",
        "use crate::{core::units::Weight, cli::Output};",
        "telemetry may not name cli",
    );
    check("input/file.rs", "let x = super::super::cli::run();", "input may not name cli");
    check("provider/spare.rs", "use crate::demo::server::SmallServer;", "provider may not name demo");
    check("agent.rs", "use crate::{config::Config, haproxy::client::Client};", "");
    check("cli/run.rs", "use crate::agent::Agent;", "");
}

#[test]
fn a_file_says_what_it_is_and_stays_small() {
    let told = |source: &str| told(&Source::new("input/file.rs", source).broken());
    assert_eq!(told("use std::io;"), "input/file.rs:1: a file opens with what it is: `//! ...`");
    let long = format!("//! Long.\n{}", "fn x() {}\n".repeat(MOST_LINES));
    assert_eq!(told(&long), "input/file.rs:521: a file without its tests has at most 520 lines");
    assert_eq!(told(&long.replacen("fn x() {}\n", "#[cfg(test)]\nmod tests {\n", 1)), "");
}

#[test]
fn a_panic_has_its_reason_beside_it() {
    check(
        "input/file.rs",
        "let n = text.parse().unwrap();",
        "input/file.rs:2: say in a comment why it cannot panic",
    );
    check(
        "input/file.rs",
        "let n = text\n    .parse()\n    .expect(\"a number\");",
        "input/file.rs:4: say in a comment",
    );
    check("input/file.rs", "// Three digits, checked above.\nlet n = text.parse().unwrap();", "");
    check("input/file.rs", "// Three digits, checked above.\nlet n = text\n    .parse()\n    .unwrap();", "");
    check("input/file.rs", "let n = text.parse().unwrap_or(0);", "");
    check("input/file.rs", "#[cfg(test)]\nmod tests {\n    text.parse().unwrap()\n}", "");
}

/// `code` in a file `name` breaks the rule that is told by a line containing `wanted`; no rule if that is empty.
#[track_caller]
fn check(name: &str, code: &str, wanted: &str) {
    let told = told(&Source::new(name, &format!("//! A file.\n{code}\n")).broken());
    let as_wanted = if wanted.is_empty() { told.is_empty() } else { told.contains(wanted) };
    assert!(as_wanted, "{name}: {code}\n  wanted: {wanted}\n   found: {told}");
}

fn told(broken: &[Broken]) -> String {
    broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the source is readable") {
        let path = entry.expect("a folder of the source is readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// A rule that is not kept.
struct Broken {
    file: String,
    /// 1-based.
    line: usize,
    rule: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// A source file without its tests and comments; its lines keep their numbers.
struct Source {
    /// Below `src`, such as `core/log/http.rs`.
    name: String,
    /// Such as `core`, `log`, `http`; empty for the crate's root.
    module: Vec<String>,
    /// As it is, up to the tests.
    lines: Vec<String>,
    /// `lines` without their comments.
    code: String,
    /// The paths it names, with their lines, as [`used`] finds them.
    used: Vec<(usize, String)>,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let name = path.strip_prefix(root).expect("found below it").to_string_lossy();
        Self::new(&name, &fs::read_to_string(path).expect("a source file is readable text"))
    }

    fn new(name: &str, text: &str) -> Self {
        static TESTS: LazyLock<Regex> =
            LazyLock::new(|| ours(r"(?m)^#\[cfg\(test\)\]\n(?:#\[.*\n)*mod \w+ \{"));
        let end = TESTS.find(text).map_or(text.len(), |tests| tests.start());
        let lines: Vec<String> = text[..end].lines().map(str::to_owned).collect();
        let code: Vec<&str> = lines.iter().map(|line| without_comment(line)).collect();
        let module = name.trim_end_matches(".rs").split('/').map(str::to_owned);
        let module = module.filter(|part| !matches!(part.as_str(), "mod" | "lib" | "main")).collect();
        let code = code.join("\n");
        Self { name: name.to_owned(), module, used: used(&code), code, lines }
    }

    /// Modules in files of their own that are compiled for tests only.
    fn test_modules(&self) -> Vec<Vec<String>> {
        static DECLARED: LazyLock<Regex> =
            LazyLock::new(|| ours(r"(?m)^#\[cfg\(test\)\]\n(?:#\[.*\n)*(?:pub(?:\(.*\))? )?mod (\w+);"));
        let names = DECLARED.captures_iter(&self.code).map(|declared| declared[1].to_owned());
        names.map(|name| [&self.module[..], &[name]].concat()).collect()
    }

    fn broken(&self) -> Vec<Broken> {
        let mut broken = Vec::from_iter(self.shape());
        broken.extend(self.panics());
        if self.is_in(&["core"]) {
            broken.extend(self.core_purity());
        }
        for (line, path) in self.named() {
            broken.extend(self.layer_rule(&path).map(|rule| self.broken_at(line, rule)));
            broken.extend(self.stage_rule(&path).map(|rule| self.broken_at(line, rule)));
        }
        broken
    }

    fn shape(&self) -> Option<Broken> {
        if !self.lines.first().is_some_and(|line| line.starts_with("//!")) {
            return Some(self.broken_at(1, "a file opens with what it is: `//! ...`".to_owned()));
        }
        let is_long = self.lines.len() > MOST_LINES;
        is_long.then(|| {
            self.broken_at(
                self.lines.len(),
                format!("a file without its tests has at most {MOST_LINES} lines"),
            )
        })
    }

    /// An `unwrap` or `expect` stands in a statement that has a comment directly above it or in it.
    fn panics(&self) -> Vec<Broken> {
        let mut has_reason = false;
        let mut broken = Vec::new();
        for (n, (line, code)) in self.lines.iter().zip(self.code.lines()).enumerate() {
            let comment = &line[code.len()..];
            has_reason |= comment.starts_with("// ");
            if !has_reason && (code.contains(".unwrap()") || code.contains(".expect(")) {
                broken.push(self.broken_at(n + 1, "say in a comment why it cannot panic".to_owned()));
            }
            let ends_statement = code.trim_end().ends_with([';', '}', '{']) || line.trim().is_empty();
            has_reason &= !ends_statement;
        }
        broken
    }

    fn core_purity(&self) -> Vec<Broken> {
        static RULES: LazyLock<[(Regex, &str); NOT_IN_CORE.len()]> =
            LazyLock::new(|| NOT_IN_CORE.map(|(pattern, rule)| (ours(pattern), rule)));
        let paths = self.used.iter().map(|(line, path)| (*line, format!("{path}::")));
        let lines = self.code.lines().map(str::to_owned).zip(1..).map(|(code, line)| (line, code));
        let mut found: Vec<(usize, &str)> = Vec::new();
        for (line, text) in paths.chain(lines) {
            found.extend(
                RULES.iter().filter(|(pattern, _)| pattern.is_match(&text)).map(|(_, rule)| (line, *rule)),
            );
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|(line, rule)| self.broken_at(line, rule.to_owned())).collect()
    }

    /// Between the parts of the crate: the core names nobody, `config` the core, and nobody but
    /// `agent` and `cli` names those two or the demo.
    fn layer_rule(&self, path: &[String]) -> Option<String> {
        let own = self.module.first()?;
        let other = path.first()?;
        let is_allowed = own == other
            || match own.as_str() {
                "agent" | "cli" => true,
                "core" => false,
                "config" => other == "core",
                _ => !matches!(other.as_str(), "agent" | "cli" | "demo"),
            };
        (!is_allowed).then(|| format!("{own} may not name {other}"))
    }

    /// Within the core.
    fn stage_rule(&self, path: &[String]) -> Option<String> {
        let ([core, own, ..], [other_core, other, ..]) = (&self.module[..], path) else {
            return None;
        };
        // `controller`, and what else stands beside the stages, comes after them all.
        let place =
            |name: &str| STAGES.iter().position(|stage| stage.contains(&name)).unwrap_or(STAGES.len());
        let is_upwards = core == "core" && other_core == "core" && place(other) > place(own);
        is_upwards.then(|| format!("core::{own} may not name core::{other}"))
    }

    /// All paths into this crate, from its root and without `crate`, with their lines.
    fn named(&self) -> Vec<(usize, Vec<String>)> {
        self.used.iter().filter_map(|(line, path)| Some((*line, self.resolved(path)?))).collect()
    }

    /// `crate::a::b` and `super::b` as [a, b]; `None` for paths that lead elsewhere.
    fn resolved(&self, path: &str) -> Option<Vec<String>> {
        let mut parts = path.split("::").peekable();
        let mut full = match *parts.peek()? {
            "crate" => Vec::new(),
            "super" | "self" => self.module.clone(),
            _ => return None,
        };
        for part in parts {
            match part {
                "crate" | "self" => {}
                "super" => drop(full.pop()),
                name => full.push(name.to_owned()),
            }
        }
        Some(full)
    }

    fn is_in(&self, module: &[&str]) -> bool {
        self.module.iter().zip(module).all(|(own, wanted)| own == wanted) && self.module.len() >= module.len()
    }

    fn broken_at(&self, line: usize, rule: String) -> Broken {
        Broken { file: self.name.clone(), line, rule }
    }
}

fn ours(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of ours")
}

/// All paths in `use` items, and those in the code that begin with `crate` or `super`, with their lines.
fn used(code: &str) -> Vec<(usize, String)> {
    static ITEM: LazyLock<Regex> = LazyLock::new(|| ours(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?use ([^;]+);"));
    static INLINE: LazyLock<Regex> = LazyLock::new(|| ours(r"\b(?:crate|super)(?:::\w+)+"));
    let line_at = |offset: usize| code[..offset].matches('\n').count() + 1;
    let mut used = Vec::new();
    for item in ITEM.captures_iter(code) {
        let tree = item.get(1).expect("it is not optional");
        let paths = expand(&tree.as_str().split_whitespace().collect::<String>());
        used.extend(paths.into_iter().map(|path| (line_at(tree.start()), path)));
    }
    used.extend(INLINE.find_iter(code).map(|path| (line_at(path.start()), path.as_str().to_owned())));
    used.sort();
    used.dedup();
    used
}

/// Up to `//`, unless that stands within a string, as in an address.
fn without_comment(line: &str) -> &str {
    let starts = line.match_indices("//").map(|(at, _)| at);
    let is_outside = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
    line.get(..starts.into_iter().find(is_outside).unwrap_or(line.len())).unwrap_or(line)
}

/// The paths of a `use` tree without blanks: `a::{b,c::{d,e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let mut depth = 0;
    let branches = inner.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let paths = branches.filter(|branch| !branch.is_empty()).flat_map(expand);
    paths.map(|path| format!("{prefix}{path}")).collect()
}
