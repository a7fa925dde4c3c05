//! What of the host's files belongs to a run: the series' paths without others' places, database servers' data, swap,
//! core dumps and Tenure's own secrets, told apart by path and by device and inode.

use std::path::{Path, PathBuf};

use tenure_areas::backup::spec::JobSpec;

use crate::dump::NEVER;
use crate::engine::Exclude;
use crate::postgres::place_of;

/// The paths of the run.
pub fn paths(spec: &JobSpec) -> Vec<PathBuf> {
    spec.series.paths.iter().map(|path| PathBuf::from(path.as_str())).collect()
}

/// What is left out of them.
pub fn exclude(spec: &JobSpec) -> Exclude {
    let own = paths(spec);
    let mut exclude = Exclude::default();
    let mut add = |path: PathBuf| {
        exclude.inodes.extend(place_of(&path));
        exclude.paths.insert(path);
    };
    NEVER.iter().map(PathBuf::from).chain(swaps()).for_each(&mut add);
    let named = spec.series.exclude.iter().chain(&spec.foreign).map(|path| PathBuf::from(path.as_str()));
    for path in named {
        // A place of another owner that holds one of ours does not take it away.
        let place = place_of(&path);
        let holds =
            |own: &PathBuf| own.ancestors().any(|holder| place.is_some() && place_of(holder) == place);
        if !own.iter().any(|own| own.starts_with(&path) || holds(own)) {
            add(path);
        }
    }
    exclude
}

/// Files that the kernel swaps to.
fn swaps() -> Vec<PathBuf> {
    let text = std::fs::read_to_string(Path::new("/proc/swaps")).unwrap_or_default();
    let first = |line: &str| line.split_whitespace().next().map(PathBuf::from);
    text.lines().skip(1).filter_map(first).filter(|path| !path.starts_with("/dev")).collect()
}
