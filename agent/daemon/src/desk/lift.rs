//! Gives an area back. What is said of it is what happened; what was not given back is kept on.

use serde_json::json;
use tenure_areas::area::Done;

use super::{Counter, DOCTOR, failed, no_policy};
use crate::areas::{Area, Desired};
use crate::bell::Reason;
use crate::journal::{Entry, Kind};
use crate::socket::wire::{Answer, Refused};

/// Why an area was not given back.
struct NotGiven {
    why: String,
    hint: String,
    /// What was done of it all the same.
    done: Vec<Done>,
}

impl From<Refused> for NotGiven {
    fn from(refused: Refused) -> Self {
        Self { why: refused.what, hint: refused.hint, done: Vec::new() }
    }
}

impl Counter {
    pub(super) fn lift(&self, area: Area) -> Result<Answer, Refused> {
        let held = self.tools.policy.get().ok_or_else(|| no_policy(&self.tools))?;
        let desired = area.compile(&held.policy()).ok_or_else(|| {
            Refused::new(
                format!("the policy has no section for {area}, so nothing is held there"),
                "name another area",
            )
        })?;
        let (host, before) = (&*self.tools.host, &self.tools.before);
        let now = self.tools.clock.now().wall;
        before.mark_lifted(area, host, now).map_err(|e| failed("mark the area as given back", &e))?;
        let given = self.give_back(area, &*desired);
        let given = given.map_err(|not| self.keep_on(area, not));
        self.lanes.get(&area).into_iter().for_each(|lane| lane.ring(Reason::Operator));
        let done = given?;
        self.event("lift", json!({ "area": area, "done": done }));
        let told = format!("{area} was given back; it is only observed until `tenure-agent apply`");
        Entry::new(Kind::Lifted, &told).area(area).version(held.version()).write();
        Ok(Answer::Lifted { area, done })
    }

    fn give_back(&self, area: Area, desired: &dyn Desired) -> Result<Vec<Done>, NotGiven> {
        let host = &*self.tools.host;
        // From the end of this pass on the lane only observes, so that nothing is taken back at once.
        self.pass_of(area)?;
        let mut done = desired
            .lift(host, host)
            .map_err(|unknown| Refused::new(format!("the host cannot be judged: {unknown}"), DOCTOR))?;
        let failed = |d: &Done| Some(format!("{}: {}", d.step, d.error.as_ref()?));
        if let Some(why) = done.iter().find_map(failed) {
            let hint = "nothing is left half done: the next pass makes the area again as the policy says. Mend what failed \
                        (`tenure-agent doctor` looks for the usual reasons), then lift again";
            return Err(NotGiven { why, hint: hint.into(), done });
        }
        // It is given back; that the rest is as it was is shown, or it is said why not.
        match self.tools.before.compare(area, host) {
            Ok(shown) => done.extend(shown),
            Err(error) => {
                let step = "compare the ruleset with the one kept before the first apply".into();
                done.push(Done { step, error: Some(error.to_string()) });
            }
        }
        Ok(done)
    }

    /// Takes the mark away again and tells everywhere that the area was not given back.
    fn keep_on(&self, area: Area, not: NotGiven) -> Refused {
        let NotGiven { mut why, hint, done } = not;
        if let Err(error) = self.tools.before.unmark_lifted(area, &*self.tools.host) {
            why = format!(
                "{why}; it is only observed until `tenure-agent apply`, as its mark cannot be removed: {error}"
            );
        }
        let what = format!("{area} was not given back: {why}");
        self.event("lift_failed", json!({ "area": area, "done": done, "why": why }));
        let version = self.tools.policy.get().and_then(|held| held.version());
        Entry::new(Kind::StepFailed, &what).area(area).version(version).write();
        Refused::new(what, hint)
    }
}
