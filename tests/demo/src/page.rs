//! The controller's page from this machine: `tenure-demo page` leads a port of the loopback through the office's host,
//! from where the policy lets people in.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tenure_lab::{Forward, Lab};
use tenure_scenarios::operator::DESK;
use tenure_scenarios::{Fleet, Result};

use crate::LAB;
use crate::screen::{Screen, Stopped};

/// Where a browser on this machine finds it.
pub(crate) const PORT: u16 = 8443;
/// Where it is, as the office reaches it.
const PAGE: ([u8; 4], u16) = ([198, 51, 100, 20], 8443);
/// Beside the demo's log: what a person needs to look at the page.
const CA: &str = "ca.crt";
const PASSWORD: &str = "password";

/// Leads there until it is interrupted.
pub(crate) fn stay() -> Result<()> {
    let way = Forward::open(&Lab::attach(LAB).host("office"), PORT, SocketAddr::from(PAGE))?;
    // Who has closed the terminal needs no line on it.
    let _ = writeln!(
        std::io::stdout(),
        "https://{}/ leads to the demo's controller; Ctrl-C ends it",
        way.address()
    );
    way.stay();
    Ok(())
}

/// Shows that the way holds: this machine's curl logs in over it and gets the tables.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet, folder: &Path) -> std::result::Result<(), Stopped> {
    screen.step("browser", "the page from this machine, through the office", || {
        for (name, mode) in [(CA, 0o644), (PASSWORD, 0o600)] {
            let text = fleet.office.get(&format!("{DESK}/{name}"))?;
            keep(&folder.join(name), text.trim_end(), mode)?;
        }
        let way = Forward::open(&fleet.office, 0, SocketAddr::from(PAGE))?;
        let port = way.address().port();
        let (place, known) = (format!("https://ctl1:{port}"), format!("ctl1:{port}:127.0.0.1"));
        let path = |name: &str| folder.join(name).display().to_string();
        let (ca, cookie, origin) = (path(CA), path("cookie"), format!("origin: {place}"));
        let common = ["curl", "-sS", "-m", "20", "--cacert", &ca, "--resolve", &known];
        let (login, password) = (format!("{place}/login"), format!("password@{}", path(PASSWORD)));
        let form = ["--data-urlencode", "user=marit", "--data-urlencode", &password, "-H", &origin];
        let logged_in = tenure_lab::run(&[&common[..], &["-c", &cookie], &form, &[&login]].concat(), 30)?;
        let page = tenure_lab::run(&[&common[..], &["-b", &cookie, &place]].concat(), 30)?;
        // The session ends with the demo's own: what is left is a file that opens nothing.
        let _ = std::fs::remove_file(path("cookie"));
        match page.stdout.contains("id=\"duties\"") && page.stdout.contains("web1") {
            true => Ok(format!(
                "curl on this machine logs in through the office: {} bytes of page",
                page.stdout.len()
            )),
            false => Err(format!("{}\n{}", logged_in.said(), page.said()).into()),
        }
    })
}

/// What to tell at the end.
pub(crate) fn told(folder: &Path) -> String {
    format!(
        "Page: `make demo-page`, then https://127.0.0.1:{PORT}/ (its certificate is the demo's own); user marit, password in {}",
        folder.join(PASSWORD).display()
    )
}

fn keep(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
