//! `init`: checks the root, makes certificate authority, database and the first account. Twice does no harm.

use std::path::Path;

use serde::Serialize;
use tenure_sys::clock;

use super::output::Output;
use super::{Exit, Failure, InitArgs, block_on, user, who};
use crate::app::{AppError, Places, read_root};
use crate::authority::Authority;
use crate::config::Config;
use crate::store::{Access, Store};

#[derive(Serialize)]
struct Prepared<'a> {
    fleet: String,
    ca: String,
    account: Option<&'a str>,
}

/// Prepares this machine.
pub(super) fn run(config: &Path, places: &Places, args: &InitArgs, out: Output) -> Result<Exit, Failure> {
    user::check_name(&args.user)?;
    let config = Config::read(config)?;
    let (root, _) = read_root(&places.root)?;
    let mut account = None;
    who::into_secret_file(
        &args.password_file,
        || who::prepare(&places.state),
        || {
            let now = clock::wall();
            if Authority::read(&places.state).map_err(AppError::from)?.is_none() {
                Authority::create(&places.state, &config.host, now).map_err(AppError::from)?;
            }
            block_on(async {
                let store = Store::open(&places.state).await?;
                if store.user_count(&Access::Local).await? > 0 {
                    return Err(Failure::new("this controller has accounts already")
                        .hint("`tenure-controller user password NAME` gives one a new password"));
                }
                let password = user::generate()?;
                user::keep(&store, &args.user, &password, now).await?;
                store.close().await;
                account = Some(args.user.as_str());
                Ok(format!("{password}\n"))
            })
        },
    )?;
    let ca = places.state.join("ca.crt").display().to_string();
    out.line(&format!("fleet {}; certificate authority {ca}", root.fleet));
    out.line(&format!("account {}; its password is in {}", args.user, args.password_file.display()));
    out.note(
        "next: `systemctl start tenure-controller`, then `tenure login` at your own machine with that ca.crt",
    );
    out.document(&Prepared { fleet: root.fleet.to_string(), ca, account });
    Ok(Exit::Clean)
}
