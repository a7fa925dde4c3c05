//! Tables of which rows come and go all the time while they are dumped: `busy` of the host's and of the tenant's.

use tenure_lab::{Host, Running, wait_for};
use tenure_scenarios::Result;
use tenure_scenarios::agent::SOON;

const CALM: &str = "/run/calm";
/// Three rows come and one goes, in one transaction, until it is to be calm.
const LOOP: &str = "cd / && while test ! -e $0; do
    for schema in public client; do
        echo \"BEGIN; INSERT INTO $schema.busy SELECT generate_series(1, 3);
              DELETE FROM $schema.busy WHERE ctid = (SELECT ctid FROM $schema.busy LIMIT 1); COMMIT;\"
    done
    sleep 0.02
done | su postgres -c 'psql -q -v ON_ERROR_STOP=1 app'";

/// Rows that come and go until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    host: Host,
    running: Running,
}

impl Busy {
    /// Makes the tables and begins.
    pub(crate) fn on(host: &Host) -> Result<Self> {
        let table = "CREATE TABLE public.busy (n int); CREATE TABLE client.busy (n int)";
        host.must(&["sh", "-c", "cd / && rm -f $1 && su postgres -c \"psql -q app -c '$0'\"", table, CALM])?;
        let running = host.spawn(&["sh", "-c", LOOP, CALM])?;
        let busy = Self { host: host.clone(), running };
        wait_for("rows to come", SOON, || busy.rows().is_ok_and(|rows| rows > 10))?;
        Ok(busy)
    }

    /// How many rows the tenant's table has now.
    pub(crate) fn rows(&self) -> Result<u64> {
        let count = "cd / && su postgres -c \"psql -qAt app -c 'SELECT count(*) FROM client.busy'\"";
        Ok(self.host.must(&["sh", "-c", count])?.trim().parse()?)
    }

    /// Lets it be calm; gives the rows that are left.
    pub(crate) fn calm(mut self) -> Result<u64> {
        if !self.running.runs() {
            return Err("nothing came and went any more".into());
        }
        self.host.must(&["touch", CALM])?;
        wait_for("the last rows", SOON, || !self.running.runs())?;
        self.rows()
    }
}
