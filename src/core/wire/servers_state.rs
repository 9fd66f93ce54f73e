//! `show servers state` to rows of servers.
//!
//! In: a line `1`, a heading that starts with `# `, and rows of fields with blanks between
//! (management manual 9.3). Out: one [`StateRow`] for each server. Columns are found by name: there
//! are 20 on HAProxy 2.2 and 25 from 2.4 on.

use std::net::IpAddr;

use super::error::{AnswerError, excerpt};
use super::table::{Column, Heading, Row, Rows};
use crate::core::plan::inventory::{AdminFlags, OperationalState};
use crate::core::units::Weight;

pub(super) const TABLE: &str = "show servers state";

/// A server's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRow<'a> {
    /// The backend (`be_name`).
    pub backend: &'a str,
    /// The server (`srv_name`).
    pub server: &'a str,
    /// `srv_id`: what stick-tables know it by; 0 if HAProxy does not tell.
    pub number: u32,
    /// `srv_addr`; `None` if it is no IP address: unresolved, or a unix socket.
    pub address: Option<IpAddr>,
    /// `srv_port`; 0 if it has none of its own, as where it is an offset to the port that clients came to.
    pub port: u16,
    /// `srv_admin_state`.
    pub admin: AdminFlags,
    /// `srv_op_state`.
    pub operational: OperationalState,
    /// `srv_uweight`.
    pub weight: Weight,
    /// `srv_iweight`.
    pub initial_weight: Weight,
    /// `srv_check_health`: counts passed checks, and down again.
    pub health: u32,
    /// `srv_check_state`: a health check is configured and enabled.
    pub checked: bool,
    /// `srv_check_state`: checks pause, as they do in MAINT.
    pub paused: bool,
    /// `srv_agent_state`: an agent check is configured and enabled.
    pub agent_checked: bool,
    /// `srv_agent_state`: an agent check is configured, and disabled.
    pub agent_off: bool,
    /// `srv_fqdn`: the host name that it is declared by.
    pub host: Option<&'a str>,
    /// `srvrecord`: which servers there are is told by a record of DNS.
    pub by_record: bool,
    /// `srv_use_ssl`; `None` where there is no such column (before HAProxy 2.4).
    pub tls: Option<bool>,
}

/// Reads all rows.
///
/// # Errors
/// If the heading or a needed column is missing, or a row is cut off.
pub fn rows(text: &str) -> Result<Rows<'_, StateRow<'_>>, AnswerError> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with('#'));
    let heading = lines.next().and_then(|line| line.strip_prefix("# be_id "));
    let heading = heading.map(|names| ["be_id"].into_iter().chain(names.split(' ')).collect::<Vec<_>>());
    let Some(heading) = heading else {
        let expected = "the heading `# be_id ...` of `show servers state`";
        return Err(AnswerError::NoSection { expected, found: excerpt(text) });
    };
    let columns = Columns::find(&heading)?;
    let mut rows = Rows::new();
    for (number, line) in (1..).zip(lines.take_while(|line| !line.is_empty())) {
        let fields: Vec<_> = line.split(' ').collect();
        let row = Row { table: TABLE, row: number, fields: &fields };
        row.must_have(heading.len())?;
        let whose = (row.word(columns.be_name)?, row.word(columns.srv_name)?);
        rows.take(whose, columns.read(&row).map(Some));
    }
    Ok(rows)
}

/// Where the columns are.
struct Columns {
    be_name: Column,
    srv_name: Column,
    srv_id: Option<Column>,
    srv_addr: Column,
    srv_op_state: Column,
    srv_admin_state: Column,
    srv_uweight: Column,
    srv_iweight: Column,
    srv_check_health: Column,
    srv_check_state: Column,
    srv_port: Column,
    srv_agent_state: Option<Column>,
    srv_fqdn: Option<Column>,
    srvrecord: Option<Column>,
    srv_use_ssl: Option<Column>,
}

impl Columns {
    fn find(names: &[&str]) -> Result<Self, AnswerError> {
        let heading = Heading { table: TABLE, names };
        Ok(Self {
            be_name: heading.need("be_name")?,
            srv_name: heading.need("srv_name")?,
            srv_id: heading.find("srv_id"),
            srv_addr: heading.need("srv_addr")?,
            srv_op_state: heading.need("srv_op_state")?,
            srv_admin_state: heading.need("srv_admin_state")?,
            srv_uweight: heading.need("srv_uweight")?,
            srv_iweight: heading.need("srv_iweight")?,
            srv_check_health: heading.need("srv_check_health")?,
            srv_check_state: heading.need("srv_check_state")?,
            srv_port: heading.need("srv_port")?,
            srv_agent_state: heading.find("srv_agent_state"),
            srv_fqdn: heading.find("srv_fqdn"),
            srvrecord: heading.find("srvrecord"),
            srv_use_ssl: heading.find("srv_use_ssl"),
        })
    }

    fn read<'a>(&self, row: &Row<'_, 'a>) -> Result<StateRow<'a>, AnswerError> {
        /// `srv_check_state`, `srv_agent_state`: a check is configured and enabled.
        const CONFIGURED: u32 = 0x02;
        const CHECKED: u32 = CONFIGURED | 0x04;
        /// `srv_check_state`: checks pause.
        const PAUSED: u32 = 0x08;

        let word = |column: Option<Column>| {
            let word = column.map(|column| row.word(column)).transpose()?;
            Ok(word.filter(|&word| word != "-"))
        };
        let check_state: u32 = row.number(self.srv_check_state, "a whole number")?;
        let agent_state: u32 =
            self.srv_agent_state.map_or(Ok(0), |column| row.number(column, "a whole number"))?;
        Ok(StateRow {
            backend: row.word(self.be_name)?,
            server: row.word(self.srv_name)?,
            number: self.srv_id.map_or(Ok(0), |column| row.number(column, "a whole number"))?,
            address: row.word(self.srv_addr)?.parse().ok(),
            port: port(row, self.srv_port)?,
            admin: AdminFlags(row.number(self.srv_admin_state, "a whole number")?),
            operational: operational(row, self.srv_op_state)?,
            weight: weight(row, self.srv_uweight)?,
            initial_weight: weight(row, self.srv_iweight)?,
            health: row.number(self.srv_check_health, "a whole number")?,
            checked: check_state & CHECKED == CHECKED,
            paused: check_state & PAUSED != 0,
            agent_checked: agent_state & CHECKED == CHECKED,
            agent_off: agent_state & CHECKED == CONFIGURED,
            host: word(self.srv_fqdn)?,
            by_record: word(self.srvrecord)?.is_some(),
            tls: self.srv_use_ssl.map(|column| row.word(column)).transpose()?.map(|tls| tls != "0"),
        })
    }
}

/// HAProxy shows an offset below 0, as in `10.0.0.1:-1000`, as a number of 32 bits (seen on HAProxy 2.2 to 3.2).
fn port(row: &Row<'_, '_>, column: Column) -> Result<u16, AnswerError> {
    const EXPECTED: &str = "a port";
    const LARGEST_OFFSET: u32 = u16::MAX as u32;
    let number: u32 = row.number(column, EXPECTED)?;
    if number.wrapping_neg() <= LARGEST_OFFSET {
        return Ok(0);
    }
    u16::try_from(number).map_err(|_| row.bad(column, EXPECTED))
}

fn operational(row: &Row<'_, '_>, column: Column) -> Result<OperationalState, AnswerError> {
    match row.word(column)? {
        "0" => Ok(OperationalState::Stopped),
        "1" => Ok(OperationalState::Starting),
        "2" => Ok(OperationalState::Running),
        "3" => Ok(OperationalState::Stopping),
        _ => Err(row.bad(column, "an operational state from 0 to 3")),
    }
}

fn weight(row: &Row<'_, '_>, column: Column) -> Result<Weight, AnswerError> {
    const EXPECTED: &str = "a weight from 0 to 256";
    Weight::new(row.number(column, EXPECTED)?).ok_or_else(|| row.bad(column, EXPECTED))
}

#[cfg(test)]
mod tests {
    use super::super::table::UnreadRow;
    use super::*;

    const NAMES: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                         srv_time_since_last_change srv_check_status srv_check_result srv_check_health \
                         srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord";
    const SINCE_2_4: &str = " srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

    #[track_caller]
    fn one(row: &str) -> StateRow<'_> {
        let text = format!("1\n{NAMES}{SINCE_2_4}\n{row}\n\n").leak();
        let rows = rows(text).unwrap();
        let ([row], []) = (&rows.rows[..], &rows.unread[..]) else { panic!("{rows:?}") };
        *row
    }

    #[track_caller]
    fn fails(row: &str, column: &'static str, expected: &'static str, found: &str) {
        let text = format!("1\n{NAMES}{SINCE_2_4}\n{row}\n\n");
        let found = found.to_owned();
        let error = AnswerError::BadField { table: TABLE, row: 1, column, expected, found };
        let unread = vec![UnreadRow { backend: "web", server: "s1", error }];
        assert_eq!(rows(&text), Ok(Rows { rows: vec![], unread }));
    }

    fn weight(weight: u16) -> Weight {
        Weight::new(weight).unwrap()
    }

    #[test]
    fn a_server_has_its_states() {
        let want = StateRow {
            backend: "web",
            server: "s1",
            number: 1,
            address: Some([127, 0, 0, 1].into()),
            port: 8080,
            admin: AdminFlags(12),
            operational: OperationalState::Running,
            weight: weight(7),
            initial_weight: weight(10),
            health: 4,
            checked: true,
            paused: false,
            agent_checked: false,
            agent_off: false,
            host: None,
            by_record: false,
            tls: Some(true),
        };
        assert_eq!(one("3 web 1 s1 127.0.0.1 2 12 7 10 2 15 3 4 6 0 0 0 - 8080 - 1 0 - - 0"), want);
    }

    #[test]
    fn a_server_in_maint_has_its_check_paused() {
        let row = one("3 web 1 s1 127.0.0.1 0 5 1 1 2 1 0 0 14 0 0 0 - 80 - 0 0 - - 0");
        assert!(row.checked && row.paused);
        assert_eq!(row.operational, OperationalState::Stopped);
    }

    #[test]
    fn agent_checks_and_host_names_are_told() {
        let row = one("3 web 1 s1 127.0.0.1 2 0 1 1 2 1 0 2 0 22 0 0 web.example 80 - 0 0 - - 2");
        assert!(row.agent_checked && !row.agent_off && !row.checked && !row.by_record);
        assert_eq!(row.host, Some("web.example"));
        let row = one("3 web 1 s1 - 0 32 1 1 2 1 0 2 0 22 0 0 - 80 _http._tcp.example 0 0 - - 2");
        assert!(row.by_record && row.host.is_none());
        let row = one("3 web 1 s1 127.0.0.1 0 1 1 1 2 1 0 2 0 18 0 0 - 80 - 0 0 - - 2");
        assert!(row.agent_off && !row.agent_checked);
    }

    #[test]
    fn addresses_that_are_no_ip_are_none() {
        let at = |address| {
            one(format!("3 w 1 s {address} 2 0 1 1 2 1 0 2 0 0 0 0 - 0 - 0 0 - - 0").leak()).address
        };
        assert_eq!(at("::1"), Some("::1".parse().unwrap()));
        assert_eq!(at("-"), None);
    }

    #[test]
    fn an_offset_to_the_port_of_clients_is_no_port() {
        // `:-1000`, `:-65535`.
        for port in ["4294966296", "4294901761", "0"] {
            let row = format!("3 w 1 s 127.0.0.1 2 0 1 1 2 1 0 2 0 0 0 0 - {port} - 0 0 - - 0");
            assert_eq!(one(row.leak()).port, 0);
        }
    }

    #[test]
    fn haproxy_2_2_does_not_tell_about_tls() {
        let text = format!("1\n{NAMES}\n3 web 1 s1 10.0.0.1 2 0 1 1 2 1 0 2 0 0 0 0 - 80 -\n\n");
        assert_eq!(rows(&text).unwrap().rows[0].tls, None);
    }

    #[test]
    fn a_table_without_servers_has_no_rows() {
        assert_eq!(rows(&format!("1\n{NAMES}\n\n")), Ok(Rows::new()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let expected = "the heading `# be_id ...` of `show servers state`";
        let found = "Can't find backend.".to_owned();
        assert_eq!(rows("Can't find backend.\n\n"), Err(AnswerError::NoSection { expected, found }));
        assert_eq!(rows(""), Err(AnswerError::NoSection { expected, found: String::new() }));
        let column = "srv_port";
        let text = format!("1\n{}\n\n", NAMES.replace("srv_port", "port"));
        assert_eq!(rows(&text), Err(AnswerError::NoColumn { table: TABLE, column }));
        let text = format!("1\n{NAMES}{SINCE_2_4}\n3 web 1 s1\n\n");
        assert_eq!(rows(&text), Err(AnswerError::CutRow { table: TABLE, row: 1 }));
    }

    #[test]
    fn a_row_that_cannot_be_costs_its_server() {
        let row =
            |op, weight, port| format!("3 web 1 s1 - {op} 0 {weight} 1 2 1 0 2 0 0 0 0 - {port} - 0 0 - - 0");
        fails(&row("4", "1", "80"), "srv_op_state", "an operational state from 0 to 3", "4");
        fails(&row("2", "257", "80"), "srv_uweight", "a weight from 0 to 256", "257");
        fails(&row("2", "1", "65536"), "srv_port", "a port", "65536");
        fails(&row("2", "1", "4294901760"), "srv_port", "a port", "4294901760");
        let (bad, good) = (row("2", "1", "x"), row("2", "1", "80").replace("s1", "s2"));
        let text = format!("1\n{NAMES}{SINCE_2_4}\n{bad}\n{good}\n\n");
        let Rows { rows, unread } = rows(&text).unwrap();
        assert_eq!((rows[0].server, rows.len(), unread.len()), ("s2", 1, 1));
    }
}
