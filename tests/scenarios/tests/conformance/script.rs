//! A script of situations and requests, run on the lab host and on the fake alike.

use std::collections::BTreeSet;

use tenure_areas::fake::FakeHost;
use tenure_areas::port::{Beneath, Command, ManagedFile, ManagedPath, Owner, Query};
use tenure_lab::Host;

use crate::alike::{Bases, command_kind, difference, is_refused, query_kind};
use crate::wire::{Answer, Line, Request, perform};
use crate::{PROGRAM, Result};

type OnFake = Box<dyn FnOnce(&FakeHost)>;

/// What happens in which order.
pub(crate) struct Script {
    topic: &'static str,
    situation: String,
    steps: Vec<(String, Step)>,
}

enum Step {
    /// Somebody else does this on the real host and the same on the fake.
    Outsider(String, OnFake),
    Ask(Request),
}

/// What all scripts together have shown.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Kinds that both hosts answered well at least once.
    pub(crate) answered: BTreeSet<&'static str>,
    /// Kinds that both hosts refused at least once.
    pub(crate) refused: BTreeSet<&'static str>,
    /// Where host and fake differ.
    pub(crate) differences: Vec<String>,
}

impl Script {
    pub(crate) fn new(topic: &'static str) -> Self {
        Self { topic, situation: "at first".into(), steps: Vec::new() }
    }

    /// From here on another situation, made on the host by a line of shell.
    pub(crate) fn situation(
        &mut self,
        name: impl Into<String>,
        shell: impl Into<String>,
        fake: impl FnOnce(&FakeHost) + 'static,
    ) {
        self.situation = name.into();
        let step = Step::Outsider(shell.into(), Box::new(fake));
        self.steps.push((self.situation.clone(), step));
    }

    /// Something that makes no other situation.
    pub(crate) fn aside(&mut self, shell: &str) {
        self.steps.push((self.situation.clone(), Step::Outsider(shell.into(), Box::new(|_| {}))));
    }

    pub(crate) fn request(&mut self, request: Request) {
        self.steps.push((self.situation.clone(), Step::Ask(request)));
    }

    pub(crate) fn ask(&mut self, query: Query) {
        self.request(Request::Ask(query));
    }

    pub(crate) fn tell(&mut self, command: Command) {
        self.request(Request::Tell(command));
    }

    pub(crate) fn file(&mut self, path: Beneath, owner: Owner, limit: usize) {
        self.request(Request::File { path, owner, limit });
    }

    pub(crate) fn put(&mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) {
        let path = ManagedPath::new(path).expect("a managed place");
        self.request(Request::Put(ManagedFile { path, bytes: bytes.into(), mode }));
    }

    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        let managed = |path| ManagedPath::new(path).expect("a managed place");
        self.request(Request::Replace(managed(from), managed(to)));
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.request(Request::Remove(ManagedPath::new(path).expect("a managed place")));
    }
}

impl Tally {
    /// Runs the script on both and notes what they answered.
    pub(crate) fn run(&mut self, host: &Host, script: Script) -> Result<()> {
        let mut input = Vec::new();
        for (_, step) in &script.steps {
            let line = match step {
                Step::Outsider(shell, _) => Line::Outsider(shell.clone()),
                Step::Ask(request) => Line::Port(request.clone()),
            };
            serde_json::to_writer(&mut input, &line)?;
            input.push(b'\n');
        }
        let output = host.exec_fed(&[PROGRAM], Some(&input), 120)?;
        let mut answers = output.stdout.lines();
        let fake = FakeHost::debian();
        let mut bases = Bases::default();
        for (situation, step) in script.steps {
            let answer = answers.next().ok_or_else(|| format!("{PROGRAM} ended: {}", output.said()))?;
            let real: Answer = serde_json::from_str(answer)?;
            match step {
                Step::Outsider(_, on_fake) => {
                    if real != Answer::Outsider(Ok(())) {
                        return Err(format!("{}, {situation}: {real:?}", script.topic).into());
                    }
                    on_fake(&fake);
                }
                Step::Ask(request) => {
                    let faked = perform(&fake, &request);
                    self.note(&request, &real, &faked);
                    if let Some(what) = difference(&request, &real, &faked, &mut bases) {
                        let asked: String = format!("{request:?}").chars().take(300).collect();
                        self.differences
                            .push(format!("- {}, {situation}\n  {asked}\n  {what}", script.topic));
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, request: &Request, real: &Answer, fake: &Answer) {
        let kind = kind(request);
        match (is_refused(real), is_refused(fake)) {
            (true, true) => drop(self.refused.insert(kind)),
            (false, false) => drop(self.answered.insert(kind)),
            _ => {}
        }
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::File { .. } => "file",
        Request::Dir { .. } => "dir",
        Request::Stat(_) => "stat",
        Request::Ask(query) => query_kind(query),
        Request::Put(_) => "put",
        Request::Replace(..) => "replace",
        Request::Remove(_) => "remove",
        Request::Tell(command) => command_kind(command),
    }
}
