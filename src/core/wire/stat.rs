//! `show stat` to rows of backends and servers.
//!
//! In: CSV whose heading starts with `# ` (management manual 9.1). Out: the few figures that
//! `show servers state` lacks. Columns are found by name: their places differ by version.

use super::error::{AnswerError, excerpt};
use super::table::{Column, Heading, Row, Rows};

const TABLE: &str = "show stat";

/// A backend's or a server's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatRow<'a> {
    /// The backend (`pxname`).
    pub backend: &'a str,
    /// The server (`svname`), `BACKEND` for the backend itself.
    pub server: &'a str,
    /// Requests waiting (`qcur`); for a backend, in its own queue.
    pub queued: u32,
    /// Sessions now (`scur`).
    pub sessions: u32,
    /// All sessions since the process started (`stot`).
    pub total_sessions: u64,
    /// All HTTP requests since then that are over (`req_tot`); `None` in TCP mode.
    pub total_requests: Option<u64>,
    /// A server's `maxconn` (`slim`).
    pub limit: Option<u32>,
    /// A `backup` server (`bck`; a backend's row counts them there).
    pub backup: bool,
    /// Backend and name of the server that it tracks (`tracked`).
    pub tracked: Option<(&'a str, &'a str)>,
    /// Whether the last finished check passed (`check_status` ends in `OK` or `OKC`); `None` if there was none. After a
    /// time in MAINT, where checks pause, it may have been made before.
    pub last_check: Option<bool>,
    /// The health of a server whose last check passed: `check_rise + check_fall - 1`. `None`
    /// without a check, and in MAINT.
    pub full_health: Option<u32>,
    /// The name of a backend's cookie that keeps clients on their servers, or a server's value in it (`cookie`);
    /// empty without one.
    pub cookie: &'a str,
    /// A backend's mode (`mode`), such as `http`; `mode log` is `syslog` there (seen on HAProxy 3.2). Empty where HAProxy does
    /// not say.
    pub mode: &'a str,
    /// A backend's algorithm (`algo`); empty for a server, and where HAProxy does not say.
    pub algorithm: &'a str,
    /// What of its weight a server gets in HAProxy's `slowstart`, in percent (`throttle`): shown while it is READY.
    pub throttle: Option<u8>,
}

/// Reads the rows of backends and servers up to the empty line that ends them, and returns
/// what comes after it. Rows of frontends and listeners are passed over.
///
/// Without the columns of checks (HAProxy before 1.7), no check has passed; without `algo`, no
/// algorithm is known.
///
/// # Errors
/// If a heading or a needed column is missing, or a row is cut off.
pub fn rows(text: &str) -> Result<(Rows<'_, StatRow<'_>>, &str), AnswerError> {
    const HEADING: &str = "# pxname,";
    let Some(mut rest) = text.strip_prefix(HEADING).and(text.strip_prefix("# ")) else {
        let expected = "the heading `# pxname,...` of `show stat`";
        return Err(AnswerError::NoSection { expected, found: excerpt(text) });
    };
    let mut fields = Vec::new();
    rest = split_row(rest, &mut fields);
    let (columns, width) = (Columns::find(&fields)?, fields.len());
    let mut rows = Rows::new();
    for row in 1.. {
        rest = split_row(rest, &mut fields);
        if fields.is_empty() {
            break;
        }
        let row = Row { table: TABLE, row, fields: &fields };
        row.must_have(width)?;
        rows.take((row.text(columns.pxname)?, row.text(columns.svname)?), columns.read(&row));
    }
    Ok((rows, rest))
}

/// Whether `algorithm` takes any weight, and servers that are added at run time; `None` where the name does not tell.
///
/// Hash algorithms do with `hash-type consistent` only, which is not shown; `random` is shown as `unknown`, and
/// so are others (configuration manual 4.2, `balance`; seen on HAProxy 2.2 to 3.2).
pub(super) fn is_dynamic(algorithm: &str) -> Option<bool> {
    match algorithm {
        "roundrobin" | "leastconn" | "first" => Some(true),
        "static-rr" => Some(false),
        _ => None,
    }
}

/// Splits off one row. No fields: an empty line, or the end of the text.
fn split_row<'a>(text: &'a str, fields: &mut Vec<&'a str>) -> &'a str {
    fields.clear();
    let mut rest = match text.strip_prefix('\n') {
        Some(after) => return after,
        None if text.is_empty() => return text,
        None => text,
    };
    loop {
        let (field, after) = split_field(rest);
        fields.push(field);
        rest = match after.split_at_checked(1) {
            Some((",", next)) => next,
            Some((_, next)) => return next,
            None => return after,
        };
    }
}

/// Splits off one field; what follows begins with `,` or a newline, or is empty. A quoted field may
/// hold both; its doubled quotes stay doubled, as nothing here reads such a field.
fn split_field(text: &str) -> (&str, &str) {
    let Some(quoted) = text.strip_prefix('"') else { return text.split_at(field_end(text)) };
    let mut end = 0;
    while let Some(at) = memchr::memchr(b'"', &quoted.as_bytes()[end..]) {
        let after = &quoted[end + at + 1..];
        if !after.starts_with('"') {
            // Nothing belongs between the closing quote and the comma; pass over it.
            return (&quoted[..end + at], &after[field_end(after)..]);
        }
        end += at + 2;
    }
    (quoted, "")
}

/// Most fields are empty or a few bytes long: looking at one byte after the other is faster
/// here than a vectorised search.
fn field_end(text: &str) -> usize {
    text.bytes().position(|b| b == b',' || b == b'\n').unwrap_or(text.len())
}

/// Where the columns are.
struct Columns {
    pxname: Column,
    svname: Column,
    qcur: Column,
    scur: Column,
    slim: Column,
    stot: Column,
    req_tot: Option<Column>,
    bck: Column,
    tracked: Column,
    kind: Column,
    check_status: Option<Column>,
    check_rise: Option<Column>,
    check_fall: Option<Column>,
    cookie: Option<Column>,
    mode: Option<Column>,
    algo: Option<Column>,
    throttle: Option<Column>,
}

impl Columns {
    fn find(names: &[&str]) -> Result<Self, AnswerError> {
        let heading = Heading { table: TABLE, names };
        Ok(Self {
            pxname: heading.need("pxname")?,
            svname: heading.need("svname")?,
            qcur: heading.need("qcur")?,
            scur: heading.need("scur")?,
            slim: heading.need("slim")?,
            stot: heading.need("stot")?,
            req_tot: heading.find("req_tot"),
            bck: heading.need("bck")?,
            tracked: heading.need("tracked")?,
            kind: heading.need("type")?,
            check_status: heading.find("check_status"),
            check_rise: heading.find("check_rise"),
            check_fall: heading.find("check_fall"),
            cookie: heading.find("cookie"),
            mode: heading.find("mode"),
            algo: heading.find("algo"),
            throttle: heading.find("throttle"),
        })
    }

    /// `None` for rows of frontends and listeners.
    fn read<'a>(&self, row: &Row<'_, 'a>) -> Result<Option<StatRow<'a>>, AnswerError> {
        let is_server = match row.text(self.kind)? {
            "1" => false,
            "2" => true,
            "0" | "3" => return Ok(None),
            _ => return Err(row.bad(self.kind, "0, 1, 2 or 3")),
        };
        let or_empty = |column: Option<Column>| column.map_or(Ok(""), |column| row.text(column));
        let status = or_empty(self.check_status)?;
        Ok(Some(StatRow {
            backend: row.text(self.pxname)?,
            server: row.text(self.svname)?,
            queued: row.optional(self.qcur)?.unwrap_or(0),
            sessions: row.optional(self.scur)?.unwrap_or(0),
            total_sessions: row.optional(self.stot)?.unwrap_or(0),
            total_requests: self.req_tot.map_or(Ok(None), |column| row.optional(column))?,
            limit: row.optional(self.slim)?,
            backup: is_server && row.optional(self.bck)?.unwrap_or(0_u32) > 0,
            tracked: self.tracked(row)?,
            // `* ` before it: a check is under way, and this is the status of the one before.
            last_check: (!["", "INI", "UNK"].contains(&status.trim_start_matches("* ")))
                .then(|| status.ends_with("OK") || status.ends_with("OKC")),
            full_health: self.full_health(row)?,
            cookie: or_empty(self.cookie)?,
            mode: or_empty(self.mode)?,
            algorithm: or_empty(self.algo)?,
            throttle: self.throttle.map_or(Ok(None), |column| row.optional(column))?,
        }))
    }

    fn tracked<'a>(&self, row: &Row<'_, 'a>) -> Result<Option<(&'a str, &'a str)>, AnswerError> {
        match row.text(self.tracked)? {
            "" => Ok(None),
            name => name.split_once('/').map(Some).ok_or_else(|| row.bad(self.tracked, "BACKEND/SERVER")),
        }
    }

    fn full_health(&self, row: &Row<'_, '_>) -> Result<Option<u32>, AnswerError> {
        let (Some(rise), Some(fall)) = (self.check_rise, self.check_fall) else { return Ok(None) };
        let (rise, fall): (Option<u32>, Option<u32>) = (row.optional(rise)?, row.optional(fall)?);
        Ok(rise.zip(fall).and_then(|(rise, fall)| rise.checked_add(fall)?.checked_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::UnreadRow;
    use super::*;

    const HEADING: &str = "# pxname,svname,qcur,scur,slim,stot,status,bck,tracked,type,last_chk,check_status,\
                           check_rise,check_fall,algo,\n";

    #[track_caller]
    fn one(row: &str) -> StatRow<'_> {
        let text = format!("{HEADING}{row}\n\nrest").leak();
        let (rows, rest) = rows(text).unwrap();
        assert_eq!(rest, "rest");
        let ([row], []) = (&rows.rows[..], &rows.unread[..]) else { panic!("{rows:?}") };
        *row
    }

    #[track_caller]
    fn fails(text: &str, want: AnswerError) {
        assert_eq!(rows(text), Err(want));
    }

    #[test]
    fn a_server_has_its_figures() {
        let want = StatRow {
            backend: "web",
            server: "s1",
            queued: 3,
            sessions: 20,
            total_sessions: 5_000_000_000,
            total_requests: None,
            limit: Some(20),
            backup: false,
            tracked: None,
            last_check: Some(true),
            full_health: Some(4),
            cookie: "",
            mode: "",
            algorithm: "",
            throttle: None,
        };
        assert_eq!(one("web,s1,3,20,20,5000000000,UP,0,,2,,L7OK,2,3,,"), want);
    }

    #[test]
    fn requests_are_counted_where_haproxy_does() {
        let requests = |row: &str| {
            let heading = HEADING.replace("algo,", "req_tot,");
            rows(&format!("{heading}{row}\n\n")).unwrap().0.rows[0].total_requests
        };
        assert_eq!(requests("web,BACKEND,0,0,200,9,UP,0,,1,,,,,7,"), Some(7));
        assert_eq!(requests("tcp,BACKEND,0,0,200,9,UP,0,,1,,,,,,"), None);
    }

    #[test]
    fn a_server_in_slowstart_is_throttled() {
        let throttle = |found: &str| {
            let heading = HEADING.replace("algo,", "throttle,");
            rows(&format!("{heading}web,s1,0,0,,9,UP,0,,2,,L4OK,2,3,{found},\n\n")).unwrap().0.rows[0]
                .throttle
        };
        assert_eq!((throttle("43"), throttle("")), (Some(43), None));
    }

    #[test]
    fn a_backend_has_its_algorithm() {
        let row = one("web,BACKEND,0,0,200,9,UP,1,,1,,,,,leastconn,");
        assert_eq!((row.algorithm, row.backup, row.full_health), ("leastconn", false, None));
    }

    #[test]
    fn backup_and_tracking_servers_are_told() {
        assert!(one("web,b1,0,0,,0,no check,1,,2,,,,,,").backup);
        assert_eq!(one("web,t1,0,0,,0,UP,0,api/s1,2,,,,,,").tracked, Some(("api", "s1")));
    }

    #[test]
    fn the_last_finished_check_is_read_from_its_status() {
        let last = |status| one(format!("web,s1,0,0,,0,UP,0,,2,,{status},2,3,,").leak()).last_check;
        for status in ["L4OK", "L6OK", "L7OK", "L7OKC", "PROCOK", "* L7OK"] {
            assert_eq!(last(status), Some(true), "{status}");
        }
        for status in ["L4CON", "* L4TOUT", "L7STS", "HANA"] {
            assert_eq!(last(status), Some(false), "{status}");
        }
        for status in ["", "INI", "* INI", "UNK"] {
            assert_eq!(last(status), None, "{status}");
        }
    }

    #[test]
    fn quoted_fields_hide_commas_quotes_and_newlines() {
        let row = one("web,s1,0,7,,0,DOWN,0,,2,\"a \"\"b\"\", c\n\nd\",L7OK,2,3,,");
        assert_eq!((row.sessions, row.last_check), (7, Some(true)));
    }

    #[test]
    fn frontends_and_listeners_are_passed_over() {
        let text = format!("{HEADING}web,FRONTEND,,0,,0,OPEN,,,0,,,,,,\nweb,sock-1,,0,,0,OPEN,,,3,,,,,,\n\n");
        assert_eq!(rows(&text), Ok((Rows::new(), "")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let expected = "the heading `# pxname,...` of `show stat`";
        fails("", AnswerError::NoSection { expected, found: String::new() });
        fails("No such proxy.\n\n", AnswerError::NoSection { expected, found: "No such proxy.".to_owned() });
        fails(
            "# pxname,svname,qcur,scur,slim,stot,status,bck,type,\n\n",
            AnswerError::NoColumn { table: TABLE, column: "tracked" },
        );
        fails(&format!("{HEADING}web,s1,0\n\n"), AnswerError::CutRow { table: TABLE, row: 1 });
    }

    #[test]
    fn a_row_that_cannot_be_costs_its_server() {
        let check = |row: &str, column, expected, found: &str| {
            let found = found.to_owned();
            let error = AnswerError::BadField { table: TABLE, row: 1, column, expected, found };
            let text = format!("{HEADING}{row}\nweb,s2,0,0,,0,UP,0,,2,,,,,,\n\n");
            let Rows { rows, unread } = rows(&text).unwrap().0;
            assert_eq!((rows.len(), rows[0].server), (1, "s2"));
            assert_eq!(unread, [UnreadRow { backend: "web", server: "s1", error }]);
        };
        check("web,s1,x,0,,0,UP,0,,2,,,,,,", "qcur", "a whole number", "x");
        check("web,s1,0,0,,0,UP,0,s1,2,,,,,,", "tracked", "BACKEND/SERVER", "s1");
        check("web,s1,0,0,,0,UP,0,,7,,,,,,", "type", "0, 1, 2 or 3", "7");
    }
}
