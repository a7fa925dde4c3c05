//! What the records of an area have told of what happened: events are the difference to what a pass sees. An agent that
//! starts reads it back from its own chain, so that what ended while none ran is told once too.

use std::path::Path;

use serde_json::Value;
use tenure_areas::backup::{self, Backup, Facts};
use tenure_areas::pass::Report;
use tenure_areas::port::HostRead;

use crate::areas::Area;
use crate::journal;

/// What has been told, of backups; other areas have no events.
#[derive(Debug, Clone, Default)]
pub struct Told(Option<Facts>);

impl Told {
    /// What the chain below a directory of state has told. A chain that cannot be read tells nothing, and the journal why.
    pub fn by_records(state: &Path) -> Self {
        let cannot = |error| {
            let why = journal::chain(&error);
            journal::error(&format!("cannot read back what the records have told of backups: {why}"));
        };
        let records = tenure_link::newest_first(state).map_err(cannot).ok();
        let records = records.into_iter().flatten().map_while(|one| one.map_err(cannot).ok());
        Self(backup::told(records.map(|(record, payload)| (record.about, payload))))
    }

    /// Before a pass: where no record tells, what the area remembers counts as told, and what the pass finds does not.
    pub fn or_remembered(&mut self, area: Area, host: &dyn HostRead) {
        if area == Area::Backup && self.0.is_none() {
            self.0 = backup::remembered(host);
        }
    }

    /// What is to be told of this pass: names of events with their payloads. It counts as told from here on, so that its
    /// events go to the recorder before the pass's own report does: whoever finds the report in the chain finds them too.
    pub fn news(&mut self, area: Area, report: &Report) -> Vec<(&'static str, Value)> {
        match area {
            Area::Firewall | Area::SshAccess | Area::Patch => Vec::new(),
            Area::Backup => {
                let Some(facts) = report.facts_of::<Backup>() else { return Vec::new() };
                let news = self.0.as_ref().map(|told| backup::events(told, &facts)).unwrap_or_default();
                self.0 = Some(facts);
                news
            }
        }
    }
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
