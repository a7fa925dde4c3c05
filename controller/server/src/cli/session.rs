//! `session list|end`: the sessions of browsers and the tokens of programs that hold, and the end of one of them.

use tenure_sys::clock;

use super::output::Output;
use super::{Exit, Failure, block_on, who};
use crate::app::Places;
use crate::store::{Access, Store};

/// Shows them.
pub(super) fn list(places: &Places, out: Output) -> Result<Exit, Failure> {
    who::become_owner(&places.state)?;
    let sessions = block_on(async {
        let store = Store::open(&places.state).await?;
        let sessions = store.sessions(&Access::Local, clock::wall()).await?;
        store.close().await;
        Ok(sessions)
    })?;
    for one in &sessions {
        let label = if one.label.is_empty() { String::new() } else { format!("   {}", one.label) };
        out.line(&format!(
            "{}   {} ({})   used {}   until {}{label}",
            one.id, one.user, one.kind, one.seen_at, one.until
        ));
    }
    out.document(&sessions);
    Ok(Exit::Clean)
}

/// Ends one.
pub(super) fn end(places: &Places, id: &str, out: Output) -> Result<Exit, Failure> {
    who::become_owner(&places.state)?;
    let ended = block_on(async {
        let store = Store::open(&places.state).await?;
        let ended = store.end_named(&Access::Local, id).await?;
        store.close().await;
        Ok(ended)
    })?;
    if !ended {
        return Err(Failure::new(format!("there is no session {id:?}"))
            .hint("`tenure-controller session list` names those that hold"));
    }
    out.line(&format!("session {id} has ended"));
    out.document(&serde_json::json!({ "ended": id }));
    Ok(Exit::Clean)
}
