//! Tells whoever waits that something lasts: a line that moves on a terminal; elsewhere one line, once it has lasted long.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::text;

/// Nobody waits for less without asking what it does.
const LONG: Duration = Duration::from_secs(2);
/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(100);
/// Longest text.
const LIMIT: usize = 200;

/// Something that may last; what is told of it goes when this goes. All of it on standard error.
#[derive(Debug)]
pub struct Progress(Shown);

#[derive(Debug)]
enum Shown {
    Nothing,
    Moving(ProgressBar),
    Late(Late),
}

impl Progress {
    /// Nothing is told.
    pub fn none() -> Self {
        Self(Shown::Nothing)
    }

    /// Begins something.
    pub fn new(what: &str) -> Self {
        let what = text::neutral(what.as_bytes(), LIMIT);
        if !std::io::stderr().is_terminal() {
            // Nobody is left to tell when standard error is closed.
            let say = |what: &str| drop(writeln!(std::io::stderr().lock(), "{what} …"));
            return Self(Shown::Late(Late::new(what, LONG, say)));
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.tick();
        bar.enable_steady_tick(TICK);
        Self(Shown::Moving(bar))
    }

    /// It is at something else now.
    pub fn say(&self, what: &str) {
        let what = text::neutral(what.as_bytes(), LIMIT);
        match &self.0 {
            Shown::Nothing => {}
            Shown::Moving(bar) => bar.set_message(what),
            Shown::Late(late) => late.say(what),
        }
    }

    /// Prints something else while the line is away.
    pub fn pause(&self, print: impl FnOnce()) {
        match &self.0 {
            Shown::Moving(bar) => bar.suspend(print),
            Shown::Nothing | Shown::Late(_) => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Moving(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// One line once something has lasted for a while, with what it is at then; none when it was over before.
#[derive(Debug)]
struct Late {
    what: Arc<Mutex<String>>,
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Late {
    fn new(what: String, after: Duration, say: impl FnOnce(&str) + Send + 'static) -> Self {
        let what = Arc::new(Mutex::new(what));
        let (over, ended) = channel::<()>();
        let now = Arc::clone(&what);
        let wait = move || {
            if ended.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                say(&now.lock().unwrap_or_else(PoisonError::into_inner));
            }
        };
        // Without a thread nothing is told, and the work goes on.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(wait).ok();
        Self { what, over: Some(over), thread }
    }

    fn say(&self, what: String) {
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            // It prints one line and cannot fail; nothing hangs on it either.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_and_what_does_not_never() {
        let (told, heard) = channel();
        let late = Late::new("looking".into(), Duration::ZERO, move |what| {
            told.send(what.to_owned()).expect("somebody listens");
        });
        assert_eq!(heard.recv().as_deref(), Ok("looking"));
        drop(late);
        assert!(heard.recv().is_err(), "once");

        let (told, heard) = channel::<String>();
        let late = Late::new("looking".into(), Duration::from_secs(3600), move |what| {
            told.send(what.to_owned()).expect("somebody listens");
        });
        late.say("looking further".into());
        drop(late);
        assert!(heard.recv().is_err(), "it was over before");
    }
}
