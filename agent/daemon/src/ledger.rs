//! The real ledger: the chain on disk. One that cannot be opened (a full disk, a damaged directory) is tried again with
//! every record, and enforcement goes on meanwhile.

use std::path::PathBuf;

use tenure_link::uplink::Ticket;
use tenure_link::{ChainError, ChainStore, Repair};
use tenure_sys::text;
use tenure_trust::record::Draft;
use tenure_trust::{Epoch, HostName};

use crate::journal;
use crate::recorder::{Ledger, Unwritten};

/// The chain of this host.
#[derive(Debug)]
pub struct ChainLedger {
    state: PathBuf,
    host: HostName,
    chain: Option<ChainStore>,
    /// Of the chain that is open.
    epoch: Epoch,
    /// Lost while it could not be opened.
    lost: u32,
}

impl ChainLedger {
    /// Opens the chain below the directory of state, now or later.
    pub fn new(state: PathBuf, host: HostName) -> Self {
        let mut ledger = Self { state, host, chain: None, epoch: Epoch(1), lost: 0 };
        if let Err(why) = ledger.open() {
            journal::error(&why);
        }
        ledger
    }

    fn open(&mut self) -> Result<&mut ChainStore, String> {
        // Enrolled anew, the next record begins the next chain.
        let epoch = Ticket::epoch_in(&self.state)
            .map_err(|e| format!("cannot tell which chain of records goes on: {}; {}", e.told(), e.hint()))?;
        if self.chain.is_none() || epoch != self.epoch {
            let (chain, repairs) = ChainStore::open(&self.state, self.host.clone(), epoch).map_err(|e| {
                format!("cannot open the chain of records: {}; {}", journal::chain(&e), e.hint())
            })?;
            for repair in repairs {
                journal::warning(&match repair {
                    Repair::TornTail { segment, bytes } => {
                        format!(
                            "{}: cut {bytes} bytes of a record that was never whole",
                            text::path(&segment)
                        )
                    }
                    Repair::Damaged { segment, lines } => format!(
                        "{}: {lines} lines at its end are not records of this host; they stay for the verifier",
                        text::path(&segment)
                    ),
                });
            }
            (self.chain, self.epoch) = (Some(chain), epoch);
        }
        Ok(self.chain.as_mut().expect("it was opened just now"))
    }
}

impl Ledger for ChainLedger {
    fn append(&mut self, draft: Draft, payload: Vec<u8>, dropped: u32) -> Result<(), Unwritten> {
        self.lost = self.lost.saturating_add(dropped);
        let lost = self.lost;
        let chain = match self.open() {
            Ok(chain) => chain,
            Err(why) => {
                self.lost = self.lost.saturating_add(1);
                return Err(why.into());
            }
        };
        chain.note_lost(lost);
        let written = chain.append(draft, payload).map(drop).map_err(|e| {
            let may_say_so = matches!(e, ChainError::Reserve { .. });
            Unwritten { why: journal::chain(&e), may_say_so }
        });
        self.lost = 0;
        written
    }

    fn last(&self) -> u64 {
        self.chain.as_ref().map_or(0, |chain| chain.head().next.0.saturating_sub(1))
    }

    fn lost(&self) -> u32 {
        self.lost.saturating_add(self.chain.as_ref().map_or(0, ChainStore::lost))
    }
}
