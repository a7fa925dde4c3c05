//! The controller put together: both listeners, the certificate that is made anew every day, the judge
//! that looks by itself, the drop directory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{App, AppError};
use crate::authority::AuthorityError;
use crate::listen::{self, Certificate, ListenError};
use crate::{journal, judging, machines, people};

/// How often the controller's own certificate is made anew.
const DAILY: Duration = Duration::from_secs(24 * 3600);

/// Why the controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that it needs cannot be used.
    #[error(transparent)]
    App(#[from] AppError),
    /// A listener cannot be.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its certificate cannot be made.
    #[error("cannot make the controller's own certificate")]
    Certificate(#[from] AuthorityError),
}

/// A running controller.
#[derive(Debug)]
pub struct Service {
    app: Arc<App>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    beside: Vec<JoinHandle<()>>,
    /// Where the machines' listener is.
    pub machines: std::net::SocketAddr,
    /// Where the people's listener is.
    pub people: std::net::SocketAddr,
}

impl Service {
    /// Starts both listeners.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(app: Arc<App>, pages: Router<Arc<App>>) -> Result<Self, StartError> {
        let certificate = Certificate::new(app.authority.server(&app.config.machines.names, app.now())?);
        let for_machines = listen::tls(certificate.clone(), Some(app.authority.certificate()))?;
        let for_people = listen::tls(certificate.clone(), None)?;
        let machines_at = listen::bind(app.config.machines.listen).await?;
        let people_at = listen::bind(app.config.people.listen).await?;
        let address = |listener: &tokio::net::TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
        let machines_address = address(&machines_at, app.config.machines.listen);
        let people_address = address(&people_at, app.config.people.listen);
        let (stop, stopped) = watch::channel(false);
        let listeners = vec![
            tokio::spawn(listen::serve(
                machines_at,
                for_machines,
                machines::router(app.clone()),
                app.limits,
                stopped.clone(),
            )),
            tokio::spawn(listen::serve(
                people_at,
                for_people,
                people::router(app.clone(), pages),
                app.limits,
                stopped,
            )),
        ];
        let mut beside =
            vec![tokio::spawn(renew(app.clone(), certificate)), tokio::spawn(judging::keep(app.clone()))];
        if let Some(drop) = &app.config.policy {
            beside.push(tokio::spawn(crate::watch::watch(app.clone(), drop.path.clone())));
        }
        Ok(Self { app, stop, listeners, beside, machines: machines_address, people: people_address })
    }

    /// True while all of it works: the listeners, the writer of records, and what works beside them.
    pub fn is_whole(&self) -> bool {
        self.listeners.iter().chain(&self.beside).all(|task| !task.is_finished()) && self.app.ingest.lives()
    }

    /// Lets what is under way end and closes the database.
    pub async fn stop(self) {
        // Fails only when both listeners have ended already.
        let _ = self.stop.send(true);
        for task in self.beside {
            task.abort();
        }
        for task in self.listeners {
            if task.await.is_err() {
                journal::error("a listener ended by a fault of its own");
            }
        }
        self.app.store.close().await;
    }
}

async fn renew(app: Arc<App>, certificate: Certificate) {
    loop {
        tokio::time::sleep(DAILY).await;
        match app.authority.server(&app.config.machines.names, app.now()) {
            Ok(made) => certificate.replace(made),
            Err(error) => {
                journal::error(&format!("the certificate was not renewed: {}", journal::chain(&error)))
            }
        }
    }
}
