//! A machine in the wrong hands: records signed with its real key, told to the controller over its real certificate. Every
//! forgery begins at the last record that the machine wrote itself, else it would be found by its place alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenure_lab::Host;
use tenure_trust::enrol::IngestAnswer;
use tenure_trust::{
    About, Chain, Draft, EventName, ExportLine, Link, MachineRole, Payload, Record, Seq, SigningKey,
};

use crate::Result;

/// Lines of a segment: well below its 4 MiB.
const SEGMENT: usize = 2000;

/// Whoever has the machine's key. Its own program must not run meanwhile.
#[derive(Debug)]
pub struct Forger {
    machine: Host,
    state: &'static str,
    key: SigningKey,
    /// Where the chain stands.
    pub chain: Chain,
    draft: Draft,
    facts: Vec<u8>,
    /// What the machine wrote itself.
    own: Vec<(Seq, String)>,
}

impl Forger {
    /// Takes key, chain and the last facts of an area from a machine.
    ///
    /// # Errors
    /// When it has none of them.
    pub fn of(machine: &Host, role: MachineRole, area: &str) -> Result<Self> {
        let state = if role == MachineRole::Vault { "/var/lib/tenure-vault" } else { "/var/lib/tenure" };
        let secret = machine.get(&format!("{state}/identity.key"))?;
        let seed = STANDARD.decode(secret.trim().rsplit(' ').next().unwrap_or_default())?;
        let key = SigningKey::from_seed(&seed.try_into().map_err(|_| "the key has another length")?);
        let text = machine.must(&["sh", "-c", &format!("cat {state}/chain/*.jsonl")])?;
        let lines: Vec<(Record, ExportLine)> = text.lines().map(read).collect::<Result<_>>()?;
        let (last, line) = lines.last().ok_or("it has written no record")?;
        let chain = Chain {
            host: last.host.clone(),
            role,
            epoch: last.epoch,
            next: Seq(last.seq.0 + 1),
            prev: line.record.hash(),
        };
        let named = |about: &About| matches!(about, About::Area(name) if name.as_str() == area);
        let (record, line) =
            lines.iter().rfind(|(record, _)| named(&record.about)).ok_or("it said nothing of the area")?;
        let facts = line.payload.as_ref().ok_or("its facts were deleted")?.bytes().to_vec();
        let draft = Draft {
            about: record.about.clone(),
            policy: record.policy,
            judge: record.judge.clone(),
            observed_at: record.observed_at,
            verdict: record.verdict,
            reason: record.reason.clone(),
        };
        let own = lines.iter().map(|(record, line)| (record.seq, line.to_json())).collect();
        Ok(Self { machine: machine.clone(), state, key, chain, draft, facts, own })
    }

    /// Tells the controller what the machine wrote itself after the record of this number, the last that is held there:
    /// a program that was ended has not told its last ones.
    ///
    /// # Errors
    /// When it does not take one.
    pub fn tell_rest(&self, held: u64) -> Result<()> {
        for (seq, line) in self.own.iter().filter(|(seq, _)| seq.0 > held) {
            match self.send(line)? {
                IngestAnswer::Taken { .. } => {}
                other => return Err(format!("its own record {seq}: {other:?}").into()),
            }
        }
        Ok(())
    }

    /// The facts that the machine stated last.
    #[must_use]
    pub fn facts(&self) -> &[u8] {
        &self.facts
    }

    /// The next record, with these facts, seen now. The chain does not move.
    ///
    /// # Errors
    /// When the facts are too large.
    pub fn link(&self, facts: Vec<u8>) -> Result<Link> {
        let now = self.machine.must(&["date", "-u", "+%FT%TZ"])?;
        let draft = Draft { observed_at: now.trim().parse()?, ..self.draft.clone() };
        Ok(self.chain.link(draft, Payload::new([7; Payload::SALT], facts)?, 0, &self.key))
    }

    /// Tells the controller, with the machine's certificate and a foreign client.
    ///
    /// # Errors
    /// When it gives no answer.
    pub fn tell(&self, link: &Link) -> Result<IngestAnswer> {
        self.send(&link.line())
    }

    fn send(&self, line: &str) -> Result<IngestAnswer> {
        let ca = "python3 -c 'import json,sys; print(json.load(sys.stdin)[\"ca\"])' <$0/link/enrolment.json >/root/told.ca";
        let ask = "curl -sS --cacert /root/told.ca --cert $0/tls.crt --key $0/tls.key --data-binary @- \
                   https://198.51.100.20:8441/v1/records";
        let (command, input) = (format!("{ca} && {ask}"), format!("{line}\n"));
        let said = self.machine.exec_fed(&["sh", "-c", &command, self.state], Some(input.as_bytes()), 60)?;
        serde_json::from_str(&said.stdout).map_err(|e| format!("{e}: {}", said.said()).into())
    }

    /// Tells the controller the next record, which it has to take, and moves on.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn told(&mut self, facts: Vec<u8>) -> Result<Link> {
        let link = self.link(facts)?;
        match self.tell(&link)? {
            IngestAnswer::Taken { seq, hash, .. } if (seq, hash) == (link.record.seq, link.signed.hash()) => {
            }
            other => return Err(format!("record {}: {other:?}", link.record.seq).into()),
        }
        self.chain.advance(&link);
        Ok(link)
    }

    /// Writes records into the machine's own chain, as if it had made them.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn write(&self, links: &[Link]) -> Result<()> {
        for links in links.chunks(SEGMENT) {
            let first = &links[0].record;
            let path = format!("{}/chain/{:010}-{:020}.jsonl", self.state, first.epoch.0, first.seq.0);
            let text: String = links.iter().flat_map(|link| [link.line(), "\n".to_owned()]).collect();
            self.machine.put(&path, text.as_bytes(), "600")?;
            self.machine.must(&["chown", "--reference", self.state, &path])?;
        }
        Ok(())
    }

    /// Writes so many small events into the machine's own chain: what piles up while a controller is away.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn pile_up(&mut self, count: usize) -> Result<()> {
        let mut links = Vec::with_capacity(count);
        let about = About::Event(EventName::new("lab_note")?);
        let draft = Draft { about, verdict: None, reason: None, ..self.draft.clone() };
        for number in 0..count {
            let payload = Payload::new([7; Payload::SALT], format!("{{\"number\":{number}}}").into_bytes())?;
            let link = self.chain.link(draft.clone(), payload, 0, &self.key);
            self.chain.advance(&link);
            links.push(link);
        }
        self.write(&links)
    }
}

fn read(line: &str) -> Result<(Record, ExportLine)> {
    let line = ExportLine::parse(line.as_bytes())?;
    Ok((line.unverified()?, line))
}
