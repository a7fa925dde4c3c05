//! What a person orders of the backups: runs now, written down as requests that the lane's next pass sees.

use tenure_areas::backup::REQUESTS;
use tenure_areas::backup::facts::RunRequest;
use tenure_areas::port::{ManagedFile, ManagedPath};
use tenure_policy::bundles::SeriesSection;
use tenure_policy::resolved::Mode;
use tenure_trust::RunId;

use crate::lane::Tools;
use crate::socket::wire::{Answer, Refused};

/// Asks for a run of every series that is meant.
///
/// # Errors
/// When there is none, the area is only observed, or a request cannot be written down.
pub fn backup(tools: &Tools, which: Option<&str>) -> Result<Answer, Refused> {
    let held = tools.policy.get().ok_or_else(|| Refused::new("there is no policy", "deliver one"))?;
    let policy = held.policy();
    let nothing =
        || Refused::new("the policy backs up nothing on this host", "name sets and vaults in the policy");
    let section = policy.backup.as_ref().ok_or_else(nothing)?;
    if policy.modes.backup != Mode::Enforce {
        return Err(Refused::new(
            "backups are only observed here",
            "set the area's mode to enforce in the policy",
        ));
    }
    let meant: Vec<&SeriesSection> = section.series.iter().filter(|series| is_meant(series, which)).collect();
    if meant.is_empty() {
        let all: Vec<String> = section.series.iter().map(|s| s.series.path()).collect();
        return Err(Refused::new("no such series on this host", format!("there are: {}", all.join(", "))));
    }
    let now = tools.clock.now();
    let mut requests = Vec::new();
    for (number, series) in meant.into_iter().enumerate() {
        let id = format!("r-{}-{number}", now.wall.as_millisecond());
        let id = RunId::new(id).map_err(|e| {
            Refused::new(e.to_string(), "look at the series and the clock: a run is named by both")
        })?;
        let request = RunRequest { id, series: series.series.clone(), at: now.wall };
        let failed =
            |why: String| Refused::new(format!("cannot write the request down: {why}"), "see to the disk");
        let bytes = serde_json::to_vec(&request).map_err(|e| failed(e.to_string()))?;
        let path =
            ManagedPath::new(format!("{REQUESTS}/{}.json", request.id)).map_err(|e| failed(e.to_string()))?;
        let file = ManagedFile { path, bytes, mode: 0o600 };
        tools.host.put(&file).map_err(|e| failed(e.to_string()))?;
        requests.push(request);
    }
    Ok(Answer::Asked { requests })
}

fn is_meant(series: &SeriesSection, which: Option<&str>) -> bool {
    which.is_none_or(|word| word == series.series.set.word() || word == series.series.path())
}
