//! Steps 2 and 3: what would change, and then the trial, the matrix, the refusal and the fall-back.

use std::time::Duration;

use serde_json::{Value, json};
use tenure_lab::{Family, Host, Login, SshAs, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::clients::reach_as;
use tenure_scenarios::fleet::{MARIT, PASSWORD, UNKNOWN};
use tenure_scenarios::operator::DROP;
use tenure_scenarios::{Fleet, Reach, Result, reach};

use crate::local::set;
use crate::screen::{Screen, Stopped};

/// Shows the plan.
pub(crate) fn plan(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(2, "Plan", "web1, nothing changed yet");
    let mut plan = Value::Null;
    screen.step("plan", "what listens and who can log in, now and after", || {
        fleet.configure_signed()?;
        fleet.deliver()?;
        let state = || {
            fleet.web1.must(&["sh", "-c", "nft list ruleset; find /etc -type f -exec sha256sum {} + | sort"])
        };
        let before = state()?;
        let output = fleet.agent(&["plan", "--bundles", DROP, "--json"])?;
        if output.status != 2 {
            return Err(format!("it ended with {}: {}", output.status, output.said()).into());
        }
        if state()? != before {
            return Err("it changed something".into());
        }
        plan = serde_json::from_str(&output.stdout)?;
        told(&plan)?;
        Ok("exit 2: there is something to do; ruleset and /etc are untouched".to_owned())
    })?;
    let listeners = plan["reach"].as_array().cloned().unwrap_or_default();
    let list = |when: &str| {
        let open = listeners.iter().filter(|l| l[when].as_array().is_some_and(|w| !w.is_empty()));
        let mut lines: Vec<String> =
            open.map(|l| format!("{} {}", port(&l["listener"]), words(&l[when]))).collect();
        lines.sort();
        lines.dedup();
        lines.join(" · ")
    };
    screen.fact("reachable now", &list("now"));
    screen.fact("after", &list("after"));
    for (when, label) in [("now", "logins now"), ("after", "logins after"), ("lost", "logins lost")] {
        let ways = plan["logins"][when].as_array().cloned().unwrap_or_default();
        for (number, way) in ways.iter().map(way).enumerate() {
            screen.fact(if number == 0 { label } else { "" }, &way);
        }
    }
    Ok(())
}

/// Does the plan say that the database is open now and closed after, and that ways in are lost that are there now?
fn told(plan: &Value) -> Result<()> {
    let database = |when: &str| {
        let own =
            |l: &&Value| l["listener"]["port"] == 5432 && l[when].as_array().is_some_and(|w| !w.is_empty());
        plan["reach"].as_array().into_iter().flatten().filter(own).count()
    };
    let ways = |when: &str| plan["logins"][when].as_array().cloned().unwrap_or_default();
    let (now, lost) = (ways("now"), ways("lost"));
    let all_known = !lost.is_empty() && lost.iter().all(|way| now.contains(way));
    match database("now") > 0 && database("after") == 0 && all_known && !ways("after").is_empty() {
        true => Ok(()),
        false => {
            Err(format!("it does not tell what will change: {:#} {:#}", plan["reach"], plan["logins"]).into())
        }
    }
}

/// Shows enforcement.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(3, "Enforce", "kernel-timed trial of 60 s, confirmed by a person in a new session");
    let mut session = None;
    screen.step("role", "ansible-playbook tenure.hosting.agent, from the office against web1", || {
        let line = "exec 3<>/dev/tcp/web1/9000; read -u3 x; while echo .; do echo . >&3; read -t5 -u3 x || exit 1; sleep .2; done";
        session = Some(fleet.office.spawn(&["bash", "-c", line])?);
        wait_for("a session to port 9000", SOON, || connected(&fleet.web1))?;
        fleet.install_role("marit")?;
        let changed = fleet.play_role(&[])?;
        Ok(format!("web1 by ansible-playbook: program, root, signed policy, units; {changed} changed"))
    })?;
    screen.step("trial", "the bundle is verified, the ruleset on trial", || {
        fleet.await_trial()?;
        fleet.await_login_trial()?;
        Ok("bundle verified against the root, ruleset on trial, logins side by side".to_owned())
    })?;
    screen.step("sessions", "what was open stays open, what is new does not open", || {
        let alive = session.as_mut().is_some_and(tenure_lab::Running::runs) && connected(&fleet.web1);
        if !alive {
            return Err("the session to port 9000 that was open before has died".into());
        }
        match reach(&fleet.office, &fleet.web1, 9000, Family::V4)? {
            Reach::Silent => Ok("an open session to port 9000 lives on, a new one does not open".to_owned()),
            other => Err(format!("a new connection to port 9000 meets {other:?}").into()),
        }
    })?;
    drop(session);
    screen.step("confirm", "marit, from the office, in a session opened after the switch", || {
        match fleet.confirm(Family::V4)? {
            Login::In(output) if output.ok() => {}
            other => return Err(format!("{other:?}").into()),
        }
        fleet.await_rest()?;
        Ok("marit, from the office, in a new session; by her key, so other logins are closed".into())
    })?;
    screen.step("role", "the playbook once more", || match fleet.play_role(&[])? {
        0 => Ok("ansible-playbook once more, through the new firewall: 0 changed".to_owned()),
        changed => Err(format!("the second run changed {changed}").into()),
    })?;
    matrix(screen, fleet)?;
    cut(screen, fleet)?;
    fall_back(screen, fleet)
}

fn connected(web1: &Host) -> bool {
    web1.sh("ss -Htn state established sport = :9000 | grep -q .").is_ok_and(|output| output.ok())
}

fn matrix(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.line(&format!("            {:<10} {:<36} {:<8} v6", "from", "what", "v4"));
    for (from, what, with, wanted) in [
        (&fleet.office, "ssh admin, marit's key", SshAs::Key(MARIT), true),
        (&fleet.stranger, "ssh admin, marit's key", SshAs::Key(MARIT), false),
        (&fleet.office, "ssh admin, unknown key", SshAs::Key(UNKNOWN), false),
        (&fleet.office, "ssh admin, password", SshAs::Password(PASSWORD), false),
    ] {
        line(screen, from.name(), what, |family| {
            let login = fleet.login(from, with, family)?;
            let word = match &login {
                Login::In(_) => "in",
                Login::Refused(_) => "refused",
                Login::Unreachable(_) => "dropped",
            };
            Ok((word, login.is_in() == wanted))
        })?;
    }
    let (web1, vault1, stranger) = (&fleet.web1, &fleet.vault1, &fleet.stranger);
    for (from, user, to, port, what, wanted) in [
        (stranger, "root", web1, 443, "https to web1", Reach::Answers),
        (stranger, "root", web1, 5432, "postgresql to web1", Reach::Silent),
        (web1, "_apt", vault1, 80, "http to the mirror, as _apt", Reach::Answers),
        (web1, "deploy", vault1, 80, "http to the mirror, as deploy", Reach::Refused),
        (web1, "root", stranger, 443, "https to the stranger, as root", Reach::Refused),
    ] {
        line(screen, from.name(), what, |family| {
            let met = reach_as(from, user, to, port, family)?;
            let word = match met {
                Reach::Answers => "answers",
                Reach::Refused => "refused",
                Reach::Silent => "dropped",
            };
            Ok((word, met == wanted))
        })?;
    }
    Ok(())
}

/// One line of the matrix: what happened on both families; a step like every other.
fn line(
    screen: &mut Screen,
    from: &str,
    what: &str,
    look: impl Fn(Family) -> Result<(&'static str, bool)>,
) -> std::result::Result<(), Stopped> {
    screen.step("", &format!("{from:<10} {what}"), || {
        let [(v4, ok4), (v6, ok6)] = [look(Family::V4)?, look(Family::V6)?];
        let text = format!("{from:<10} {what:<36} {v4:<8} {v6}");
        if ok4 && ok6 { Ok(text) } else { Err(text.into()) }
    })
}

fn cut(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    let policy = || -> Result<_> {
        Ok(set(fleet)?.with("      outbound:\n", "      block: [office]\n      outbound:\n"))
    };
    screen.step("guard", "a policy that cuts the office does not sign", || {
        fleet.write_set(&policy()?)?;
        let output = fleet.tenure(&["check", "set"])?;
        if output.ok() {
            return Err(format!("tenure check takes it: {}", output.said()).into());
        }
        let said =
            output.stderr.lines().find(|l| l.contains("office") && l.contains("block")).unwrap_or_default();
        if said.is_empty() {
            return Err(format!("the rule is not named: {}", output.stderr).into());
        }
        let rule = said.trim().trim_start_matches("hint: ");
        Ok(format!("a policy that cuts the office does not sign, {rule}"))
    })?;
    let mut told = String::new();
    screen.step(
        "guard",
        "signed all the same, by hand: web1's running agent refuses it before loading",
        || {
            let ruleset = || fleet.web1.must(&["nft", "-s", "list", "ruleset"]);
            let before = ruleset()?;
            fleet.sign_a_cut("marit", 2)?;
            fleet.deliver()?;
            fleet.await_area("firewall", "a refusal", |area| area["refusal"].is_object())?;
            let (area, status) = (fleet.area("firewall"), fleet.agent_json(&["status"])?);
            let rule = area["refusal"]["rule"].as_str().unwrap_or_default();
            if rule != "block:office"
                || status["board"]["policy"]["version"] != 2
                || area["done"] != json!([])
            {
                return Err(format!("not refused with the rule's name: {status:#}").into());
            }
            let line = ["journalctl", "-u", "tenure-agent", "-o", "cat", "TENURE_RULE=block:office"];
            told = fleet.web1.must(&line)?.lines().last().unwrap_or_default().to_owned();
            if !told.contains("not carried out") {
                return Err(format!("the journal does not say so: {told:?}").into());
            }
            if ruleset()? != before {
                return Err("the ruleset is not what it was".into());
            }
            Ok(format!("signed by hand all the same: web1's agent refuses it before loading, {rule}"))
        },
    )?;
    screen.fact("journal", &told);
    screen.fact("ruleset", "the same to the byte");
    Ok(())
}

fn fall_back(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.step("fallback", "nobody confirms, kill -9 of the agent: the kernel falls back", || {
        let policy = set(fleet)?
            .with("within: 60s", "within: 8s")
            .with(
                "{ allow: [http, https], from: [anywhere] }",
                "{ allow: [http, https, tcp/9000], from: [anywhere] }",
            )
            .with("drop: [ssh, postgresql, tcp/9000]", "accept: [tcp/9000], drop: [ssh, postgresql]")
            .with("accept: [http, https], accept: [tcp/9000]", "accept: [http, https, tcp/9000]")
            .with("accept: [https], accept: [tcp/9000]", "accept: [https, tcp/9000]");
        fleet.sign("marit", &policy, 3)?;
        fleet.deliver()?;
        fleet.await_trial()?;
        let met = || reach(&fleet.stranger, &fleet.web1, 9000, Family::V6);
        if met()? != Reach::Answers {
            return Err("the trial is not in force".into());
        }
        fleet.kill_agent()?;
        let took =
            wait_for("the fall-back", Duration::from_secs(15), || met().is_ok_and(|m| m == Reach::Silent))?;
        if fleet.web1.exec(&["systemctl", "is-active", "-q", "tenure-agent"])?.ok() {
            return Err("the agent runs: it can have been what went back".into());
        }
        if !fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V4)?.is_in() {
            return Err("marit does not get in any more".into());
        }
        fleet.sign("marit", &set(fleet)?, 4)?;
        fleet.deliver()?;
        fleet.web1.must(&["systemctl", "restart", "tenure-agent"])?;
        fleet.await_rest()?;
        Ok(format!(
            "nobody confirms, kill -9 of the agent: the kernel fell back, {:.1} s later",
            took.as_secs_f64()
        ))
    })
}

fn port(listener: &Value) -> String {
    let number = listener["port"].as_u64().unwrap_or_default();
    let protocol = listener["protocol"].as_str().unwrap_or("tcp");
    format!("{protocol}/{number}")
}

fn words(list: &Value) -> String {
    let words = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

/// `admin  by marit's key SHA256:9fQk…  from 203.0.113.9/32, 2001:db8:10::9/128`
fn way(way: &Value) -> String {
    let text = |name: &str| way[name].as_str().unwrap_or_default();
    let by = match text("by").split_once("SHA256:") {
        Some((whose, print)) => format!("{whose}SHA256:{}…", print.chars().take(8).collect::<String>()),
        None => text("by").to_owned(),
    };
    let place = way["place"].as_str().map(|place| format!("   {place}")).unwrap_or_default();
    format!("{:<8} {by:<30} from {}{place}", text("account"), text("from"))
}
