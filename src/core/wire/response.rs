//! Answers, read in the light of the command that was sent.
//!
//! In: all bytes up to the end of the connection. Out: a [`Reply`], or what was wrong. A change
//! that HAProxy carried out is answered by an empty line, so any text there is a [`Refusal`].
//! What a table says is left to [`reading`](super::reading).

use std::fmt;

use super::command::Command;
use super::error::{AnswerError, excerpt};
use super::info;
use crate::core::plan::inventory::Process;

/// What HAProxy answered, if it did what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A change was carried out. Whether it had any effect, only a reading can tell.
    Done,
    /// What a `show` command shows. Bytes that are no UTF-8 (a server's own words about a
    /// failed check may hold some) are replaced.
    Text(String),
}

/// HAProxy's "no".
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The socket's level is too low.
    #[error("permission denied: the `stats socket` line needs `level admin`")]
    PermissionDenied,
    /// HAProxy has no such backend.
    #[error("no such backend")]
    NoSuchBackend,
    /// The backend has no such server.
    #[error("no such server")]
    NoSuchServer,
    /// The backend's algorithm takes no weights at run time (configuration manual 4.2, `balance`).
    #[error(
        "the backend's static algorithm takes no weight but 0 and the configured one: \
         use `balance roundrobin` or `hash-type consistent`"
    )]
    StaticAlgorithm,
    /// No servers can be added to the backend, or taken from it, at run time.
    #[error(
        "no server can be added to a backend with a static algorithm: \
         use `balance roundrobin`, or `spares: {{ kind: slots }}`"
    )]
    StaticForServers,
    /// A server of that name is there already.
    #[error("the backend has a server of that name already: give the address another `name` in the pool")]
    NameTaken,
    /// A keyword that no server can be added with, in HAProxy's words.
    #[error("{0}; take it out of `spares.default_server`")]
    Keyword(String),
    /// The server cannot be deleted: it is not in MAINT.
    #[error("only servers in MAINT can be deleted")]
    NotInMaint,
    /// The server cannot be deleted yet: connections or requests hold on to it.
    #[error("connections still hold on to it")]
    InUse,
    /// The server cannot be deleted: something in HAProxy's configuration names it.
    #[error("HAProxy's configuration names it, as in `track` or `use-server`")]
    Named,
    /// This HAProxy does not know the command.
    #[error("this HAProxy does not know the command")]
    UnknownCommand,
    /// Anything else, in HAProxy's words.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// What `line` means as the answer to a change; texts seen on HAProxy 2.2 to 3.2.
    pub fn of_change(line: &str) -> Self {
        Self::known(line).unwrap_or_else(|| Self::Other(excerpt(without_severity(line))))
    }

    /// What `line` means if it is one of the refusals known by their text.
    pub fn known(line: &str) -> Option<Self> {
        const TEXTS: [(&str, Refusal); 13] = [
            ("Permission denied", Refusal::PermissionDenied),
            ("No such backend", Refusal::NoSuchBackend),
            ("No such proxy", Refusal::NoSuchBackend),
            ("Can't find backend", Refusal::NoSuchBackend),
            ("No such server", Refusal::NoSuchServer),
            ("Backend is using a static LB algorithm", Refusal::StaticAlgorithm),
            ("Unknown command", Refusal::UnknownCommand),
            ("Backend must use a dynamic load balancing", Refusal::StaticForServers),
            ("Backend does not support dynamic servers", Refusal::StaticForServers),
            ("Already exists a server with the same name", Refusal::NameTaken),
            ("Only servers in maintenance mode can be deleted", Refusal::NotInMaint),
            ("Server still has connections", Refusal::InUse),
            ("This server cannot be removed at runtime", Refusal::Named),
        ];
        let line = without_severity(line);
        if line.starts_with("unknown keyword '")
            || line.contains("' option is not accepted for dynamic server")
        {
            return Some(Self::Keyword(excerpt(line.lines().next().unwrap_or_default())));
        }
        TEXTS.into_iter().find(|(text, _)| line.starts_with(text)).map(|(_, refusal)| refusal)
    }
}

/// A `stats socket ... severity-output` puts `[3]: ` or `[error]: ` before some answers.
pub(super) fn without_severity(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    match rest {
        Some((severity, text)) if severity.bytes().all(|b| b.is_ascii_alphanumeric()) => text,
        _ => line,
    }
}

/// What the Runtime API lets this socket do (management manual 9.3, `show cli level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Reading what is not sensitive; enough for every reading the agent makes.
    User,
    /// Reading everything. HAProxy's default.
    Operator,
    /// Changing things.
    Admin,
}

impl fmt::Display for Level {
    /// As HAProxy spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl Level {
    /// What `show cli level` says.
    ///
    /// # Errors
    /// If it says something else.
    pub fn parse(text: &str) -> Result<Self, AnswerError> {
        match without_severity(text.trim()) {
            "user" => Ok(Self::User),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            found => Err(AnswerError::NoSection {
                expected: "`user`, `operator` or `admin`",
                found: excerpt(found),
            }),
        }
    }

    /// The word in HAProxy's configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Splits an answer that begins with `show info` into the process that gave it and the rest.
///
/// # Errors
/// If it does not begin with `show info`.
pub fn split_info(answer: &[u8]) -> Result<(Process, &[u8]), AnswerError> {
    let end = answer.windows(2).position(|pair| pair == b"\n\n");
    let Some(end) = end else { return Err(AnswerError::Incomplete { received: answer.len() }) };
    let info = String::from_utf8_lossy(&answer[..end]);
    if let Some(refusal) = Refusal::known(&info) {
        return Err(AnswerError::Refused { command: "show info".to_owned(), refusal });
    }
    Ok((info::process(&info)?, &answer[end + 2..]))
}

/// Reads `answer`, everything that came until the end of the connection.
///
/// # Errors
/// If HAProxy refused (a part of) `command`, or the answer stops before its end.
pub fn read(command: &Command, answer: &[u8]) -> Result<Reply, AnswerError> {
    if command.is_change() {
        return read_change(command, answer);
    }
    show(command, answer.to_vec()).map(Reply::Text)
}

/// Reads the answer to a `show`, without a copy: that of a thousand backends is megabytes long.
///
/// # Errors
/// As [`read`].
pub fn show(command: &Command, answer: Vec<u8>) -> Result<String, AnswerError> {
    // Every `show` ends with an empty line, whatever it shows (seen on HAProxy 2.0 to 3.5).
    if !answer.ends_with(b"\n\n") {
        return Err(AnswerError::Incomplete { received: answer.len() });
    }
    let text = String::from_utf8(answer)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if let [part] = &command.parts()[..]
        && let Some(refusal) = Refusal::known(&text)
    {
        return Err(AnswerError::Refused { command: part.clone(), refusal });
    }
    Ok(text)
}

/// Each part of the line is answered by an empty line, or by a text and mostly an empty line
/// after it (HAProxy before 3.0 leaves it out behind some). With the first text the rest loses
/// its meaning, so only that one is told.
fn read_change(command: &Command, answer: &[u8]) -> Result<Reply, AnswerError> {
    let text = String::from_utf8_lossy(answer);
    let parts = command.parts();
    if command.success().iter().any(|said| text.contains(said)) {
        return Ok(Reply::Done);
    }
    let silent = text.len() - text.trim_start_matches(['\n', '\r']).len();
    if silent < text.len() {
        let done = text[..silent].matches('\n').count();
        let command = parts.into_iter().nth(done).unwrap_or_else(|| command.to_string());
        return Err(AnswerError::Refused { command, refusal: Refusal::of_change(&text[silent..]) });
    }
    if text.matches('\n').count() < parts.len() || !command.success().is_empty() {
        return Err(AnswerError::Incomplete { received: answer.len() });
    }
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::plan::inventory::AdminState;
    use crate::core::settings::spares::Keywords;
    use crate::core::units::Weight;
    use crate::core::wire::command::{Scope, ServerName};

    fn drain() -> Command {
        let server = ServerName::new("web", "s1").unwrap();
        Command::SetState { server, state: AdminState::Drain }
    }

    fn weights() -> Command {
        let servers = ["s1", "s2"].map(|server| (ServerName::new("web", server).unwrap(), Weight::MAX));
        Command::set_weights(servers).remove(0)
    }

    #[track_caller]
    fn check(command: &Command, answer: &str, want: Result<Reply, AnswerError>) {
        assert_eq!(read(command, answer.as_bytes()), want, "answer {answer:?}");
    }

    #[track_caller]
    fn refused(command: &Command, answer: &str, part: &str, refusal: Refusal) {
        check(command, answer, Err(AnswerError::Refused { command: part.to_owned(), refusal }));
    }

    #[test]
    fn a_change_is_done_if_nothing_is_said() {
        check(&drain(), "\n", Ok(Reply::Done));
        check(&weights(), "\n\n", Ok(Reply::Done));
    }

    #[test]
    fn an_answer_tells_which_process_gave_it() {
        let answer = b"Version: 2.6.12\nPid: 8\nUptime_sec: 9\nStopping: 1\n\n\n";
        let (process, rest) = split_info(answer).unwrap();
        assert_eq!((process.pid, process.stopping), (8, true));
        assert_eq!(read(&drain(), rest), Ok(Reply::Done));
        assert_eq!(split_info(b"Version: 2"), Err(AnswerError::Incomplete { received: 10 }));
        let refused = split_info(b"Permission denied\n\n\n");
        assert!(matches!(refused, Err(AnswerError::Refused { .. })));
        assert!(matches!(split_info(b"what?\n\n"), Err(AnswerError::BadInfo { .. })));
    }

    #[test]
    fn a_change_with_too_few_empty_lines_was_cut_off() {
        check(&drain(), "", Err(AnswerError::Incomplete { received: 0 }));
        check(&weights(), "\n", Err(AnswerError::Incomplete { received: 1 }));
    }

    #[test]
    fn refusals_are_known_by_their_text() {
        let cases = [
            ("Permission denied\n\n", Refusal::PermissionDenied),
            ("No such backend.\n\n", Refusal::NoSuchBackend),
            ("[3]: No such server.\n\n", Refusal::NoSuchServer),
            ("[err]: No such server.\n\n", Refusal::NoSuchServer),
            ("No such server.\n", Refusal::NoSuchServer),
            ("Unknown command: 'set', but maybe one of\n  quit\n\n", Refusal::UnknownCommand),
            (
                "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n\n",
                Refusal::StaticAlgorithm,
            ),
            ("[4]: The moon isn't\x07 full.\n\n", Refusal::Other("The moon isn't\\u{7} full.".to_owned())),
            ("[no severity]: x\n", Refusal::Other("[no severity]: x".to_owned())),
        ];
        for (answer, refusal) in cases {
            refused(&drain(), answer, "set server web/s1 state drain", refusal);
        }
    }

    #[test]
    fn what_speaks_of_success_is_no_refusal() {
        let server = ServerName::new("web", "s1").unwrap();
        let address = "127.0.0.2:8081".parse().unwrap();
        let set = Command::SetAddress { server: server.clone(), address };
        for answer in [
            "IP changed from '127.0.0.1' to '127.0.0.2', port changed from '1' to '8081' by 'stats socket command'\n\n",
            "no need to change the addr, port changed from '+0' to '8081' by 'stats socket command'\n\n",
            "no need to change the addr, no need to change the port by 'stats socket command'\n\n",
            "port changed from '1' to '8081' by 'stats socket command'\n\n",
            "[4]: nothing changed\n\n",
        ] {
            check(&set, answer, Ok(Reply::Done));
        }
        check(&set, "\n", Err(AnswerError::Incomplete { received: 1 }));
        let keywords = Keywords::default();
        let add = Command::AddServer { server: server.clone(), address, keywords };
        let delete = Command::DeleteServer { server: server.clone() };
        check(&add, "[6]: New server registered.\n\n", Ok(Reply::Done));
        check(&delete, "Server deleted.\n", Ok(Reply::Done));
        let line = "add server web/s1 127.0.0.2:8081";
        for (answer, refusal) in [
            ("Already exists a server with the same name in backend.\n\n", Refusal::NameTaken),
            (
                "Backend must use a dynamic load balancing to support dynamic servers.\n",
                Refusal::StaticForServers,
            ),
            (
                "unknown keyword 'foo'; did you mean 'tfo' maybe ?\n\n",
                Refusal::Keyword("unknown keyword 'foo'; did you mean 'tfo' maybe ?".to_owned()),
            ),
            (
                "'resolvers' option is not accepted for dynamic server\n\n",
                Refusal::Keyword("'resolvers' option is not accepted for dynamic server".to_owned()),
            ),
        ] {
            refused(&add, answer, line, refusal);
        }
        for (answer, refusal) in [
            ("Only servers in maintenance mode can be deleted.\n", Refusal::NotInMaint),
            ("Server still has connections attached to it, cannot remove it.\n", Refusal::InUse),
            ("No such server.\n", Refusal::NoSuchServer),
        ] {
            refused(&delete, answer, "del server web/s1", refusal);
        }
    }

    #[test]
    fn the_refused_part_of_a_line_is_told() {
        refused(&weights(), "No such server.\n\n\n", "set server web/s1 weight 256", Refusal::NoSuchServer);
        refused(&weights(), "\nNo such server.\n\n", "set server web/s2 weight 256", Refusal::NoSuchServer);
    }

    #[test]
    fn a_show_is_complete_with_its_empty_line() {
        let all = Command::ShowInventory(Scope::All);
        check(&Command::ShowLevel, "admin\n\n", Ok(Reply::Text("admin\n\n".to_owned())));
        check(&all, "Name: HAProxy\n", Err(AnswerError::Incomplete { received: 14 }));
        refused(&Command::ShowInfo, "Permission denied\n\n", "show info", Refusal::PermissionDenied);
    }

    #[test]
    fn levels_are_ordered_by_what_they_allow() {
        assert_eq!(Level::parse("[6]: admin\n\n"), Ok(Level::Admin));
        assert_eq!(Level::parse("operator\n\n"), Ok(Level::Operator));
        assert!(Level::User < Level::Operator && Level::Operator < Level::Admin);
        let expected = "`user`, `operator` or `admin`";
        assert_eq!(
            Level::parse("root\n"),
            Err(AnswerError::NoSection { expected, found: "root".to_owned() })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(answer in prop::collection::vec(any::<u8>(), 0..200)) {
            for command in [drain(), weights(), Command::ShowInfo] {
                let _ = read(&command, &answer);
                let _ = split_info(&answer);
            }
        }

        #[test]
        fn a_change_with_any_text_is_no_success(text in "\\PC{1,80}", before in "\n{0,3}") {
            let answer = format!("{before}{text}\n\n");
            prop_assert!(read(&drain(), answer.as_bytes()).is_err());
        }
    }
}
