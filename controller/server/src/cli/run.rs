//! `run`: the service. Tells systemd when it is ready and that it lives, and ends when told to or when a part has ended.

use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tenure_sys::clock;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure, who};
use crate::app::{App, Places};
use crate::config::Config;
use crate::journal;
use crate::limits::Limits;
use crate::pages;
use crate::service::Service;

/// How often the parts are looked at when systemd does not say.
const LOOK: Duration = Duration::from_secs(10);

/// Serves until told to stop.
pub(super) fn run(config: &Path, places: &Places) -> Result<Exit, Failure> {
    let config = Config::read(config)?;
    who::become_owner(&places.state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::of("cannot start", &e))?;
    runtime.block_on(serve(config, places))
}

async fn serve(config: Config, places: &Places) -> Result<Exit, Failure> {
    let taken = |e: std::io::Error| Failure::of("cannot take signals", &e);
    let mut terminate = signal(SignalKind::terminate()).map_err(taken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(taken)?;
    let app = App::open(config, places, clock::wall, Limits::default()).await?;
    let service = Service::start(app, pages::router()).await?;
    journal::notice(&format!("machines at {}, people at {}", service.machines, service.people));
    tell(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled();
    let mut look = tokio::time::interval(watchdog.map_or(LOOK, |limit| (limit / 3).min(LOOK)));
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break false,
            _ = interrupt.recv() => break false,
            _ = look.tick() => {
                if !service.is_whole() {
                    break true;
                }
                if watchdog.is_some() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
        }
    };
    tell(&[NotifyState::Stopping]);
    service.stop().await;
    match ended {
        false => Ok(Exit::Clean),
        true => Err(Failure::new("a part of the controller ended by a fault of its own")
            .hint("systemd starts the controller again")),
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        journal::warning(&format!("cannot tell systemd: {error}"));
    }
}
