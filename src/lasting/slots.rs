//! Server lines for slots that HAProxy does not have yet: as those of a slot that it has, but empty.
//!
//! In: the text of haproxy.cfg, and how the servers of a backend should stand. Out: the lines that it has not got. What
//! can be of one server only (`id`, `guid`, the value of its `cookie`) is not copied.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use super::block::{Marker, marker, wanted};
use super::declared::{Declared, Line, Lines, Section};
use super::line::{ServerLine, Wanted, address_text, apply, literal};
use crate::core::controller::{BackendStanding, ServerStanding};
use crate::haproxy::words::{Word, words};

/// No `server-template` has more servers.
const MOST_SERVERS: usize = 100_000;

/// Why slots cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Nobody knows what they are to have.
    #[error(
        "there is no line of `{server}` in `backend {backend}` that the lines of more slots could be made after"
    )]
    NothingLikeIt {
        /// Whose slots.
        backend: String,
        /// The slot that they are to be like.
        server: String,
    },
    /// What a template makes of it.
    #[error(
        "haproxy.cfg would have no line for the slot `{0}`; `{{{{ servers }}}}` or a loop over all servers makes one"
    )]
    Missing(String),
    /// It would be something else, or would get requests.
    #[error("the line of the slot `{slot}` in haproxy.cfg would not be `{address} ... disabled`")]
    Unlike {
        /// Its backend and name.
        slot: String,
        /// Where it is to be.
        address: String,
    },
}

/// Servers of `standing` that HAProxy does not have yet, with their backends.
pub(super) fn to_come(
    standing: &[BackendStanding],
) -> impl Iterator<Item = (&BackendStanding, &ServerStanding)> {
    let of = |backend| of_backend(backend).map(move |server| (backend, server));
    standing.iter().flat_map(of)
}

/// The names of those, with their backends: `app/t4`.
pub(super) fn names(standing: &[BackendStanding]) -> Vec<String> {
    to_come(standing).map(|(backend, server)| name(backend, server)).collect()
}

/// Those of one backend.
fn of_backend(standing: &BackendStanding) -> impl Iterator<Item = &ServerStanding> {
    standing.servers.iter().filter(|server| server.to_come_like().is_some())
}

/// `standing` without them.
pub(super) fn without(standing: &[BackendStanding]) -> Vec<BackendStanding> {
    let mut standing = standing.to_vec();
    for backend in &mut standing {
        backend.servers.retain(|server| server.to_come_like().is_none());
    }
    standing
}

/// Those that `text` has no line for, as `backend/server`.
pub(super) fn undeclared(text: &[u8], standing: &[BackendStanding]) -> Vec<String> {
    let mut to_come = to_come(standing).peekable();
    if to_come.peek().is_none() {
        return Vec::new();
    }
    let declared = Declared::read(text);
    let is_new = |(backend, server): &(&BackendStanding, &ServerStanding)| {
        declared.server(&backend.backend, &server.server).is_none()
    };
    to_come.filter(is_new).map(|(backend, server)| name(backend, server)).collect()
}

/// Whether they would be what they are meant to be with `text`: else they might get requests at once.
///
/// # Errors
/// One would not be.
pub(crate) fn check(text: &[u8], standing: &[BackendStanding]) -> Result<(), SlotError> {
    let mut to_come = to_come(standing).peekable();
    if to_come.peek().is_none() {
        return Ok(());
    }
    let declared = Declared::read(text);
    for (backend, server) in to_come {
        let line = declared.server(&backend.backend, &server.server);
        let line = line.ok_or_else(|| SlotError::Missing(name(backend, server)))?;
        let address = server.address.map(|address| (address, server.port));
        if literal(&line.address) != address || line.disabled == (server.disabled == Some(false)) {
            let address = address.map(address_text).unwrap_or_default();
            return Err(SlotError::Unlike { slot: name(backend, server), address });
        }
    }
    Ok(())
}

fn name(backend: &BackendStanding, server: &ServerStanding) -> String {
    format!("{}/{}", backend.backend, server.server)
}

/// `text` with lines for the slots that are to come, at the end of the block of their backend. Those of a
/// `server-template` in it get lines of their own, as their addresses would be lost with the reload that this takes.
///
/// # Errors
/// There is no line to go by.
pub(super) fn grown<'a>(text: &'a [u8], standing: &BackendStanding) -> Result<Cow<'a, [u8]>, SlotError> {
    let (missing, model) = missing(text, standing)?;
    if missing.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    let (mut grown, mut is_open) = (Vec::with_capacity(text.len() + 1024), false);
    for line in Lines::new(text) {
        match marker(line.bytes, &standing.backend) {
            Some(Marker::Begin) => is_open = true,
            Some(Marker::End) if std::mem::take(&mut is_open) => {
                let new = missing.iter().filter_map(|server| empty_line(&model, server, &line));
                grown.extend(new.flatten());
            }
            None if is_open => {
                grown.extend(of_template(&line, standing).unwrap_or_else(|| line.bytes.to_vec()));
                continue;
            }
            _ => {}
        }
        grown.extend_from_slice(line.bytes);
    }
    Ok(Cow::Owned(grown))
}

/// The slots that the section of the backend has no line for, and the line that theirs are made after.
fn missing<'a>(
    text: &[u8],
    standing: &'a BackendStanding,
) -> Result<(Vec<&'a ServerStanding>, Vec<u8>), SlotError> {
    let mut missing: Vec<&ServerStanding> = of_backend(standing).collect();
    let Some(like) = missing.first().and_then(|server| server.to_come_like()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let section = Section::Proxy(standing.backend.clone());
    let lines = Lines::new(text).filter(|line| line.section == section);
    let there: HashMap<String, Vec<u8>> = lines.flat_map(|line| server_lines(line.bytes)).collect();
    missing.retain(|server| !there.contains_key(&server.server));
    let nothing_like_it =
        || SlotError::NothingLikeIt { backend: standing.backend.clone(), server: like.to_owned() };
    let model = there.get(like).ok_or_else(nothing_like_it)?.clone();
    Ok((missing, model))
}

/// The lines that the servers of a `server-template` would have; `None` if it is none, or of names that DNS resolves.
fn of_template(line: &Line<'_>, standing: &BackendStanding) -> Option<Vec<u8>> {
    let template = TemplateLine::read(line.bytes)?;
    literal(&template.words[3].text)?;
    let edited = |(name, bytes): (String, Vec<u8>)| {
        let server = standing.servers.iter().find(|server| server.server == name);
        match (server, ServerLine::read(&bytes)) {
            (Some(server), Some(read)) => read.edited(&bytes, &wanted(server), line.settings.disables),
            _ => bytes,
        }
    };
    Some(server_lines(line.bytes).into_iter().flat_map(edited).collect())
}

/// A `server` line for `server` after that of a `model`, to stand before the line that ends the block.
fn empty_line(model: &[u8], server: &ServerStanding, end: &Line<'_>) -> Option<Vec<u8>> {
    let address = server.address.map(|address| (address, server.port))?;
    let line = ServerLine::read(model)?.renamed(model, &server.server, &address_text(address));
    let wanted = Wanted {
        disabled: Some(server.disabled != Some(false)),
        weight: server.weight,
        unsaid_weight: server.initial_weight,
        address: None,
    };
    let line = ServerLine::read(&line)?.edited(&line, &wanted, end.settings.disables);
    Some([end.indent(), &line, b"\n"].concat())
}

/// The servers of a `server` line or a `server-template` with plain addresses, each with a `server` line for it.
pub(super) fn server_lines(line: &[u8]) -> Vec<(String, Vec<u8>)> {
    if let Some(server) = ServerLine::read(line) {
        return vec![(server.name().to_owned(), line.to_vec())];
    }
    let Some(template) = TemplateLine::read(line) else { return Vec::new() };
    let of = |number| (template.name(number), template.server(line, number));
    template.numbers.clone().take(MOST_SERVERS).map(of).collect()
}

/// What a `server-template` line says: servers, each of which could have a line like it.
struct TemplateLine {
    words: Vec<Word>,
    numbers: RangeInclusive<u32>,
}

impl TemplateLine {
    /// `None` if it is none. The number of servers, or the first and last number, stands behind the prefix.
    fn read(line: &[u8]) -> Option<Self> {
        let words = words(line);
        if words.len() < 4 || words[0].text != "server-template" {
            return None;
        }
        let numbers = match words[2].text.split_once('-') {
            Some((first, last)) => first.parse().ok()?..=last.parse().ok()?,
            None => 1..=words[2].text.parse().ok()?,
        };
        Some(Self { words, numbers })
    }

    fn name(&self, number: u32) -> String {
        format!("{}{number}", self.words[1].text)
    }

    /// `line`, which this was read from, for one of them.
    fn server(&self, line: &[u8], number: u32) -> Vec<u8> {
        let at =
            |from: usize, to: usize| -> Range<usize> { self.words[from].at.start..self.words[to].at.end };
        apply(line, vec![(at(0, 0), "server".to_owned()), (at(1, 2), self.name(number))])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::server;
    use super::*;
    use crate::core::controller::Origin;
    use crate::core::units::Weight;

    /// `app` with the servers that a test is about, and t4 and t5, which are to be like `like`.
    fn standing(like: &str, servers: Vec<ServerStanding>) -> BackendStanding {
        let new = ["t4", "t5"].map(|name| ServerStanding {
            origin: Origin::SlotToCome { like: like.to_owned() },
            ..server(name, Some(true), 1, "127.0.0.1:1")
        });
        BackendStanding { backend: "app".to_owned(), servers: servers.into_iter().chain(new).collect() }
    }

    fn filled(name: &str, address: &str) -> ServerStanding {
        ServerStanding { origin: Origin::Slot, ..server(name, Some(false), 1, address) }
    }

    fn in_block(lines: &str) -> String {
        let block = format!("  # BEGIN haproxy-autoscale app\n{lines}  # END haproxy-autoscale app\n");
        format!("backend app\n  balance first\n{block}backend b\n  server t4 10.0.0.1:80\n")
    }

    /// What becomes of a block with these `lines`; the same comes of it again.
    #[track_caller]
    fn check(like: &str, servers: Vec<ServerStanding>, lines: &str, expected: &str) {
        let (standing, text) = (standing(like, servers), in_block(lines));
        let grown = grown(text.as_bytes(), &standing).unwrap();
        assert_eq!(String::from_utf8_lossy(&grown), in_block(expected));
        assert!(matches!(self::grown(&grown, &standing).unwrap(), Cow::Borrowed(_)), "a second time");
        let all = [standing];
        super::check(&grown, &all).unwrap();
        assert_eq!((undeclared(text.as_bytes(), &all), undeclared(&grown, &all)), (names(&all), vec![]));
    }

    #[test]
    fn new_slots_have_what_the_last_one_has_but_what_can_be_its_own_only() {
        let line = "    server t3 10.0.0.3:80 check \"inter\" 2s id 7 cookie c3 weight 5 guid g3 # rack 7\n";
        let new = |name| {
            format!("  server {name} 127.0.0.1:1 check \"inter\" 2s cookie {name} weight 5 disabled\n")
        };
        let mut standing = standing("t3", vec![filled("t3", "10.0.0.3:80")]);
        for server in &mut standing.servers {
            server.initial_weight = Weight::new(5).unwrap();
            server.weight = Some(server.initial_weight);
        }
        let text = in_block(line);
        let grown = grown(text.as_bytes(), &standing).unwrap();
        assert_eq!(String::from_utf8_lossy(&grown), in_block(&format!("{line}{}{}", new("t4"), new("t5"))));
    }

    #[test]
    fn those_of_a_template_get_lines_of_their_own_with_what_they_have_now() {
        let line = "\tserver-template t 2-3 127.0.0.1:1 check disabled # ours\n";
        check(
            "t3",
            vec![
                filled("t2", "10.0.0.4:80"),
                ServerStanding { disabled: Some(true), ..filled("t3", "127.0.0.1:1") },
            ],
            line,
            "\tserver t2 10.0.0.4:80 check # ours\n\tserver t3 127.0.0.1:1 check disabled # ours\n  \
             server t4 127.0.0.1:1 check disabled\n  server t5 127.0.0.1:1 check disabled\n",
        );
        // DNS says who these are.
        let by_dns = "  server-template w 2 web.example:80 resolvers dns\n";
        let slot = "  server t3 127.0.0.1:1 disabled\n";
        let new = "  server t4 127.0.0.1:1 disabled\n  server t5 127.0.0.1:1 disabled\n";
        check("t3", vec![], &format!("{by_dns}{slot}"), &format!("{by_dns}{slot}{new}"));
    }

    #[test]
    fn what_the_section_has_already_is_not_written_again() {
        let lines = "  server t3 127.0.0.1:1 disabled\n  server t4 127.0.0.1:1 disabled\n";
        let text = in_block(lines);
        let standing = standing("t3", vec![]);
        let grown = grown(text.as_bytes(), &standing).unwrap();
        let expected = in_block(&format!("{lines}  server t5 127.0.0.1:1 disabled\n"));
        assert_eq!(String::from_utf8_lossy(&grown), expected);
        let outside =
            text.replace("backend b\n", "  server-template t 5-9 127.0.0.1:1 disabled\nbackend b\n");
        assert_eq!(self::grown(outside.as_bytes(), &standing).unwrap(), outside.as_bytes());
    }

    #[test]
    fn without_a_line_to_go_by_there_are_none() {
        let (text, standing) = (in_block("  server s1 10.0.0.1:80\n"), standing("t3", vec![]));
        let error = grown(text.as_bytes(), &standing).unwrap_err();
        assert_eq!(error, SlotError::NothingLikeIt { backend: "app".to_owned(), server: "t3".to_owned() });
    }

    #[track_caller]
    fn check_refused(lines: &str, expected: &str) {
        let error = super::check(in_block(lines).as_bytes(), &[standing("t3", vec![])]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn a_line_that_is_not_that_of_an_empty_slot_is_refused() {
        check_refused("  server t4 127.0.0.1:1 disabled\n", "would have no line for the slot `app/t5`");
        let told = "the line of the slot `app/t4` in haproxy.cfg would not be `127.0.0.1:1 ... disabled`";
        check_refused("  server-template t 4-5 127.0.0.1:1\n", told);
        check_refused("  server-template t 4-5 10.0.0.9:80 disabled\n", told);
    }

    #[test]
    fn names_of_a_template_are_read_as_haproxy_does() {
        let names = |line: &str| -> Vec<String> {
            server_lines(line.as_bytes()).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("server-template t 2 127.0.0.1:1"), ["t1", "t2"]);
        assert_eq!(names("server-template 'a b' 9-10 x"), ["a b9", "a b10"]);
        assert_eq!(names("server s1 127.0.0.1:1"), ["s1"]);
        for line in [
            "server-template t x 127.0.0.1:1",
            "server-template t 2",
            "# server s1 x",
            "server-template t 5-4 x",
        ] {
            assert_eq!(names(line), [""; 0], "{line}");
        }
        assert_eq!(names("server-template t 1-4294967295 x").len(), MOST_SERVERS);
    }
}
