//! What people ask of the running agent, answered: status, plan, apply, confirm, revert, drift, lift.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tenure_areas::firewall::in_force;
use tenure_areas::firewall::listing::live_families;
use tenure_areas::firewall::nft::live_name;
use tenure_areas::firewall::state::{
    self, CONFIRM, ConfirmRequest, Kept, REFUSED, TRIAL, Trial, whole_trial,
};
use tenure_areas::port::{ManagedFile, ManagedPath, PortError, PortResult, Query};
use tenure_areas::ssh_access::state::{Trial as SshTrial, hash_of};
use tenure_link::uplink;
use tenure_trust::HostName;

use crate::areas::Area;
use crate::bell::{Mailbox, Reason};
use crate::itself::Itself;
use crate::journal::{Entry, Kind};
use crate::lane::Tools;
use crate::plan::host_plan;
use crate::session::{self, Confirmer};
use crate::socket::Desk;
use crate::socket::wire::{Answer, Confirmed, Drift, Refused, Request, Status};
use crate::ssh_trial;

mod lift;

/// How long a lane may take for the pass that somebody waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do next where the host itself is in the way.
const DOCTOR: &str =
    "`tenure-agent doctor` looks for the usual reasons (a full disk, a missing program); then try again";

/// The agent's desk.
pub struct Counter {
    tools: Tools,
    lanes: BTreeMap<Area, Mailbox>,
    host: HostName,
    since: Timestamp,
    /// The same in milliseconds since boot: the wall clock may have been set since.
    since_boot_ms: u64,
    /// What does not run and should, in words.
    notes: Vec<String>,
    /// The link to the controller, where there is one.
    link: Option<uplink::Bell>,
    /// Orders are carried out one after the other.
    orders: Mutex<()>,
}

impl Counter {
    /// A desk for this agent.
    pub fn new(
        tools: Tools,
        lanes: BTreeMap<Area, Mailbox>,
        host: HostName,
        notes: Vec<String>,
        link: Option<uplink::Bell>,
    ) -> Self {
        let now = tools.clock.now();
        let (since, since_boot_ms) = (now.wall, now.since_boot_ms);
        Self { tools, lanes, host, since, since_boot_ms, notes, link, orders: Mutex::new(()) }
    }

    fn status(&self) -> Status {
        let now = self.tools.clock.now();
        let mut notes = self.notes.clone();
        let board = self.tools.board.overview();
        notes.extend(self.tools.floor.judge(now.clone()).1.map(|unknown| unknown.to_string()));
        if let Some(until) = board.policy.as_ref().and_then(|p| p.until)
            && until <= now.wall
        {
            notes.push(format!(
                "the policy expired at {until}: it is still enforced; sign and deliver a new version"
            ));
        }
        Status {
            host: self.host.clone(),
            agent: Itself::look(now.since_boot_ms.saturating_sub(self.since_boot_ms)),
            since: self.since,
            now: now.wall,
            board,
            notes,
            link: self.link.as_ref().map(uplink::Bell::status),
        }
    }

    fn plan(&self) -> Result<Answer, Refused> {
        let held = self.tools.policy.get().ok_or_else(|| no_policy(&self.tools))?;
        let now = self.tools.floor.judge(self.tools.clock.now()).0;
        Ok(Answer::Plan(Box::new(host_plan(&held, &*self.tools.host, &now))))
    }

    /// Areas that were given back are kept again, and a ruleset that nobody confirmed may be tried again.
    fn apply(&self) -> Result<Answer, Refused> {
        let host = &*self.tools.host;
        for area in Area::ALL {
            self.tools
                .before
                .unmark_lifted(area, host)
                .map_err(|e| failed("let the areas enforce again", &e))?;
        }
        remove(host, REFUSED).map_err(|e| failed("forget the ruleset that nobody confirmed", &e))?;
        ssh_trial::allow_again(host).map_err(|e| failed("forget the logins that nobody proved", &e))?;
        self.lanes.values().for_each(|lane| lane.ring(Reason::Operator));
        Ok(Answer::Ringing)
    }

    /// Whatever is on trial: a ruleset by this word, logins by the login that brought whoever asks here.
    fn confirm(&self, pid: u32) -> Result<Answer, Refused> {
        let logins = self.waiting_logins()?;
        let trial = match (self.running_trial("confirmed"), &logins) {
            (Ok(trial), _) => trial,
            (Err(_), Some(logins)) => return self.confirm_logins(pid, logins.from_boot_ms),
            (Err(refused), None) => return Err(refused),
        };
        let switched = self.switched_before(&trial)?;
        let by = session::confirmer(pid, switched, &*self.tools.host)
            .map_err(|e| Refused::new(format!("not confirmed: {e}"), e.hint()))?;
        let mut confirmed = self.confirm_as(&trial, by)?;
        if logins.is_some() {
            confirmed.ssh_access = Some(self.word_on_logins()?);
        }
        Ok(Answer::Confirmed(confirmed))
    }

    /// Keeps the ruleset on trial after a prober has proved that it connects anew.
    ///
    /// # Errors
    /// When nothing is on trial any more, or the pass that should keep it did not.
    pub fn confirm_by_prober(&self, by: Confirmer) -> Result<(), Refused> {
        let _one = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = self.running_trial("confirmed")?;
        self.switched_before(&trial)?;
        self.confirm_as(&trial, by).map(drop)
    }

    fn confirm_as(&self, trial: &Trial, by: Confirmer) -> Result<Confirmed, Refused> {
        let (number, now) = (trial.new.number, self.tools.clock.now());
        let request = ConfirmRequest { number, hash: trial.new.hash, by: by.to_string(), at: now.wall };
        let bytes = serde_json::to_vec(&request).expect("plain data with text keys");
        write(&*self.tools.host, CONFIRM, bytes).map_err(|e| failed("leave the confirmation", &e))?;
        self.pass_of(Area::Firewall)?;
        if self.confirmed_number()? != Some(number) {
            let why = self.last_word(Area::Firewall);
            // Who is told that it was not done must not see it done later: the word is taken back before that is said.
            remove(&*self.tools.host, CONFIRM).map_err(|e| failed("take the confirmation back", &e))?;
            self.pass_of(Area::Firewall)?;
            if self.confirmed_number()? != Some(number) {
                return Err(self.not_kept(number, &why));
            }
        }
        let payload = json!({ "number": number, "hash": trial.new.hash, "by": by });
        self.event("confirm", payload);
        let told = format!("firewall g{number} confirmed by {by}");
        let version = self.tools.policy.get().and_then(|held| held.version());
        Entry::new(Kind::TrialConfirmed, &told).area(Area::Firewall).version(version).write();
        Ok(Confirmed { number: Some(number), by, at: now.wall, ssh_access: None })
    }

    /// What came of a confirmation that left no confirmed ruleset.
    fn not_kept(&self, number: u32, why: &str) -> Refused {
        match in_force::unwritten(&*self.tools.host) {
            Ok(Some(kept)) if kept == number => Refused::new(
                format!("g{number} is in force, not yet written down: {why}"),
                "the agent writes it down as soon as it can; until then the ruleset before it comes back when the host \
                 restarts. `tenure-agent doctor` looks for the usual reasons (a full disk)",
            ),
            Ok(_) => {
                let next = "the ruleset before it comes back when the trial ends; look at `tenure-agent status`, mend that \
                            (`tenure-agent doctor` looks for the usual reasons), then confirm again";
                Refused::new(format!("g{number} was not confirmed: {why}"), next)
            }
            Err(unknown) => Refused::new(
                format!(
                    "g{number} is not written down as confirmed: {why}; whether it is in force is not known: {unknown}"
                ),
                DOCTOR,
            ),
        }
    }

    fn confirm_logins(&self, pid: u32, switched: u64) -> Result<Answer, Refused> {
        let by = session::confirmer(pid, switched, &*self.tools.host)
            .map_err(|e| Refused::new(format!("not confirmed: {e}"), e.hint()))?;
        let word = self.word_on_logins()?;
        if self.waiting_logins()?.is_some() {
            let what =
                format!("not confirmed: {by} did not come in by a key of the policy from where it lists it");
            return Err(Refused::new(what, word));
        }
        let at = self.tools.clock.now().wall;
        Ok(Answer::Confirmed(Confirmed { number: None, by, at, ssh_access: Some(word) }))
    }

    /// Has the lane look who came in, and says how the trial of logins stands then.
    fn word_on_logins(&self) -> Result<String, Refused> {
        self.pass_of(Area::SshAccess)?;
        if self.waiting_logins()?.is_none() {
            return Ok("the policy's logins are in force, the other ways in by SSH are closed".into());
        }
        let board = self.tools.board.overview();
        let pending = board.areas.into_iter().find(|a| a.area == Area::SshAccess).and_then(|a| a.pending);
        let next = pending.and_then(|pending| pending.next);
        Ok(next.unwrap_or_else(|| self.last_word(Area::SshAccess)))
    }

    fn waiting_logins(&self) -> Result<Option<SshTrial>, Refused> {
        ssh_trial::waiting(&*self.tools.host).map_err(|e| failed("read the trial of logins", &e))
    }

    /// Gives up whatever is on trial.
    fn revert(&self) -> Result<Answer, Refused> {
        let logins = self.waiting_logins()?;
        let ruleset = match (self.running_trial("given up"), &logins) {
            (Ok(trial), _) => Some(trial),
            (Err(_), Some(_)) => None,
            (Err(refused), None) => return Err(refused),
        };
        if let Some(logins) = &logins {
            let at = self.tools.clock.now().wall;
            ssh_trial::give_up(&*self.tools.host, logins, at)
                .map_err(|e| failed("give the trial of logins up", &e))?;
            self.pass_of(Area::SshAccess)?;
            if self.waiting_logins()?.is_some() {
                let what = format!("logins are still on trial: {}", self.last_word(Area::SshAccess));
                return Err(Refused::new(
                    what,
                    "wait: no old way in is closed, and it goes back when the trial ends",
                ));
            }
            self.event("revert", json!({ "ssh_access": hash_of(&logins.section) }));
        }
        let number = ruleset.map(|trial| self.revert_ruleset(&trial)).transpose()?;
        Ok(Answer::Reverted { number, ssh_access: logins.is_some() })
    }

    fn revert_ruleset(&self, trial: &Trial) -> Result<u32, Refused> {
        let (number, hash) = (trial.new.number, trial.new.hash);
        let at = self.tools.clock.now().wall;
        let refused = state::Refused { number, hash, why: "somebody gave it up".into(), at };
        let bytes = serde_json::to_vec(&refused).expect("plain data with text keys");
        write(&*self.tools.host, REFUSED, bytes).map_err(|e| failed("give the trial up", &e))?;
        self.pass_of(Area::Firewall)?;
        if let Kept::Some(left) = self.trial()?
            && left.new.number == number
        {
            let what = format!("g{number} is still on trial: {}", self.last_word(Area::Firewall));
            return Err(Refused::new(what, "wait: the kernel falls back by itself when the trial ends"));
        }
        self.event("revert", json!({ "number": number, "hash": hash }));
        Ok(number)
    }

    fn drift(&self) -> Answer {
        Answer::Drift(Drift { events: self.tools.board.events(), board: self.tools.board.overview() })
    }

    fn trial(&self) -> Result<Kept<Trial>, Refused> {
        state::read::<Trial>(&*self.tools.host, TRIAL)
            .map(whole_trial)
            .map_err(|e| failed("read the trial", &e))
    }

    fn running_trial(&self, what: &str) -> Result<Trial, Refused> {
        let none = || {
            let text = format!("nothing was {what}: no ruleset is on trial");
            Refused::new(text, "`tenure-agent status` shows what is in force")
        };
        match self.trial()? {
            Kept::Some(trial) if trial.left(&self.tools.clock.now()) > 0 => Ok(trial),
            Kept::Some(trial) => Err(Refused::new(
                format!(
                    "nothing was {what}: the trial of g{} is over, the kernel fell back",
                    trial.new.number
                ),
                "`tenure-agent apply` tries it again",
            )),
            Kept::None => Err(none()),
            Kept::Broken(why) => {
                let next =
                    "nothing is lost: the kernel falls back by itself; `tenure-agent apply` tries it again";
                Err(Refused::new(format!("nothing was {what}: {TRIAL}: {why}"), next))
            }
        }
    }

    /// A moment (milliseconds since boot) at which the switch to the new ruleset had certainly happened; the earliest
    /// that is known. The kernel tells it by what is left of the trial's elements, to the second; the lane by the end of
    /// the pass that switched.
    fn switched_before(&self, trial: &Trial) -> Result<u64, Refused> {
        let name = live_name(trial.new.number);
        let over = || {
            let what = format!("nothing was confirmed: the trial of g{} is over", trial.new.number);
            Refused::new(what, "`tenure-agent apply` tries it again")
        };
        let listing = match self.tools.host.ask(&Query::NftSet { name }) {
            Ok(listing) => listing,
            Err(PortError::Absent { .. }) => return Err(over()),
            Err(e) => return Err(failed("ask the kernel about the trial", &e)),
        };
        let families = live_families(&listing).map(|f| f.len()).unwrap_or(0);
        if families != 2 {
            return Err(over());
        }
        let now_ms = self.tools.clock.now().since_boot_ms;
        let by_kernel = age_seconds(&listing).map(|age| now_ms.saturating_sub(age.saturating_sub(1) * 1000));
        let by_lane = self.tools.board.under_way_since(Area::Firewall);
        let known = by_kernel.into_iter().chain(by_lane).min();
        known.ok_or_else(|| {
            let what = "nothing was confirmed: it cannot be told when the switch happened";
            Refused::new(what, "try again in a few seconds")
        })
    }

    fn confirmed_number(&self) -> Result<Option<u32>, Refused> {
        match state::read::<state::Confirmed>(&*self.tools.host, state::CONFIRMED) {
            Ok(Kept::Some(confirmed)) => Ok(Some(confirmed.ruleset.number)),
            Ok(Kept::None | Kept::Broken(_)) => Ok(None),
            Err(e) => Err(failed("read the confirmed ruleset", &e)),
        }
    }

    /// Has a pass made that begins after now, and waits for its end.
    fn pass_of(&self, area: Area) -> Result<(), Refused> {
        let lane =
            self.lanes.get(&area).ok_or_else(|| Refused::new(format!("no lane keeps {area}"), DOCTOR))?;
        let board = &self.tools.board;
        // A pass may be under way that began before now: the second end from here is of one that began after.
        for _ in 0..2 {
            let before = board.passes(area);
            lane.ring(Reason::Operator);
            if !board.wait_until(PATIENCE, |_| board.passes(area) > before) {
                let what = format!("the lane {area} did not finish a pass within {} s", PATIENCE.as_secs());
                return Err(Refused::new(what, "look at `tenure-agent status` and the journal"));
            }
        }
        Ok(())
    }

    /// The most telling line of an area's last pass.
    fn last_word(&self, area: Area) -> String {
        let board = self.tools.board.overview();
        let Some(status) = board.areas.iter().find(|a| a.area == area) else {
            return "nobody knows why".into();
        };
        let error = status.done.iter().find_map(|d| d.error.clone());
        let refusal = status.refusal.as_ref().map(ToString::to_string);
        let unknown = status.unknown.as_ref().map(ToString::to_string);
        let finding = status.findings.first().map(|f| f.what.clone());
        error.or(refusal).or(unknown).or(finding).unwrap_or_else(|| format!("the area is {}", status.verdict))
    }

    fn event(&self, name: &str, payload: serde_json::Value) {
        let version = self.tools.policy.get().and_then(|held| held.version());
        self.tools.recorder.event(name, payload, version, self.tools.clock.now().wall);
    }
}

impl Desk for Counter {
    fn answer(&self, request: Request, pid: u32) -> Answer {
        let order = || self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status()))),
            Request::Drift => Ok(self.drift()),
            Request::Plan => self.plan(),
            Request::Settle => {
                self.tools.recorder.settle();
                Ok(Answer::Settled)
            }
            Request::Apply => {
                let _one = order();
                self.apply()
            }
            Request::Confirm => {
                let _one = order();
                self.confirm(pid)
            }
            Request::Revert => {
                let _one = order();
                self.revert()
            }
            Request::Lift { area } => {
                let _one = order();
                self.lift(area)
            }
            Request::Backup { which } => {
                let _one = order();
                crate::orders::backup(&self.tools, which.as_deref()).inspect(|_| {
                    self.lanes.get(&Area::Backup).into_iter().for_each(|lane| lane.ring(Reason::Operator));
                })
            }
        };
        answer.unwrap_or_else(Answer::Refused)
    }
}

fn no_policy(tools: &Tools) -> Refused {
    let why = tools.board.overview().policy_fault.unwrap_or_else(|| "none has been delivered yet".into());
    Refused::new(format!("there is no policy: {why}"), "deliver one, or look at `tenure-agent status`")
}

fn failed(doing: &str, error: &PortError) -> Refused {
    let next = match error {
        PortError::Untrusted { .. } => {
            "find out who changed it; make it root's alone, or move it away, and try again"
        }
        PortError::Absent { .. } => "`tenure-agent status` shows what is in force; try again",
        PortError::TooLarge { .. } | PortError::Failed { .. } => DOCTOR,
    };
    Refused::new(format!("cannot {doing}: {error}"), next)
}

fn write(host: &dyn crate::host::Host, path: &str, bytes: Vec<u8>) -> PortResult<()> {
    host.put(&ManagedFile { path: ManagedPath::new(path)?, bytes, mode: 0o600 })
}

fn remove(host: &dyn crate::host::Host, path: &str) -> PortResult<()> {
    host.remove(&ManagedPath::new(path)?)
}

/// How long ago the elements of a trial's live set were added, in whole seconds: `nft -j` tells their timeout and what is
/// left of it, rounded down. The smallest, since an element may have been added again.
fn age_seconds(listing: &[u8]) -> Option<u64> {
    fn visit(value: &serde_json::Value, out: &mut Vec<u64>) {
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|v| visit(v, out)),
            serde_json::Value::Object(fields) => {
                let number = |key: &str| fields.get(key).and_then(serde_json::Value::as_u64);
                if let (Some(timeout), Some(left)) = (number("timeout"), number("expires")) {
                    out.push(timeout.saturating_sub(left));
                }
                fields.values().for_each(|v| visit(v, out));
            }
            _ => {}
        }
    }
    let mut ages = Vec::new();
    visit(&serde_json::from_slice(listing).ok()?, &mut ages);
    ages.into_iter().min()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod age_tests {
    use super::*;

    #[test]
    fn the_kernel_tells_when_it_switched() {
        let listing = br#"{"nftables":[{"metainfo":{}},{"set":{"name":"g2_live","timeout":60,"elem":[
            {"elem":{"val":"ipv4","timeout":60,"expires":41}},{"elem":{"val":"ipv6","timeout":60,"expires":40}}]}}]}"#;
        assert_eq!(age_seconds(listing), Some(19));
        assert_eq!(age_seconds(b"{}"), None);
        assert_eq!(age_seconds(b"garbage"), None);
    }
}
