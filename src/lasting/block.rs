//! The managed block of a backend: the server lines between two lines of comment.
//!
//! In: the text of haproxy.cfg, and how the servers of a backend should stand. Out: the text with the
//! server lines of the block as they should be; everything outside of it, and every other line in it, is as it
//! was, byte for byte. Servers that were added at run time and serve have lines at its end, which go when they do.
//!
//! ```text
//! backend app
//!     balance roundrobin
//!     # BEGIN haproxy-autoscale app
//!     server s1 10.0.0.1:80 check
//!     server s2 10.0.0.2:80 check disabled
//!     # END haproxy-autoscale app
//! ```

use super::added;
use super::declared::{Line, Lines, Section};
use super::line::{ServerLine, Wanted};
use super::slots::{self, SlotError};
use crate::core::controller::{BackendStanding, ServerStanding};
use crate::core::log::log_format::words::Variable;
use crate::provider::default_server;

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
    /// Only HAProxy knows which lines of it hold.
    #[error(
        "line {line}: `{word}` within the block of `{backend}`: only HAProxy knows which of its servers are meant; \
         put the servers that are to be scaled into the block without it, and the others outside"
    )]
    Conditional {
        /// Whose block.
        backend: String,
        /// Where.
        line: usize,
        /// `.if` and the like.
        word: String,
    },
    /// A line would say more than HAProxy was told.
    #[error(transparent)]
    Inherits(#[from] Inherits),
    /// It cannot get more slots.
    #[error(transparent)]
    Slots(#[from] SlotError),
}

/// Servers that were added would be others after a reload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "servers that were added to `{backend}` cannot be written down: `default-server` would give their lines `{option}`, which they do not have; say `default_server: {{ haproxy_cfg: FILE }}` in its `spares`"
)]
pub struct Inherits {
    /// Whose servers.
    pub backend: String,
    /// What they would get.
    pub option: String,
}

/// Whether the lines of added servers would say in `text`, a configuration, what HAProxy was told.
///
/// # Errors
/// They would get more from a `default-server`.
pub(super) fn check_added(text: &str, standing: &BackendStanding) -> Result<(), Inherits> {
    let Some(keywords) = standing.servers.iter().find_map(ServerStanding::added) else { return Ok(()) };
    // Only which options there are matters, not their values.
    let inherits = |option: String| Inherits { backend: standing.backend.clone(), option };
    let words = default_server::keywords(text, &standing.backend, &|_| Variable::Unset);
    let words = words.map_err(|untold| inherits(format!("what line {} says", untold.line)))?;
    let words = words.unwrap_or_default();
    added::inherited(&words, keywords).map_or(Ok(()), |option| Err(inherits(option.to_owned())))
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
    check_added(&String::from_utf8_lossy(text), standing)?;
    let text = &*slots::grown(text, standing)?;
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
            Some(Marker::End) if is_open => {
                ended = true;
                edited.extend(missing_lines(&line, standing, &mut found));
            }
            Some(Marker::End) => {}
            None if is_open && condition(&line).is_some() => {
                let word = condition(&line).unwrap_or_default().to_owned();
                return Err(BlockError::Conditional { backend: backend.clone(), line: number, word });
            }
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
            let declared = standing.servers.iter().filter(|server| server.added().is_none());
            let names = declared.map(|server| server.server.clone());
            Ok(Edited { text: edited, without_line: names.filter(|name| !found.contains(name)).collect() })
        }
    }
}

/// The word of a line that makes others hold or not (configuration manual 2.4).
fn condition<'a>(line: &'a Line<'_>) -> Option<&'a str> {
    let word = line.words.first()?.text.as_str();
    matches!(word, ".if" | ".elif" | ".else" | ".endif").then_some(word)
}

/// Lines of servers that were added and serve, and have none; `end` is the line that ends the block.
fn missing_lines(end: &Line<'_>, standing: &BackendStanding, found: &mut Vec<String>) -> Vec<u8> {
    let indent = String::from_utf8_lossy(end.indent());
    let mut lines = String::new();
    for server in standing.servers.iter().filter(|server| server.disabled == Some(false)) {
        if let Some(keywords) = server.added().filter(|_| !found.contains(&server.server)) {
            lines.push_str(&added::line(&indent, server, keywords, end.settings.disables));
            found.push(server.server.clone());
        }
    }
    lines.into_bytes()
}

/// A line in the block as it should be.
fn server_line(
    line: &Line<'_>,
    standing: &BackendStanding,
    before: Option<&BackendStanding>,
    found: &mut Vec<String>,
) -> Vec<u8> {
    let Some(read) = ServerLine::read(line.bytes) else { return line.bytes.to_vec() };
    let server = server(standing, read.name());
    // It is gone, or in MAINT before it goes. On its way there its line stays: it may come back.
    let is_gone = server.is_none_or(|server| server.added().is_some() && server.disabled == Some(true));
    if is_gone && added::is_marked(line.bytes) {
        return Vec::new();
    }
    let Some(server) = server else { return line.bytes.to_vec() };
    found.push(server.server.clone());
    let before = before.and_then(|before| self::server(before, read.name()));
    // What stands there for a slot that is to come is what comes.
    if server.to_come_like().is_some() {
        return line.bytes.to_vec();
    }
    if before.is_some_and(|before| wanted(before) == wanted(server)) {
        return line.bytes.to_vec();
    }
    read.edited(line.bytes, &wanted(server), line.settings.disables)
}

fn server<'a>(standing: &'a BackendStanding, name: &str) -> Option<&'a ServerStanding> {
    standing.servers.iter().find(|server| server.server == name)
}

/// What its line should say.
pub(super) fn wanted(server: &ServerStanding) -> Wanted {
    Wanted {
        disabled: server.disabled,
        weight: server.weight,
        unsaid_weight: server.initial_weight,
        address: server.address.map(|address| (address, server.port)),
    }
}

/// A line around a block.
pub(super) enum Marker {
    /// Before it.
    Begin,
    /// Behind it.
    End,
}

/// `# BEGIN haproxy-autoscale BACKEND` or its end, with any blanks around its words.
pub(super) fn marker(line: &[u8], backend: &str) -> Option<Marker> {
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
    use super::super::testing;
    use super::*;
    use crate::core::controller::Origin;
    use crate::core::settings::spares::Keywords;
    use crate::core::units::Weight;
    use proptest::prelude::*;

    fn standing(servers: Vec<ServerStanding>) -> BackendStanding {
        BackendStanding { backend: "app".to_owned(), servers }
    }

    fn server(name: &str, disabled: Option<bool>, weight: Option<u16>) -> ServerStanding {
        let server = testing::server(name, disabled, 1, "-");
        ServerStanding { weight: weight.and_then(Weight::new), ..server }
    }

    fn added(address: &str, disabled: Option<bool>) -> ServerStanding {
        let keywords = Keywords::new("check maxconn 50").unwrap();
        let name = format!("dyn-{}", address.replace(':', "-"));
        ServerStanding { origin: Origin::Added(keywords), ..testing::server(&name, disabled, 1, address) }
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

    #[test]
    fn a_slot_is_written_down_with_the_address_it_has() {
        let block = BLOCK.replace("10.0.0.2:80", "127.0.0.1:1");
        let slot =
            ServerStanding { origin: Origin::Slot, ..testing::server("s2", Some(false), 1, "10.0.0.9:81") };
        let edited = edit(block.as_bytes(), &standing(vec![slot]), None).unwrap();
        let expected = block.replace("127.0.0.1:1 check disabled", "10.0.0.9:81 check");
        assert_eq!(String::from_utf8(edited.text).unwrap(), expected);
    }

    #[test]
    fn servers_that_were_added_have_a_line_while_they_serve() {
        let edited = |text: &str, servers| {
            let edited = edit(text.as_bytes(), &standing(servers), None).unwrap();
            assert_eq!(edited.without_line, [""; 0]);
            String::from_utf8(edited.text).unwrap()
        };
        let line = "    server dyn-10.0.0.4-80 10.0.0.4:80 check maxconn 50 # added by haproxy-autoscale\n";
        let with_line = BLOCK.replace("    # END", &format!("{line}    # END"));
        let at = |disabled| vec![added("10.0.0.4:80", disabled)];
        assert_eq!(edited(BLOCK, at(Some(false))), with_line);
        assert_eq!(edited(&with_line, at(Some(false))), with_line, "a second time");
        // On its way in, or out.
        assert_eq!(edited(BLOCK, at(None)), BLOCK);
        assert_eq!(edited(&with_line, at(None)), with_line);
        // Gone.
        assert_eq!(edited(&with_line, at(Some(true))), BLOCK);
        assert_eq!(edited(&with_line, vec![]), BLOCK);
    }

    #[test]
    fn a_server_that_a_default_server_would_change_is_not_written_down() {
        let block = BLOCK.replace("    balance", "    default-server check ssl\n    balance");
        let error = edit(block.as_bytes(), &standing(vec![added("10.0.0.4:80", Some(false))]), None);
        let expected = Inherits { backend: "app".to_owned(), option: "ssl".to_owned() };
        assert_eq!(error, Err(expected.into()));
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
