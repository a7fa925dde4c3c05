//! The one place that reads the environment: where this person's session lies, and what her terminal can show. No
//! decision of policy depends on it.

use std::ffi::OsString;
use std::path::PathBuf;

#[allow(
    clippy::disallowed_methods,
    reason = "the border of the program: XDG directories, NO_COLOR and the locale"
)]
fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// `$XDG_STATE_HOME/tenure`, else `~/.local/state/tenure` (XDG Base Directory Specification 0.8). None without a home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    let state = read("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(read("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("tenure"))
}

/// May signs beyond ASCII be printed? Not with `NO_COLOR`, and only where the locale says UTF-8.
pub(crate) fn has_signs() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| read(name)).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    read("NO_COLOR").is_none() && (locale.contains("utf-8") || locale.contains("utf8"))
}
