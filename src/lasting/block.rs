//! The managed block of a backend: the server lines between two lines of comment.
//!
//! In: the text of haproxy.cfg, and how the servers of a backend should stand. Out: the text with the
//! server lines of the block as they should be; everything outside of it, and every other line in it, is as it
//! was, byte for byte.
//!
//! ```text
//! backend app
//!     balance roundrobin
//!     # BEGIN haproxy-autoscale app
//!     server s1 10.0.0.1:80 check
//!     server s2 10.0.0.2:80 check disabled
//!     # END haproxy-autoscale app
//! ```

use super::declared::{Line, Lines, Section};
use super::line::{ServerLine, Wanted};
use crate::core::controller::{BackendStanding, ServerStanding};

/// What both markers begin with, behind `# BEGIN` and `# END`.
const WHOSE: &str = "haproxy-autoscale";

/// Why a block cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not there.
    #[error("there is no line `# BEGIN {WHOSE} {0}` before the servers of the backend")]
    NoBegin(String),
    /// It never ends, or a section begins in it.
    #[error(
        "line {line}: the block of `{backend}` has no line `# END {WHOSE} {backend}` before its section ends"
    )]
    NoEnd {
        /// Whose block.
        backend: String,
        /// Where it begins.
        line: usize,
    },
    /// There are two.
    #[error("line {line}: the block of `{backend}` is there twice")]
    Twice {
        /// Whose block.
        backend: String,
        /// The second one.
        line: usize,
    },
    /// It stands elsewhere.
    #[error(
        "line {line}: the block of `{backend}` does not stand in `backend {backend}` or `listen {backend}`"
    )]
    Elsewhere {
        /// Whose block.
        backend: String,
        /// Where it begins.
        line: usize,
    },
}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole text.
    pub text: Vec<u8>,
    /// Servers of the backend without a line in the block: nothing of theirs is kept.
    pub without_line: Vec<String>,
}

/// `text` with the block of the backend as `standing` says. Lines of servers that stand as they did `before` are left
/// as they are: what somebody has written there meanwhile, for a reload to come, is kept.
///
/// # Errors
/// The block is not there, or not as it has to be.
pub fn edit(
    text: &[u8],
    standing: &BackendStanding,
    before: Option<&BackendStanding>,
) -> Result<Edited, BlockError> {
    let backend = &standing.backend;
    let mut edited = Vec::with_capacity(text.len() + 64);
    let mut found: Vec<String> = Vec::new();
    let (mut begun, mut ended) = (None, false);
    for (number, line) in (1..).zip(Lines::new(text)) {
        let is_open = begun.is_some() && !ended;
        if is_open && line.begins {
            break;
        }
        match marker(line.bytes, backend) {
            Some(Marker::Begin) if begun.is_some() => {
                return Err(BlockError::Twice { backend: backend.clone(), line: number });
            }
            Some(Marker::Begin) if line.section != Section::Proxy(backend.clone()) => {
                return Err(BlockError::Elsewhere { backend: backend.clone(), line: number });
            }
            Some(Marker::Begin) => begun = Some(number),
            Some(Marker::End) => ended |= is_open,
            None if is_open => {
                edited.extend(server_line(&line, standing, before, &mut found));
                continue;
            }
            None => {}
        }
        edited.extend_from_slice(line.bytes);
    }
    match begun {
        None => Err(BlockError::NoBegin(backend.clone())),
        Some(line) if !ended => Err(BlockError::NoEnd { backend: backend.clone(), line }),
        Some(_) => {
            let names = standing.servers.iter().map(|server| server.server.clone());
            Ok(Edited { text: edited, without_line: names.filter(|name| !found.contains(name)).collect() })
        }
    }
}

/// A line in the block as it should be.
fn server_line(
    line: &Line<'_>,
    standing: &BackendStanding,
    before: Option<&BackendStanding>,
    found: &mut Vec<String>,
) -> Vec<u8> {
    let Some(read) = ServerLine::read(line.bytes) else { return line.bytes.to_vec() };
    let Some(server) = server(standing, read.name()) else { return line.bytes.to_vec() };
    found.push(server.server.clone());
    let before = before.and_then(|before| self::server(before, read.name()));
    if before.is_some_and(|before| wanted(before) == wanted(server)) {
        return line.bytes.to_vec();
    }
    read.edited(line.bytes, &wanted(server), line.settings.disables)
}

fn server<'a>(standing: &'a BackendStanding, name: &str) -> Option<&'a ServerStanding> {
    standing.servers.iter().find(|server| server.server == name)
}

fn wanted(server: &ServerStanding) -> Wanted {
    Wanted {
        disabled: server.disabled,
        weight: server.weight,
        unsaid_weight: server.initial_weight,
        address: server.address.map(|address| (address, server.port)),
    }
}

enum Marker {
    Begin,
    End,
}

/// `# BEGIN haproxy-autoscale BACKEND` or its end, with any blanks around its words.
fn marker(line: &[u8], backend: &str) -> Option<Marker> {
    let line = std::str::from_utf8(line).ok()?.trim().strip_prefix('#')?;
    let mut words = line.split_ascii_whitespace();
    let marker = match words.next()? {
        "BEGIN" => Marker::Begin,
        "END" => Marker::End,
        _ => return None,
    };
    (words.next() == Some(WHOSE) && words.next() == Some(backend) && words.next().is_none()).then_some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::Weight;
    use proptest::prelude::*;

    fn standing(servers: Vec<ServerStanding>) -> BackendStanding {
        BackendStanding { backend: "app".to_owned(), servers }
    }

    fn server(name: &str, disabled: Option<bool>, weight: Option<u16>) -> ServerStanding {
        let weight = weight.and_then(Weight::new);
        ServerStanding {
            server: name.to_owned(),
            disabled,
            weight,
            current_weight: Weight::ONE,
            initial_weight: Weight::ONE,
            is_out: disabled != Some(false),
            address: None,
            port: 0,
        }
    }

    const BLOCK: &str = "\
backend app
    balance roundrobin
    # BEGIN haproxy-autoscale app
    server s1 10.0.0.1:80 check
    # the second
    server s2 10.0.0.2:80 check disabled
    # END haproxy-autoscale app
    server s3 10.0.0.3:80 disabled
";

    #[test]
    fn servers_in_the_block_stand_as_they_do_and_others_are_told() {
        let standing = standing(vec![
            server("s1", Some(true), Some(1)),
            server("s2", Some(false), Some(20)),
            server("s3", Some(false), Some(1)),
        ]);
        let edited = edit(BLOCK.as_bytes(), &standing, None).unwrap();
        let expected = BLOCK
            .replace("10.0.0.1:80 check", "10.0.0.1:80 check disabled")
            .replace("10.0.0.2:80 check disabled", "10.0.0.2:80 check weight 20");
        assert_eq!(String::from_utf8(edited.text).unwrap(), expected);
        assert_eq!(edited.without_line, ["s3"]);
    }

    #[test]
    fn what_somebody_wrote_for_a_server_that_has_not_changed_stays() {
        let before = standing(vec![server("s1", Some(false), Some(1)), server("s2", Some(true), Some(1))]);
        let after = standing(vec![server("s1", Some(false), Some(1)), server("s2", Some(false), Some(1))]);
        let written = BLOCK.replace("10.0.0.1:80 check", "10.0.0.1:80 check weight 50");
        let edited = edit(written.as_bytes(), &after, Some(&before)).unwrap();
        let expected = written.replace("10.0.0.2:80 check disabled", "10.0.0.2:80 check");
        assert_eq!(String::from_utf8(edited.text).unwrap(), expected);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = edit(text.as_bytes(), &standing(vec![]), None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_block_that_is_not_as_it_has_to_be_is_refused_with_its_line() {
        check_error(
            "backend app\n",
            "there is no line `# BEGIN haproxy-autoscale app` before the servers of the backend",
        );
        check_error(
            "# BEGIN haproxy-autoscale app\n",
            "line 1: the block of `app` does not stand in `backend app` or `listen app`",
        );
        let cut = BLOCK.replace("    # END haproxy-autoscale app\n", "");
        let no_end =
            "line 3: the block of `app` has no line `# END haproxy-autoscale app` before its section ends";
        check_error(&cut, no_end);
        check_error(&format!("{cut}backend b\n# END haproxy-autoscale app\n"), no_end);
        check_error(&format!("{BLOCK}{}", &BLOCK[12..]), "line 10: the block of `app` is there twice");
    }

    /// Names and options that try to be taken for something else.
    fn line() -> impl Strategy<Value = (String, String)> {
        let names = ["s1", "weight", "disabled", "server", "a:b", "-", "END", "x.y_z"];
        let options = prop::sample::select(vec![
            "check",
            "weight 5",
            "disabled",
            "enabled",
            "cookie disabled",
            "cookie weight",
            "track weight/disabled",
            "'disabled'",
            "maxconn\t50",
            "sni str(\\#)",
            "weight 0  ",
        ]);
        let comment = prop::sample::select(vec!["", " # disabled weight 3", "\t#END haproxy-autoscale app"]);
        (0..names.len(), prop::collection::vec(options, 0..5), comment).prop_map(
            move |(name, options, comment)| {
                let name = names[name].to_owned();
                (name.clone(), format!("\tserver  {name} 10.0.0.1:80 {}{comment}\n", options.join(" ")))
            },
        )
    }

    proptest! {
        #[test]
        fn outside_of_the_block_no_byte_changes_and_inside_it_says_what_is_wanted(
            before in prop::collection::vec(any::<u8>(), 0..200),
            after in prop::collection::vec(any::<u8>(), 0..200),
            lines in prop::collection::vec(line(), 0..6),
            states in prop::collection::vec((any::<Option<bool>>(), prop::option::of(0u16..=256)), 8),
        ) {
            let head = [&before[..], b"\nbackend app\n # BEGIN haproxy-autoscale app\n"].concat();
            let tail = [b"#  END haproxy-autoscale app\n", &after[..]].concat();
            let inside: String = lines.iter().map(|(_, line)| line.as_str()).collect();
            let text = [&head[..], inside.as_bytes(), &tail[..]].concat();
            let servers: Vec<_> = ["s1", "weight", "disabled", "server", "a:b", "-", "END", "x.y_z"]
                .iter().zip(&states).map(|(name, &(disabled, weight))| self::server(name, disabled, weight)).collect();
            let standing = standing(servers);
            let edited = edit(&text, &standing, None).unwrap().text;
            prop_assert!(edited.starts_with(&head) && edited.ends_with(&tail));
            prop_assert_eq!(&edit(&edited, &standing, None).unwrap().text, &edited, "a second time");
            let new = &edited[head.len()..edited.len() - tail.len()];
            let new: Vec<&[u8]> = new.split_inclusive(|&byte| byte == b'\n').collect();
            prop_assert_eq!(new.len(), lines.len());
            for ((name, old), new) in lines.iter().zip(new) {
                let wanted = super::server(&standing, name).unwrap();
                let (old, new) = (ServerLine::read(old.as_bytes()).unwrap(), ServerLine::read(new).unwrap());
                prop_assert_eq!((new.name(), new.address()), (old.name(), old.address()));
                prop_assert_eq!(new.options(), old.options());
                let disabled = wanted.disabled.or(old.disabled()).unwrap_or(false);
                prop_assert_eq!(new.disabled().unwrap_or(false), disabled);
                let weight = wanted.weight.or(old.weight()).unwrap_or(Weight::ONE);
                prop_assert_eq!(new.weight().unwrap_or(Weight::ONE), weight);
            }
        }

        #[test]
        fn nothing_that_may_stand_in_a_file_causes_a_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = edit(&text, &standing(vec![self::server("s1", Some(true), Some(3))]), None);
            let text = [b"backend app\n#BEGIN haproxy-autoscale app\nserver s1 ", &text[..]].concat();
            let _ = edit(&text, &standing(vec![self::server("s1", Some(true), Some(3))]), None);
        }
    }
}
