//! The drop directory: a signed set that somebody puts there is taken like an upload. Whoever put it there does not
//! matter, the signatures do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tenure_sys::files::{BaseDir, Expect, FileError, Owner};

use crate::app::App;
use crate::journal;
use crate::people::files;
use crate::store::Access;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The most files and bytes of a set.
const FILES: usize = 30_000;
const BYTES: u64 = 96 << 20;

/// Takes what lies there, now and whenever its index changes, until aborted.
pub(crate) async fn watch(app: Arc<App>, dir: PathBuf) {
    let mut seen = None;
    loop {
        let index = BaseDir::open(&dir).and_then(|d| d.stat(Path::new("index.json"))).ok();
        let found = index.map(|stat| (stat.id, stat.size, stat.changed));
        if found.is_some() && found != seen {
            match take(&app, &dir).await {
                Ok(()) => {}
                Err(why) => journal::error(&format!("the policy in {} is not taken: {why}", dir.display())),
            }
            seen = found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn take(app: &App, dir: &Path) -> Result<(), String> {
    let from = dir.to_owned();
    let texts = tokio::task::spawn_blocking(move || read(&from)).await.map_err(|e| e.to_string())?;
    let named = texts.map_err(|e| journal::chain(&e))?;
    let files = files(named).map_err(|name| format!("{name:?} is no file of a signed set"))?;
    if app.shelf.get().is_some_and(|held| held.files == files) {
        return Ok(());
    }
    match app.take_policy(&Access::Local, files).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refused)) => Err(journal::chain(&refused)),
        Err(error) => Err(journal::chain(&error)),
    }
}

/// The files of a set; others are left alone.
fn read(dir: &Path) -> Result<BTreeMap<String, String>, FileError> {
    let base = BaseDir::open(dir)?;
    let mut out = BTreeMap::new();
    let mut left = BYTES;
    for entry in base.list(Path::new("."), FILES)? {
        let Some(name) = entry.name.to_str() else { continue };
        let ours = name == "index.json"
            || [".bundle.json", ".vault.json", ".duty.json"].iter().any(|end| name.ends_with(end));
        if !ours || name.starts_with('.') {
            continue;
        }
        let expect = Expect { owner: Owner::Anybody, limit: left, one_link: false };
        let file = base.read(Path::new(name), &expect)?;
        left -= file.bytes.len() as u64;
        out.insert(name.to_owned(), String::from_utf8_lossy(&file.bytes).into_owned());
    }
    Ok(out)
}
