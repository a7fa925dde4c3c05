//! A program that is spoken with line by line while other things happen, such as a database session that holds a snapshot.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use crate::clock;
use crate::command::{CommandError, Program, Spoken};

/// The longest line that is taken.
const LINE: usize = 1 << 20;

/// A running program; it is killed when this goes.
#[derive(Debug)]
pub struct Conversation {
    spoken: Spoken,
    program: Program,
    read: Vec<u8>,
}

impl Conversation {
    /// Starts it. `timeout` is how long each answer may take; standard error goes nowhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: Program) -> Result<Self, CommandError> {
        Ok(Self { spoken: Spoken::start(&program)?, program, read: Vec::new() })
    }

    /// Says something.
    ///
    /// # Errors
    /// `Follow` when it takes no more.
    pub fn say(&mut self, words: &str) -> Result<(), CommandError> {
        let mut input: &File = self.spoken.input();
        let done = input.write_all(words.as_bytes()).and_then(|()| input.flush());
        done.map_err(|source| self.failed(source))
    }

    /// Its next line, without the end of line: hostile text, not neutralised.
    ///
    /// # Errors
    /// `Timeout`, `TooMuch`, or `Follow` when it has ended.
    pub fn line(&mut self) -> Result<String, CommandError> {
        let deadline = clock::monotonic().saturating_add(self.program.timeout);
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.read.len() > LINE {
                return Err(CommandError::TooMuch { program: self.program.path.clone(), limit: LINE as u64 });
            }
            self.more(deadline)?;
        }
    }

    /// How many lines it says before this one. They may be of any length, and nothing of them is kept.
    ///
    /// # Errors
    /// `Timeout`, or `Follow` when it has ended.
    pub fn lines_until(&mut self, end: &str) -> Result<u64, CommandError> {
        let deadline = clock::monotonic().saturating_add(self.program.timeout);
        // As much of a line's beginning as tells it from `end`.
        let (mut lines, mut begun) = (0, Vec::new());
        loop {
            let mut said = std::mem::take(&mut self.read);
            let mut at = 0;
            while let Some(length) = said[at..].iter().position(|b| *b == b'\n') {
                let rest = &said[at..at + length];
                let whole = begun.len() + rest.len() == end.len();
                let is_end = whole && begun.iter().chain(rest).eq(end.as_bytes());
                at += length + 1;
                if is_end {
                    self.read = said.split_off(at);
                    return Ok(lines);
                }
                begun.clear();
                lines += 1;
            }
            let room = (end.len() + 1).saturating_sub(begun.len());
            begun.extend(said[at..].iter().take(room));
            self.more(deadline)?;
        }
    }

    fn more(&mut self, deadline: Duration) -> Result<(), CommandError> {
        let now = clock::monotonic();
        if now >= deadline {
            let after = self.program.timeout;
            return Err(CommandError::Timeout { program: self.program.path.clone(), after });
        }
        self.spoken.wait(deadline.saturating_sub(now)).map_err(|source| self.failed(source))?;
        self.fill()
    }

    fn fill(&mut self) -> Result<(), CommandError> {
        let mut buffer = [0; 16 * 1024];
        let mut output: &File = self.spoken.output();
        let n = match output.read(&mut buffer) {
            Ok(0) => return Err(self.failed(ErrorKind::UnexpectedEof.into())),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(e) => return Err(self.failed(e)),
        };
        self.read.extend_from_slice(&buffer[..n]);
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> CommandError {
        CommandError::Follow { program: self.program.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cat(timeout: u64) -> Conversation {
        let program = Program::new("/bin/cat", Vec::<&str>::new()).timeout(Duration::from_millis(timeout));
        Conversation::start(program).expect("cat starts")
    }

    #[test]
    fn lines_come_back_and_silence_ends() {
        let mut cat = cat(10_000);
        cat.say("one\ntw").unwrap();
        assert_eq!(cat.line().unwrap(), "one");
        cat.say("o\n").unwrap();
        assert_eq!(cat.line().unwrap(), "two");
        let mut cat = self::cat(50);
        assert!(matches!(cat.line(), Err(CommandError::Timeout { .. })));
        let ends = Program::new("/bin/true", Vec::<&str>::new());
        let mut ends = Conversation::start(ends).unwrap();
        assert!(matches!(ends.line(), Err(CommandError::Follow { .. })));
    }

    #[test]
    fn lines_of_any_length_are_counted_up_to_the_one_that_ends_them() {
        let words = ["one\\n\\nen\\nendless\\n%03000000d\\nend\\nnext\\n", "1"];
        let printf = Program::new("/usr/bin/printf", words).timeout(Duration::from_secs(20));
        let mut printf = Conversation::start(printf).unwrap();
        assert_eq!(printf.lines_until("end").unwrap(), 5);
        assert_eq!(printf.line().unwrap(), "next");
        let seq = Program::new("/usr/bin/seq", ["1", "300000"]).timeout(Duration::from_secs(20));
        let mut seq = Conversation::start(seq).unwrap();
        assert_eq!(seq.lines_until("250001").unwrap(), 250_000);
        assert_eq!(seq.line().unwrap(), "250002", "what follows is still there");
        assert!(matches!(seq.lines_until("no such line"), Err(CommandError::Follow { .. })));
    }
}
