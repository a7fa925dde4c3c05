//! A session of psql as the server's superuser in a database that belongs to somebody else: nothing of that database's own
//! is ever called, neither by its name nor by way of the planner.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenure_policy::bundles::DumpSection;
use tenure_sys::command::Program;
use tenure_sys::conversation::Conversation;

use crate::error::BackupError;
use crate::postgres::doing;

/// What comes before anything else. The owner of a database sets its search path, and what stands in it could take the
/// place of every function, operator, type and table that is named without a schema; with an empty one only `pg_catalog`
/// is looked in.
const FIRST: &str = "SELECT pg_catalog.set_config('search_path', '', false);\n";
/// Tables of one database.
const TABLES: usize = 100_000;
/// The end of a list in the conversation: no table and no JSON text.
const END: &str = "[]";
/// The end of a table's rows: no row looks so, because COPY doubles every backslash.
const LAST: &str = "\\.";

/// Rows of tables, by `schema.table` as JSON names them.
pub type Counts = BTreeMap<String, u64>;

/// A session of psql in which one snapshot can be held; it is gone when this goes.
#[derive(Debug)]
pub struct Session {
    database: String,
    conversation: Conversation,
}

/// A table of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// A column that is stored, a short one if there is any.
    pub column: Option<String>,
}

impl Session {
    /// Begins one with this psql.
    ///
    /// # Errors
    /// When it cannot be started, or the server says no.
    pub(crate) fn begin(psql: Program, database: &str) -> Result<Self, BackupError> {
        let conversation = Conversation::start(psql).map_err(doing("start psql"))?;
        let mut session = Self { database: database.into(), conversation };
        session.say(FIRST)?;
        match session.line()?.as_str() {
            "" => Ok(session),
            _ => Err(session.wrong("it does not take an empty search path")),
        }
    }

    /// Begins a transaction whose snapshot others can take over; its name.
    ///
    /// # Errors
    /// When the server says no.
    pub fn hold_snapshot(&mut self) -> Result<String, BackupError> {
        self.say(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;\n\
             SELECT pg_catalog.pg_export_snapshot();\n",
        )?;
        let name = self.line()?;
        let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        match !name.is_empty() && name.len() < 64 && name.bytes().all(plain) {
            true => Ok(name),
            false => Err(self.wrong("it gives no snapshot")),
        }
    }

    /// The tables with rows of their own, not of the system and of no extension; of these schemas, or of all but those.
    ///
    /// # Errors
    /// When the server says no.
    pub fn tables(&mut self, section: &DumpSection) -> Result<Vec<Table>, BackupError> {
        // A column with a default may be a generated one, which COPY does not take.
        self.say(&format!(
            "SELECT pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname, 'column', \
             (SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
             AND NOT a.attisdropped AND NOT a.atthasdef ORDER BY a.attlen <= 0, a.attnum LIMIT 1)) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
             AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             AND d.objid = c.oid AND d.deptype = 'e') ORDER BY n.nspname, c.relname;\nSELECT '{END}';\n"
        ))?;
        let mut tables = Vec::new();
        loop {
            let line = self.line()?;
            if line == END {
                break;
            }
            let table: Table = serde_json::from_str(&line)
                .map_err(|_| self.wrong("it names a table that cannot be read"))?;
            let named =
                |list: &[tenure_policy::scalars::SqlName]| list.iter().any(|s| s.as_str() == table.schema);
            if (section.only.is_empty() || named(&section.only)) && !named(&section.without) {
                tables.push(table);
            }
            if tables.len() > TABLES {
                return Err(self.wrong("it has more tables than are counted"));
            }
        }
        Ok(tables)
    }

    /// The rows of each table: as COPY gives them out, and so without the planner, which computes what indexes, statistics
    /// and views of the table's owner call.
    ///
    /// # Errors
    /// When the server says no.
    pub fn count(&mut self, tables: &[Table]) -> Result<Counts, BackupError> {
        let mut counts = Counts::new();
        for Table { schema, name, column } in tables {
            let column = column.as_ref().map(|column| format!(" ({})", quoted(column))).unwrap_or_default();
            let table = format!("{}.{}{column}", quoted(schema), quoted(name));
            self.say(&format!("COPY {table} TO STDOUT;\nSELECT E'\\\\.';\n"))?;
            let rows = self.conversation.lines_until(LAST).map_err(doing("count a table's rows"))?;
            counts.insert(format!("{schema}.{name}"), rows);
        }
        Ok(counts)
    }

    /// One value of one row, as text.
    ///
    /// # Errors
    /// When the server says no.
    pub fn value(&mut self, query: &str) -> Result<String, BackupError> {
        self.say(&format!("{query};\n"))?;
        self.line()
    }

    /// Every text of a query of one column, which gives each as JSON.
    ///
    /// # Errors
    /// When the server says no.
    pub fn texts(&mut self, query: &str) -> Result<Vec<String>, BackupError> {
        self.say(&format!("{query};\nSELECT '{END}';\n"))?;
        let mut texts = Vec::new();
        loop {
            let line = self.line()?;
            if line == END {
                return Ok(texts);
            }
            texts.push(serde_json::from_str(&line).map_err(|_| self.wrong("its answer cannot be read"))?);
        }
    }

    fn say(&mut self, words: &str) -> Result<(), BackupError> {
        self.conversation.say(words).map_err(doing("ask the database"))
    }

    fn line(&mut self) -> Result<String, BackupError> {
        self.conversation.line().map_err(doing("ask the database"))
    }

    fn wrong(&self, what: &str) -> BackupError {
        BackupError::Database { database: self.database.clone(), what: what.into() }
    }
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
