//! `token create`: an invitation made at the controller's own machine, where nobody needs to log in.

use std::path::Path;

use tenure_sys::clock;
use tenure_trust::MachineRole;

use super::output::Output;
use super::{Exit, Failure, TokenArgs, block_on, who};
use crate::app::{AppError, Places, invite, read_root};
use crate::authority::Authority;
use crate::config::Config;
use crate::store::{Access, Store};

/// Makes an invitation.
pub(super) fn create(config: &Path, places: &Places, args: &TokenArgs, out: Output) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    let (root, text) = read_root(&places.root)?;
    let role = if args.role == "vault" { MachineRole::Vault } else { MachineRole::Host };
    let mut until = None;
    who::into_secret_file(
        &args.out,
        || who::become_owner(&places.state),
        || {
            let authority = Authority::read(&places.state).map_err(AppError::from)?;
            let authority = authority.ok_or_else(|| AppError::NotPrepared(places.state.clone()))?;
            block_on(async {
                let store = Store::open(&places.state).await?;
                let term = (clock::wall(), args.minutes);
                let machine = (&args.name, role);
                let invitation =
                    invite(&store, &config, (&root, &text), &authority, &Access::Local, machine, term)
                        .await?;
                store.close().await;
                until = Some(invitation.until);
                serde_json::to_string(&invitation).map_err(|e| Failure::of("cannot write the invitation", &e))
            })
        },
    )?;
    let until = until.map(|until| until.to_string()).unwrap_or_default();
    out.line(&format!("invitation for {} as {role} in {}, until {until}", args.name, args.out.display()));
    out.note(&format!("carry it to {} and run there: tenure-{} enrol FILE", args.name, program(role)));
    out.document(&serde_json::json!({ "name": args.name, "role": role, "file": args.out, "until": until }));
    Ok(Exit::Clean)
}

const fn program(role: MachineRole) -> &'static str {
    match role {
        MachineRole::Vault => "vault",
        _ => "agent",
    }
}
