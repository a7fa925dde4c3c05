//! Sections for tests.

use tenure_policy::bundles::{BackupSection, SeriesSection};
use tenure_policy::written::{BackupKeys, Ring};

/// A section with these series.
pub(crate) fn section(series: Vec<SeriesSection>, catch_up_seconds: u64) -> BackupSection {
    BackupSection {
        series,
        vaults: Default::default(),
        databases: Default::default(),
        catch_up_seconds,
        ring: Ring::Weekday,
        keys: BackupKeys::KeepWithCopy,
        upload_bytes_per_second: None,
        recipients: vec!["age1a".into(), "age1b".into()],
        drill: None,
    }
}
