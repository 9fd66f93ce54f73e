//! Which stick-table keeps clients on a server.
//!
//! HAProxy does not show which table a backend sticks by. It is taken to be its own, or one that belongs to no servers: of
//! a section of peers, or of a backend that is there for its table only. One of another backend with servers is taken for
//! that one's alone.

use std::sync::Arc;

use super::client::Client;
use super::error::RuntimeError;
use crate::core::names::Names;
use crate::core::wire::command::{Command, ServerName, TableName};
use crate::core::wire::stick_tables;

/// Of the entries that a table may have for one server, millions perhaps, so much is read.
const MOST_ENTRIES_BYTES: usize = 1 << 20;

impl Client {
    /// The stick-table with entries for `server`, if there is one.
    pub(super) async fn table_of(
        &self,
        server: &ServerName,
        names: &Names,
    ) -> Result<Option<Arc<str>>, RuntimeError> {
        let text = self.show(&Command::ShowTables(server.clone())).await?;
        let tables = stick_tables::tables(&text, server.server.as_str());
        let mut tables = tables.map_err(|error| self.garbage(error))?;
        let may_be_used = |table: &TableName| {
            table.as_str() == server.backend.as_str() || !names.has_servers(table.as_str())
        };
        tables.names.retain(may_be_used);
        for command in Command::show_entries(tables.names, tables.number) {
            let text = self.beginning(&command, MOST_ENTRIES_BYTES).await?;
            if let Some(table) = stick_tables::holding(&text, server.server.as_str()) {
                return Ok(Some(table.into()));
            }
        }
        Ok(None)
    }
}
