//! Stick-tables to what is asked of them: whether they have clients of a server.
//!
//! In: the answers to [`Command::ShowTables`](super::command::Command::ShowTables) and
//! [`Command::ShowEntries`](super::command::Command::ShowEntries) (management manual 9.3, `show table`). An entry is a line
//! such as `0x55d0: key=u1 use=0 exp=3599 server_id=2 server_key=s2`; HAProxy 2.2 calls the last field `server_name`. Blanks
//! and `=` within a key are escaped (seen on HAProxy 2.2 to 3.2).

use super::command::TableName;
use super::error::AnswerError;
use super::response::Refusal;
use super::servers_state;

/// Which stick-tables there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// What they know the server by (`srv_id`).
    pub number: u32,
    /// Those that have entries.
    pub names: Vec<TableName>,
}

/// Reads the answer about `server`.
///
/// # Errors
/// If HAProxy has no such backend or server, or the answer is none.
pub fn tables(text: &str, server: &str) -> Result<Tables, AnswerError> {
    let refused = |refusal| AnswerError::Refused { command: servers_state::TABLE.to_owned(), refusal };
    if let Some(refusal) = Refusal::known(text) {
        return Err(refused(refusal));
    }
    let states = servers_state::rows(text)?;
    let row = states.rows.iter().find(|row| row.server == server);
    let number = row.map(|row| row.number).ok_or_else(|| refused(Refusal::NoSuchServer))?;
    let names = text.lines().filter(|line| !line.ends_with(", used:0")).filter_map(heading);
    Ok(Tables { number, names: names.filter_map(|name| TableName::new(name).ok()).collect() })
}

/// The first table with an entry for `server`, in the entries of its number: a table that several backends share may have
/// those of another one's.
pub fn holding<'a>(text: &'a str, server: &str) -> Option<&'a str> {
    let mut table = None;
    for line in text.lines() {
        table = heading(line).or(table);
        let named = line.split(' ').rev().find_map(|field| {
            field.strip_prefix("server_key=").or_else(|| field.strip_prefix("server_name="))
        });
        if line.starts_with("0x") && named.is_none_or(|name| name == server) {
            return table;
        }
    }
    None
}

/// The table that `line` introduces.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("# table: ")?.split(',').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                         srv_check_health srv_check_state srv_port\n\
                         3 web 1 s1 ::1 2 0 1 1 0 0 80\n3 web 4 s2 ::1 2 0 1 1 0 0 80\n\n";

    #[test]
    fn tables_with_entries_are_found_and_the_number_they_know_a_server_by() {
        let text = format!(
            "{STATE}# table: web, type: string, size:1024, used:4\n\
             # table: empty, type: ip, size:1024, used:0\n\
             # table: mine/users, type: ip, size:1024, used:1\n\n"
        );
        let found = tables(&text, "s2").unwrap();
        let names: Vec<_> = found.names.iter().map(TableName::as_str).collect();
        assert_eq!((found.number, &names[..]), (4, &["web", "mine/users"][..]));
        assert!(tables(&text, "s3").is_err());
        // None at all, and a HAProxy that knows no such command.
        assert_eq!(tables(&format!("{STATE}\n"), "s1").unwrap().names, []);
        assert_eq!(tables(&format!("{STATE}Unknown command. Try:\n\n"), "s1").unwrap().names, []);
    }

    #[track_caller]
    fn check(expected: Option<&str>, text: &str) {
        assert_eq!(holding(text, "s2"), expected, "{text}");
    }

    #[test]
    fn an_entry_for_the_server_is_found() {
        const WEB: &str = "# table: web, type: string, size:1024, used:2\n";
        let entry = |rest: &str| format!("{WEB}0x55: key=u1 use=0 exp=9 {rest}\n\n");
        check(Some("web"), &entry("server_id=2 server_name=s2"));
        check(Some("web"), &entry("shard=0 server_id=2 server_key=s2"));
        check(Some("web"), &entry("server_id=2"));
        check(None, &entry("server_id=2 server_key=other"));
        check(None, WEB);
        check(None, "Filter entry #1: Data type not stored in this table\n\nNo such table\n\n");
        // Each part of the line has a heading of its own.
        let users =
            "# table: mine/users, type: ip, size:1024, used:1\n0x7f: key=::1 server_id=2 server_key=s2\n";
        check(Some("mine/users"), &format!("{WEB}\n{users}\n"));
        // What a client sends is no field.
        let key = r"key=u\ server_key\=other";
        check(Some("web"), &format!("{WEB}0x55: {key} use=0 server_id=2 server_key=s2\n\n"));
    }
}
