//! The demo's one place of output: a line per step with result and time, the log beside it, colour where it is wanted.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use tenure_lab::Stopwatch;
use tenure_scenarios::Result;

/// Columns before the result.
const WIDTH: usize = 100;

/// A step did not hold; what to say has been said.
#[derive(Debug)]
pub(crate) struct Stopped;

/// The screen and the log.
#[derive(Debug)]
pub(crate) struct Screen {
    log: File,
    log_path: PathBuf,
    terminal: bool,
    colour: bool,
    held: usize,
    watch: Stopwatch,
}

impl Screen {
    /// Starts a log and honours NO_COLOR (no-color.org) and outputs that are not a terminal.
    pub(crate) fn new(log_path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = log_path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let terminal = io::stdout().is_terminal();
        let colour = terminal && !no_color();
        let log = File::create(&log_path)?;
        Ok(Self { log, log_path, terminal, colour, held: 0, watch: Stopwatch::start() })
    }

    /// A line that is neither a step nor part of one.
    pub(crate) fn line(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Opens a section: its number, name and what it is about.
    pub(crate) fn section(&mut self, number: usize, name: &str, about: &str) {
        let head = self.painted(Paint::Bold, &format!("{number} {name:<8}"));
        self.write(&format!("{head}{about}\n"));
    }

    /// A line of facts below a step.
    pub(crate) fn fact(&mut self, label: &str, text: &str) {
        self.write(&format!("            {label:<14} {text}\n"));
    }

    /// Runs one step. The name and what is being done show while it runs; what it found stands there in the end.
    pub(crate) fn step(
        &mut self,
        name: &str,
        doing: &str,
        work: impl FnOnce() -> Result<String>,
    ) -> std::result::Result<(), Stopped> {
        let watch = Stopwatch::start();
        let _ = writeln!(self.log, "== {name}: {doing}");
        if self.terminal {
            let _ = write!(io::stdout(), "   {name:<8} {doing} …\r");
            let _ = io::stdout().flush();
        }
        let found = work();
        self.judge(name, doing, found, watch.elapsed())
    }

    fn judge(
        &mut self,
        name: &str,
        doing: &str,
        found: Result<String>,
        took: Duration,
    ) -> std::result::Result<(), Stopped> {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        match found {
            Ok(text) => {
                self.held += 1;
                let shown = if text.is_empty() { doing } else { &text };
                let ok = self.painted(Paint::Good, "ok");
                self.write(&format!("{clear}   {name:<8} {} {ok}  {}\n", pad(shown, WIDTH - 12), span(took)));
                Ok(())
            }
            Err(why) => {
                let word = self.painted(Paint::Bad, "FAILED");
                self.write(&format!(
                    "{clear}   {name:<8} {} {word}  {}\n",
                    pad(doing, WIDTH - 12),
                    span(took)
                ));
                self.write(&format!("\nStep \"{name}: {doing}\" did not hold: {why}\n"));
                self.write(&format!("Log: {}\n", self.log_path.display()));
                Err(Stopped)
            }
        }
    }

    /// Puts something into the log only.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.log, "{text}");
    }

    /// The last line.
    pub(crate) fn close(&mut self, extra: Duration) {
        let text = format!(
            "{} of {} steps held · {} · make demo-down removes it all",
            self.held,
            self.held,
            span(self.watch.elapsed() + extra).trim()
        );
        let text = self.painted(Paint::Bold, &text);
        self.write(&format!("{text}\n"));
    }

    fn write(&mut self, text: &str) {
        // A reader who has gone away must not end the demo half way.
        let _ = io::stdout().write_all(text.as_bytes());
        let _ = io::stdout().flush();
        let _ = self.log.write_all(text.as_bytes());
    }

    fn painted(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "1;31",
            Paint::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[derive(Debug, Clone, Copy)]
enum Paint {
    Good,
    Bad,
    Bold,
}

#[expect(
    clippy::disallowed_methods,
    reason = "no-color.org: colour on the demo's screen is the environment's to decide"
)]
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// A span for people: `38 ms`, `3.1s`, `2m05s`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        return format!("{}m{:02}s", seconds / 60, seconds % 60);
    }
    if time.as_millis() >= 100 {
        return format!("{:5.1}s", time.as_secs_f64());
    }
    format!("{:4} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_hold_stops_and_names_itself_why_and_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo/log");
        let mut screen = Screen::new(path.clone()).unwrap();
        screen.step("good", "one that holds", || Ok("it held".to_owned())).unwrap();
        let stopped = screen.step("bad", "one that does not", || Err("the disk is full".into()));
        assert!(stopped.is_err(), "the demo ends with it");
        let told = std::fs::read_to_string(&path).unwrap();
        for part in ["it held", "FAILED", "Step \"bad: one that does not\" did not hold: the disk is full"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(told.contains(&format!("Log: {}", path.display())), "{told}");
        assert_eq!(screen.held, 1);
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(span(Duration::from_millis(38)).trim(), "38 ms");
        assert_eq!(span(Duration::from_millis(3140)).trim(), "3.1s");
        assert_eq!(span(Duration::from_secs(125)), "2m05s");
    }
}
