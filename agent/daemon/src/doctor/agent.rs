//! The policy that was taken, and the agent that should keep it.

use jiff::{SignedDuration, Timestamp};
use tenure_policy::resolved::{Login, SshAccessSection, ends_soon};
use tenure_sys::clock;

use super::Check;
use crate::board::AreaStatus;
use crate::config::{Config, Source};
use crate::paths::Paths;
use crate::policy_source::PolicySource;
use crate::socket::client::{AskError, ask};
use crate::socket::wire::{Answer, Request, Status};
use crate::sources::{Bundles, Directory};

/// How long before its end a policy is told.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// A lane that missed so many heartbeats does not live.
const HEARTBEATS: i64 = 3;

/// The policy, taken or ready to be taken, until when it holds, and until when management gets in by it.
pub(super) fn policy(paths: &Paths, config: &Config) -> Vec<Check> {
    let (path, host, now) = (config.policy.path.clone(), config.host.clone(), clock::wall());
    let held = match config.policy.from {
        Source::Directory => {
            Directory::open(paths, path, host, None).and_then(|mut source| source.take(now)).map(Some)
        }
        Source::Bundles | Source::Controller => {
            Bundles::open(paths, path, host).and_then(|mut source| source.resume(now))
        }
    };
    match held {
        Ok(Some(held)) => {
            let itself = match (held.version(), held.until()) {
                (Some(version), Some(until)) => judge_until(&format!("version {version}"), until, now),
                _ => Check::ok("policy", "an unsigned set of root's; it has no end"),
            };
            let logins = held.policy().ssh_access.map(|section| judge_logins(&section, now));
            [itself].into_iter().chain(logins).collect()
        }
        Ok(None) => {
            vec![Check::warn("policy", "none has been taken yet", "deliver index.json and the host's bundle")]
        }
        Err(e) => {
            let hint = e.hint.unwrap_or_else(|| "`tenure check` shows more".into());
            vec![Check::config("policy", e.what, hint)]
        }
    }
}

/// Until when the people of management get in: after that nobody can mend anything by SSH.
fn judge_logins(section: &SshAccessSection, now: Timestamp) -> Check {
    let name = "management logins";
    let remedy = "an operator writes a later `until` for these people, signs a new version and delivers it";
    let ours = || section.logins.iter().filter(|login| section.is_managements(login));
    let told = |logins: &mut dyn Iterator<Item = &Login>| {
        let each = logins.map(|login| format!("{} as {} until {}", login.who, login.account, login.until));
        each.collect::<Vec<_>>().join(", ")
    };
    let soon = told(&mut ours().filter(|login| ends_soon(login.until, now)));
    match ours().map(|login| login.until).filter(|until| *until > now).max() {
        None => Check::fail(name, format!("none lasts: {}", told(&mut ours())), remedy),
        Some(_) if !soon.is_empty() => Check::warn(name, format!("they end soon: {soon}"), remedy),
        Some(last) => Check::ok(name, format!("the last one until {last}")),
    }
}

fn judge_until(named: &str, until: Timestamp, now: Timestamp) -> Check {
    let what = format!("{named}, until {until}");
    let remedy = "an operator signs a new version (`tenure sign`) and delivers it";
    match until.duration_since(now) {
        left if left.is_negative() => {
            Check::fail("policy", format!("{what}: expired, and still enforced"), remedy)
        }
        left if left < SOON => Check::warn("policy", format!("{what}: it ends soon"), remedy),
        _ => Check::ok("policy", what),
    }
}

/// The running agent, as it tells itself.
pub(super) fn running(paths: &Paths) -> Vec<Check> {
    let start = "`systemctl start tenure-agent`, and look at `journalctl -u tenure-agent`";
    match ask(&paths.socket(), &Request::Status) {
        Ok(Answer::Status(status)) => judge_status(&status),
        Ok(_) => {
            vec![Check::unknown("agent", "it answered another question", "`systemctl restart tenure-agent`")]
        }
        Err(AskError::NotRunning { .. }) => {
            vec![Check::fail("agent", "none runs: nobody keeps this host as its policy says", start)]
        }
        Err(e) => vec![Check::fail("agent", crate::journal::chain(&e), "`systemctl restart tenure-agent`")],
    }
}

fn judge_status(status: &Status) -> Vec<Check> {
    let (board, itself) = (&status.board, &status.agent);
    let mut out = Vec::new();
    out.push(if itself.version == env!("CARGO_PKG_VERSION") {
        Check::ok("agent", format!("{} runs as pid {}", itself.version, itself.pid))
    } else {
        let what = format!("{} runs, and this program is {}", itself.version, env!("CARGO_PKG_VERSION"));
        Check::warn("agent", what, "`systemctl restart tenure-agent`")
    });
    if let Some(fault) = &board.policy_fault {
        let what = fault.lines().next().unwrap_or_default();
        out.push(Check::config("policy offered", what, "`tenure-agent status` shows all of it"));
    }
    let Some(policy) = &board.policy else {
        out.push(Check::fail(
            "lanes",
            "they have no policy to keep",
            "deliver one; `tenure-agent status` says more",
        ));
        return out;
    };
    let heartbeat = SignedDuration::from_secs(i64::from(policy.heartbeat_seconds.max(1)));
    out.extend(board.areas.iter().map(|area| judge_lane(area, status.now, heartbeat)));
    let evidence = &board.evidence;
    out.push(match (&evidence.failing, evidence.lost) {
        (None, _) => Check::ok("records", format!("{} written", evidence.last)),
        (Some(why), lost) => Check::fail(
            "records",
            format!("they cannot be written, {lost} are lost: {why}"),
            "make room, see `disk`",
        ),
    });
    out.extend(status.notes.iter().map(|note| Check::warn("note", note, "see `tenure-agent status`")));
    out
}

fn judge_lane(area: &AreaStatus, now: Timestamp, heartbeat: SignedDuration) -> Check {
    let name = format!("lane {}", area.area);
    let silent = now.duration_since(area.observed_at);
    if silent > heartbeat.saturating_mul(i32::try_from(HEARTBEATS).unwrap_or(i32::MAX)) {
        let what = format!("silent since {}, its heartbeat is {} s", area.observed_at, heartbeat.as_secs());
        return Check::fail(&name, what, "`systemctl restart tenure-agent`, and please report it");
    }
    if area.lifted {
        let what = "it was given back and is only observed";
        return Check::warn(&name, what, "`tenure-agent apply` lets it enforce again");
    }
    Check::ok(&name, format!("{} passes, now {}", area.passes, area.verdict))
}

#[cfg(test)]
mod tests {
    use tenure_areas::pass::Verdict;
    use tenure_policy::resolved::{Mode, UnmanagedKeys};

    use super::*;
    use crate::areas::Area;
    use crate::doctor::Level;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    #[test]
    fn a_policy_near_its_end_warns_and_an_expired_one_fails() {
        let level = |until| judge_until("version 3", at(until), at("2026-11-25T00:00:00Z")).level;
        assert_eq!(level("2027-02-01T00:00:00Z"), Level::Ok);
        assert_eq!(level("2026-12-01T00:00:00Z"), Level::Warn);
        assert_eq!(level("2026-11-24T23:59:59Z"), Level::Fail);
    }

    #[test]
    fn logins_of_management_are_told_30_days_before_they_end() {
        let login = |who: &str, until: &str, command: Option<&str>| Login {
            id: "base/ssh/1".parse().expect("id"),
            who: who.parse().expect("name"),
            account: "admin".parse().expect("account"),
            keys: Vec::new(),
            from: Vec::new(),
            until: at(until),
            command: command.map(str::to_owned),
        };
        let section = SshAccessSection {
            logins: vec![
                login("bot", "2026-11-01T00:00:00Z", Some("/usr/bin/id")),
                login("guest", "2026-11-01T00:00:00Z", None),
                login("jeroen", "2027-03-01T00:00:00Z", None),
                login("marit", "2026-12-31T00:00:00Z", None),
            ],
            management: vec!["jeroen".parse().expect("name"), "marit".parse().expect("name")],
            confirm_within_seconds: 60,
            unmanaged_keys: UnmanagedKeys::Report,
        };
        let look = |now| judge_logins(&section, at(now));
        assert_eq!(look("2026-11-30T23:59:59Z").level, Level::Ok);
        let soon = look("2026-12-01T00:00:00Z");
        assert_eq!(soon.level, Level::Warn);
        assert!(
            soon.what.contains("marit as admin until 2026-12-31") && !soon.what.contains("jeroen"),
            "{soon:?}"
        );
        assert_eq!(look("2026-12-31T00:00:00Z").level, Level::Ok, "jeroen still gets in");
        assert_eq!(look("2027-02-28T00:00:00Z").level, Level::Warn);
        let ended = look("2027-03-01T00:00:00Z");
        assert_eq!(ended.level, Level::Fail);
        assert!(ended.what.contains("jeroen") && !ended.what.contains("guest"), "{ended:?}");
    }

    #[test]
    fn a_lane_that_missed_three_heartbeats_does_not_live() {
        let lane = |lifted| AreaStatus {
            area: Area::Firewall,
            mode: Mode::Enforce,
            lifted,
            verdict: Verdict::Compliant,
            observed_at: at("2026-11-25T00:00:00Z"),
            findings: Vec::new(),
            pending: None,
            refusal: None,
            unknown: None,
            done: Vec::new(),
            passes: 4,
            answered: 0,
            took_us: 1,
            reasons: Vec::new(),
        };
        let beat = SignedDuration::from_secs(900);
        assert_eq!(judge_lane(&lane(false), at("2026-11-25T00:45:00Z"), beat).level, Level::Ok);
        assert_eq!(judge_lane(&lane(false), at("2026-11-25T00:45:01Z"), beat).level, Level::Fail);
        assert_eq!(judge_lane(&lane(true), at("2026-11-25T00:00:01Z"), beat).level, Level::Warn);
    }

    #[test]
    fn no_agent_is_a_failure() {
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let checks = running(&Paths::below(dir.path()));
        assert_eq!(checks.iter().map(|c| c.level).collect::<Vec<_>>(), [Level::Fail]);
    }
}
