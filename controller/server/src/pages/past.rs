//! The part of the page about drift that newer records no longer show.

use tenure_obligations::history::{self, PastDrift, Said};
use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::Judgement;

/// The newest of each host, as many as a page shows.
pub(super) struct Past {
    pub(super) rows: Vec<Row>,
    /// Records that are not shown.
    pub(super) older: usize,
    /// So many of each host are remembered.
    pub(super) kept: usize,
}

/// One thing that a record told.
pub(super) struct Row {
    pub(super) mended: Option<bool>,
    pub(super) host: String,
    pub(super) area: String,
    pub(super) seen: String,
    pub(super) received: String,
    pub(super) place: String,
    pub(super) what: String,
    pub(super) who: String,
    pub(super) record: String,
    pub(super) hash: String,
}

impl Past {
    pub(super) fn of(judgement: &Judgement, saying: &Saying) -> Self {
        let (shown, older) = history::shown(&judgement.history);
        Self {
            rows: shown.into_iter().flat_map(|one| rows(one, saying)).collect(),
            older,
            kept: history::KEPT,
        }
    }
}

fn rows(one: &PastDrift, saying: &Saying) -> Vec<Row> {
    let row = |Said { mended, place, what, who }| Row {
        mended,
        host: one.host.to_string(),
        area: say::text(&one.area),
        seen: one.seen(saying),
        received: saying.moment(one.received_at),
        place,
        what,
        who,
        record: one.record.to_string(),
        hash: one.record.hash.to_string(),
    };
    one.said().into_iter().map(row).collect()
}
