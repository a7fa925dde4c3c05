//! Our table in the kernel: read at the price of its generation while nothing changes, loaded by `nft`, put back by a
//! prepared batch where one is known to be good.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenure_areas::port::{PortError, PortResult};
use tenure_sys::command::{Ended, Program, capture};

use super::fault;
use super::netlink::NetlinkError;
use super::nftables::{Batch, generation, replay, snapshot_batch, snapshot_chains};
use super::recent::Recent;
use super::watch::{ChangeLog, Own};

/// Our table of family inet.
pub(super) const TABLE: &str = "tenure";
const NFT: &str = "/usr/sbin/nft";
/// 65,536 intervals, the compiler's limit, list in about 5 s.
const PATIENCE: Duration = Duration::from_secs(60);
const LISTING: usize = 64 << 20;
/// Listings kept, in bytes: the wanted one and what others made of it lately.
const LISTINGS: usize = 4 << 20;
/// Batches kept: the confirmed ruleset and the one before it.
const BATCHES: usize = 2;

#[derive(Debug)]
pub(super) struct Ruleset {
    log: ChangeLog,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// At which generation, and the listing; `None`: there is no table.
    table: Option<(u32, Option<Vec<u8>>)>,
    tables: Recent<Batch>,
    chains: Option<(u32, Vec<u8>)>,
    chainses: Recent<Vec<u8>>,
    batches: Vec<Prepared>,
}

/// A table that `nft` made of this text, as a batch.
#[derive(Debug)]
struct Prepared {
    json: String,
    hash: String,
    batch: Batch,
}

/// How a table was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// By starting nft.
    Nft,
    /// By a batch prepared before.
    Batch,
}

impl Ruleset {
    pub(super) fn new(log: ChangeLog) -> Self {
        let known = Known {
            table: None,
            tables: Recent::new(LISTINGS),
            chains: None,
            chainses: Recent::new(LISTINGS),
            batches: Vec::new(),
        };
        Self { log, known: Mutex::new(known) }
    }

    /// `nft -j list table inet tenure`, anew only when its content is another one. Counters and handles in it may be
    /// old.
    pub(super) fn table(&self) -> PortResult<Vec<u8>> {
        let doing = "listing our table";
        let mut known = self.known();
        let now = generation().map_err(|e| fault::netlink(doing, &e))?;
        if known.table.as_ref().is_none_or(|(then, _)| *then != now) {
            known.table = list_table(&mut known.tables, doing)?;
        }
        let absent = || PortError::Absent { what: format!("table inet {TABLE}") };
        match &known.table {
            Some((_, json)) => json.clone().ok_or_else(absent),
            // It changed all the while: what nft sees is one of the states it had.
            None => run(&["-j", "list", "table", "inet", TABLE]),
        }
    }

    /// `nft -j list chains`, anew only when another chain is there or one has another policy.
    pub(super) fn chains(&self) -> PortResult<Vec<u8>> {
        let failed = |e: NetlinkError| fault::netlink("listing the chains", &e);
        let mut known = self.known();
        let now = generation().map_err(failed)?;
        if let Some((then, json)) = &known.chains
            && *then == now
        {
            return Ok(json.clone());
        }
        let (at, content) = snapshot_chains().map_err(failed)?;
        let json = match known.chainses.get(&content) {
            Some(json) => json,
            None => {
                let json = run(&["-j", "list", "chains"])?;
                if generation().map_err(failed)? != at {
                    return Ok(json);
                }
                known.chainses.put(content, json.clone());
                json
            }
        };
        known.chains = Some((at, json.clone()));
        Ok(json)
    }

    /// `nft -j list set inet tenure NAME`, always anew.
    pub(super) fn set(&self, name: &str) -> PortResult<Vec<u8>> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(fault::argument(name, "a set's name has letters, digits and _"));
        }
        run(&["-j", "list", "set", "inet", TABLE, name])
    }

    /// One transaction by `nft`: all of it or nothing.
    pub(super) fn load(&self, json: &str) -> PortResult<()> {
        self.transaction(json).map(|_| ())
    }

    /// The same, by a prepared batch when this text was loaded before and the batch still makes the same table of it.
    pub(super) fn restore(&self, json: &str, hash: &str) -> PortResult<By> {
        let mut known = self.known();
        let at = known.batches.iter().position(|p| p.hash == hash && p.json == json);
        if let Some(prepared) = at.map(|at| known.batches.remove(at))
            && self.replay(&prepared.batch)
        {
            known.batches.push(prepared);
            return Ok(By::Batch);
        }
        let after = self.transaction(json)?;
        // Only what stood there right after our own transaction is what the text makes.
        if let Ok(Some((then, batch))) = snapshot_batch(TABLE)
            && Some(then) == after
        {
            known.batches.push(Prepared { json: json.into(), hash: hash.into(), batch });
            let surplus = known.batches.len().saturating_sub(BATCHES);
            known.batches.drain(..surplus);
        }
        Ok(By::Nft)
    }

    /// Whether the batch was loaded and made the table that it was made of.
    fn replay(&self, batch: &Batch) -> bool {
        let Ok(before) = generation() else { return false };
        if replay(batch).is_err() {
            return false;
        }
        if let Ok(after) = generation() {
            // The kernel names the thread that sent the batch.
            self.log.own(Own { before, after, pid: nix::unistd::gettid().as_raw().unsigned_abs() });
        }
        matches!(snapshot_batch(TABLE), Ok(Some((_, now))) if now == *batch)
    }

    /// Returns the generation that it made, if nobody else made one meanwhile.
    fn transaction(&self, json: &str) -> PortResult<Option<u32>> {
        let doing = "loading a ruleset";
        let before = generation().map_err(|e| fault::netlink(doing, &e))?;
        // nft 1.0.6 ends with 0, having done nothing, when what it reads is no JSON.
        if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(json) {
            return Err(PortError::Failed { doing: doing.into(), why: format!("it is not JSON: {e}") });
        }
        let program = Program::new(NFT, ["-j", "-f", "-"]).stdin(json.into()).timeout(PATIENCE);
        let out = capture(&program).map_err(|e| fault::command(doing, &e))?;
        let pid = out.pid;
        out.success().map_err(|e| fault::command(doing, &e))?;
        let after = generation().map_err(|e| fault::netlink(doing, &e))?;
        self.log.own(Own { before, after, pid });
        Ok((after.wrapping_sub(before) == 1).then_some(after))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock; everything in it is checked against the kernel before use.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists the table, if need be; `None` when it changed all the while.
fn list_table(tables: &mut Recent<Batch>, doing: &str) -> PortResult<Option<(u32, Option<Vec<u8>>)>> {
    for _ in 0..3 {
        let before = generation().map_err(|e| fault::netlink(doing, &e))?;
        let content = match snapshot_batch(TABLE) {
            Ok(None) => return Ok(Some((before, None))),
            Ok(Some((at, content))) if at == before => Some(content),
            Ok(Some(_)) | Err(NetlinkError::Changing { .. }) => continue,
            // It has what no batch can carry; nft lists it.
            Err(NetlinkError::Unsupported { .. }) => None,
            Err(e) => return Err(fault::netlink(doing, &e)),
        };
        if let Some(json) = content.as_ref().and_then(|c| tables.get(c)) {
            return Ok(Some((before, Some(json))));
        }
        let listed = run(&["-j", "list", "table", "inet", TABLE]);
        if generation().map_err(|e| fault::netlink(doing, &e))? == before {
            let json = listed?;
            if let Some(content) = content {
                tables.put(content, json.clone());
            }
            return Ok(Some((before, Some(json))));
        }
    }
    Ok(None)
}

fn run(args: &[&str]) -> PortResult<Vec<u8>> {
    let doing = "listing the ruleset";
    let program = Program::new(NFT, args.iter().copied()).timeout(PATIENCE).cap(LISTING);
    let out = capture(&program).map_err(|e| fault::command(doing, &e))?;
    // nft says this of a table or set that is not there (the language is fixed by the runner).
    let missing = out.stderr.windows(25).any(|w| w == b"No such file or directory");
    if matches!(out.ended, Ended::Code(1)) && missing {
        return Err(PortError::Absent { what: args.get(2..).unwrap_or_default().join(" ") });
    }
    out.success().map_err(|e| fault::command(doing, &e))
}
