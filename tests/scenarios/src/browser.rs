//! A person's browser on a host of the lab: this machine's Chromium in that host's network, led by the WebDriver protocol
//! (W3C) and asked for nothing but what a person can do and see.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tenure_lab::{Forward, Host, Running, wait_for};

use crate::Result;
use crate::agent::SOON;

const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// The driver's port, on the loopback of the host in whose network it is.
const PORT: u16 = 9515;
/// For one answer, the loading of a page included.
const LIMIT: Duration = Duration::from_secs(60);
/// The most bytes of an answer: a picture of a long page.
const ANSWER: u64 = 64 << 20;
/// The protocol's name of a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Root has no sandbox here, and nothing is asked of anybody but the page. The profile is new, and gone with the driver.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--user-data-dir=/tmp/profile",
];

/// What a page is looked at with.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Width in pixels of CSS; below 600 a telephone's.
    pub width: u32,
    /// Height in pixels of CSS.
    pub height: u32,
    /// Does the person want it dark?
    pub dark: bool,
}

/// A browser; it ends, with every process of its own, when this value is dropped.
#[derive(Debug)]
pub struct Browser {
    way: Forward,
    session: String,
    _driver: Running,
}

impl Browser {
    /// Starts one on a host. It takes certificates that nobody vouches for.
    ///
    /// # Errors
    /// When it does not start in time.
    pub fn on(host: &Host) -> Result<Self> {
        let driver = host.beside(&[DRIVER, &format!("--port={PORT}")])?;
        let way = Forward::open(host, 0, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))?;
        let mut browser = Self { way, session: String::new(), _driver: driver };
        let ready =
            || browser.send("GET", "/status", &Value::Null).is_ok_and(|status| status["ready"] == true);
        wait_for("the browser's driver", SOON, ready)
            .map_err(|why| format!("{why}; `tests/lab/packages.sh test` installs {DRIVER}"))?;
        let wanted = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "binary": BROWSER, "args": FLAGS },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let begun = browser.send("POST", "/session", &wanted)?;
        let id = begun["sessionId"].as_str().ok_or_else(|| format!("no session: {begun}"))?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Goes to an address, as one that is typed.
    ///
    /// # Errors
    /// When no page comes of it.
    pub fn open(&self, address: &str) -> Result<()> {
        self.tell("/url", &json!({ "url": address })).map(drop)
    }

    /// The address of the page.
    ///
    /// # Errors
    /// When there is none.
    pub fn address(&self) -> Result<String> {
        Ok(self.ask("/url")?.as_str().unwrap_or_default().to_owned())
    }

    /// Loads the page anew.
    ///
    /// # Errors
    /// When no page comes of it.
    pub fn reload(&self) -> Result<()> {
        self.tell("/refresh", &json!({})).map(drop)
    }

    /// Goes back to the page before.
    ///
    /// # Errors
    /// When no page comes of it.
    pub fn back(&self) -> Result<()> {
        self.tell("/back", &json!({})).map(drop)
    }

    /// Types into the field that a selector of CSS names.
    ///
    /// # Errors
    /// When there is none.
    pub fn write(&self, field: &str, text: &str) -> Result<()> {
        self.tell(&format!("/element/{}/value", self.find(field)?), &json!({ "text": text })).map(drop)
    }

    /// Presses what a selector of CSS names, and waits for the page that comes of it.
    ///
    /// # Errors
    /// When there is none, or it cannot be pressed.
    pub fn press(&self, place: &str) -> Result<()> {
        self.tell(&format!("/element/{}/click", self.find(place)?), &json!({})).map(drop)
    }

    fn find(&self, place: &str) -> Result<String> {
        let found = self.tell("/element", &json!({ "using": "css selector", "value": place }))?;
        Ok(found[ELEMENT].as_str().ok_or_else(|| format!("{place}: {found}"))?.to_owned())
    }

    /// What a script finds in the page: the body of a function, whose answer is waited for.
    ///
    /// # Errors
    /// When it throws.
    pub fn look(&self, script: &str) -> Result<Value> {
        self.tell("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The cookies of the page, those included that scripts do not see.
    ///
    /// # Errors
    /// When they are not told.
    pub fn cookies(&self) -> Result<Vec<Value>> {
        Ok(self.ask("/cookie")?.as_array().cloned().unwrap_or_default())
    }

    /// What the browser wrote into its console since it was asked last; what it says of its own pages is left out.
    ///
    /// # Errors
    /// When it is not told.
    pub fn console(&self) -> Result<Vec<Value>> {
        let said = self.tell("/se/log", &json!({ "type": "browser" }))?;
        let lines = said.as_array().ok_or_else(|| format!("no console: {said}"))?.iter();
        let own = |line: &&Value| line["message"].as_str().is_some_and(|said| said.starts_with("chrome://"));
        Ok(lines.filter(|line| !own(line)).cloned().collect())
    }

    /// Looks at the page with another screen from now on.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn use_screen(&self, screen: Screen) -> Result<()> {
        let Screen { width, height, dark } = screen;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// A picture of the whole page (PNG), for a person to look at.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub fn picture(&self, path: &Path) -> Result<()> {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.devtools("Page.captureScreenshot", &whole)?;
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap_or_default())?;
        std::fs::write(path, bytes).map_err(|why| format!("write {}: {why}", path.display()).into())
    }

    fn devtools(&self, command: &str, with: &Value) -> Result<Value> {
        self.tell("/goog/cdp/execute", &json!({ "cmd": command, "params": with }))
    }

    fn ask(&self, what: &str) -> Result<Value> {
        self.send("GET", &format!("{}{what}", self.session), &Value::Null)
    }

    fn tell(&self, what: &str, with: &Value) -> Result<Value> {
        self.send("POST", &format!("{}{what}", self.session), with)
    }

    /// One request of the protocol: HTTP/1.1, a connection each.
    fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.way.address())?;
        stream.set_read_timeout(Some(LIMIT))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nConnection: close\r\n\
             Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = BufReader::new(stream.take(ANSWER));
        let mut line = || -> Result<String> {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            Ok(line.trim_end().to_owned())
        };
        let status = line()?;
        let mut length: u64 = 0;
        loop {
            let line = line()?;
            match line.split_once(':') {
                _ if line.is_empty() => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?;
                }
                _ => {}
            }
        }
        let mut bytes = Vec::new();
        answer.take(length).read_to_end(&mut bytes)?;
        let told: Value = serde_json::from_slice(&bytes)
            .map_err(|why| format!("{method} {path}: {status:?}: {why}: {} bytes", bytes.len()))?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(told["value"].clone()),
            _ => {
                let (kind, why) = (&told["value"]["error"], &told["value"]["message"]);
                Err(format!("{method} {path}: {kind}: {}", why.as_str().unwrap_or_default()).into())
            }
        }
    }
}
