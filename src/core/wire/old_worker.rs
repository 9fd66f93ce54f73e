//! What an old worker, which only finishes what it has, says of its sessions on a server.
//!
//! In: the answers to `show servers conn BACKEND` and `show stat PROXY 4 SERVER`. Out: how many there are. An old worker of
//! HAProxy 2.2 leaves its backends out of `show stat`; those of 2.6 and newer leave the sessions of TCP mode out of
//! `used_cur` (seen on 2.2 to 3.4). So the first finds the server, and counts only where the second has nothing to say.

use std::net::{IpAddr, SocketAddr};

use super::command::{Name, ServerName};
use super::error::{AnswerError, excerpt};
use super::response::Refusal;
use super::stat;
use super::table::{Heading, Row, Rows};

const TABLE: &str = "show servers conn";

/// A server of an old worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldServer {
    proxy: u32,
    number: u32,
    /// Connections to it that are in use.
    used: u32,
}

/// What tells the servers of `backend`, for [`find`].
pub fn question(backend: &Name) -> String {
    format!("{TABLE} {backend}")
}

/// The servers that are, or were, what `server` is: those at its address, wherever a slot of its name was sent before; by
/// name where nobody tells the address. None if the old worker has no such backend.
///
/// # Errors
/// If the answer is none, or is cut off.
pub fn find(text: &str, server: &ServerName, at: Option<SocketAddr>) -> Result<Vec<OldServer>, AnswerError> {
    match Refusal::known(text) {
        Some(Refusal::NoSuchBackend) => return Ok(Vec::new()),
        Some(refusal) => return Err(AnswerError::Refused { command: question(&server.backend), refusal }),
        None => {}
    }
    let mut lines = text.lines();
    let Some(names) = lines.next().and_then(|line| line.strip_prefix("# ")) else {
        let expected = "the heading `# bkname/svname ...` of `show servers conn`";
        return Err(AnswerError::NoSection { expected, found: excerpt(text) });
    };
    // HAProxy ends the table with an empty line.
    if !text.ends_with("\n\n") {
        return Err(AnswerError::Incomplete { received: text.len() });
    }
    let names: Vec<&str> = names.split(' ').collect();
    let heading = Heading { table: TABLE, names: &names };
    let (name, ids) = (heading.need("bkname/svname")?, heading.need("bkid/svid")?);
    let (address, port, used) = (heading.need("addr")?, heading.need("port")?, heading.need("used_cur")?);
    let mut found = Vec::new();
    for (place, line) in (1..).zip(lines.take_while(|line| !line.is_empty())) {
        let fields: Vec<&str> = line.split(' ').collect();
        let row = Row { table: TABLE, row: place, fields: &fields };
        let socket = row.word(address)?.parse::<IpAddr>().ok().zip(row.word(port)?.parse().ok());
        let is_it = match socket.map(SocketAddr::from).zip(at) {
            Some((there, here)) => there == here,
            None => row.word(name)?.rsplit('/').next() == Some(server.server.as_str()),
        };
        if is_it {
            let both = row.word(ids)?.split_once('/').and_then(|(a, b)| a.parse().ok().zip(b.parse().ok()));
            let (proxy, number) = both.ok_or_else(|| row.bad(ids, "two whole numbers"))?;
            found.push(OldServer { proxy, number, used: row.number(used, "a whole number")? });
        }
    }
    Ok(found)
}

impl OldServer {
    /// What tells its sessions, for [`Self::sessions`].
    pub fn question(&self) -> String {
        format!("show stat {} 4 {}", self.proxy, self.number)
    }

    /// How many sessions it has, or has waiting for it.
    ///
    /// # Errors
    /// If `text` is no answer.
    pub fn sessions(&self, text: &str) -> Result<u32, AnswerError> {
        let (Rows { rows, unread }, _) = stat::rows(text)?;
        if let Some(row) = unread.into_iter().next() {
            return Err(row.error);
        }
        let told = rows.iter().map(|row| row.sessions.saturating_add(row.queued)).reduce(u32::saturating_add);
        Ok(told.unwrap_or(self.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6.12 writes it.
    const HEADING: &str = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb \
                           idle_lim idle_cur idle_per_thr[2]";
    const S1: &str = "app/s1 3/1 127.0.0.1 8001 - 5000 1 1 1 0 0 -1 0 0 0";
    const S2: &str = "app/s2 3/2 ::1 8002 - 5000 0 1 1 0 0 -1 0 0 0";
    const UNIX: &str = "app/s3 3/3 - 0 - 5000 2 1 1 0 0 -1 0 0 0";

    fn find_in(rows: &[&str], name: &str, at: Option<&str>) -> Vec<(u32, u32)> {
        let text = format!("{HEADING}\n{}\n\n", rows.join("\n"));
        let server = ServerName::new("app", name).unwrap();
        let found = find(&text, &server, at.map(|at| at.parse().unwrap())).unwrap();
        found.iter().map(|found| (found.number, found.used)).collect()
    }

    #[test]
    fn a_server_is_known_by_its_address() {
        let all = [S1, S2, UNIX];
        assert_eq!(find_in(&all, "s1", Some("127.0.0.1:8001")), [(1, 1)]);
        assert_eq!(find_in(&all, "s2", Some("[::1]:8002")), [(2, 0)]);
        // A slot that was sent elsewhere, and the one that had its address.
        assert_eq!(find_in(&all[..2], "s2", Some("127.0.0.1:8001")), [(1, 1)]);
        assert_eq!(find_in(&all[..2], "s1", Some("127.0.0.1:9999")), []);
    }

    #[test]
    fn where_nobody_tells_the_address_it_is_known_by_its_name() {
        assert_eq!(find_in(&[S1, S2, UNIX], "s3", None), [(3, 2)]);
        assert_eq!(find_in(&[UNIX], "s3", Some("127.0.0.1:8001")), [(3, 2)]);
    }

    #[test]
    fn a_backend_that_was_not_there_has_no_sessions_and_half_an_answer_is_none() {
        let server = ServerName::new("app", "s1").unwrap();
        assert_eq!(find("Can't find backend.\n\n", &server, None), Ok(Vec::new()));
        for text in ["", HEADING, &format!("{HEADING}\n{S1}\n"), "Permission denied\n\n"] {
            assert!(find(text, &server, None).is_err(), "{text}");
        }
    }

    #[test]
    fn sessions_are_counted_where_haproxy_shows_them() {
        let server = OldServer { proxy: 3, number: 1, used: 4 };
        assert_eq!(server.question(), "show stat 3 4 1");
        let heading = "# pxname,svname,qcur,scur,slim,stot,bck,tracked,type,\n";
        assert_eq!(server.sessions(&format!("{heading}app,s1,1,2,,9,0,,2,\n\n")), Ok(3));
        assert_eq!(server.sessions(&format!("{heading}app,s1,0,0,,9,0,,2,\n\n")), Ok(0));
        assert_eq!(server.sessions(&format!("{heading}\n")), Ok(4), "HAProxy 2.2");
        assert!(server.sessions("").is_err());
    }
}
