//! Who gets in and what gets through once the policy is enforced, judged by foreign clients on IPv4 and IPv6.

use tenure_lab::{Family, SshAs};
use tenure_scenarios::clients::{Expect, Reach, differences};
use tenure_scenarios::fleet::{MARIT, PASSWORD};
use tenure_scenarios::{Fleet, Result, all_held};

#[test]
fn before_the_policy_everything_is_open() -> Result<()> {
    let fleet = Fleet::up("before")?;
    let mut wrong = Vec::new();
    for family in Family::BOTH {
        for (what, from, with) in [
            ("marit's key from elsewhere", &fleet.stranger, SshAs::Key(MARIT)),
            ("the password from elsewhere", &fleet.stranger, SshAs::Password(PASSWORD)),
        ] {
            if !fleet.login(from, with, family)?.is_in() {
                wrong.push(format!(
                    "{what} {family:?} does not get in before: the matrix after would prove nothing"
                ));
            }
        }
    }
    let open = |from, to, port| Expect { from, user: "root", to, port, meets: Reach::Answers };
    wrong.extend(differences(&[
        open(&fleet.stranger, &fleet.web1, 443),
        open(&fleet.stranger, &fleet.web1, 5432),
        open(&fleet.stranger, &fleet.web1, 9000),
        open(&fleet.web1, &fleet.stranger, 443),
        open(&fleet.web1, &fleet.stranger, 25),
        open(&fleet.web1, &fleet.vault1, 8443),
    ]));
    all_held("before the policy", &wrong)
}

#[test]
fn only_the_listed_get_through_once_it_is_enforced() -> Result<()> {
    let fleet = Fleet::enforced("access", Fleet::usual)?;
    let Fleet { web1, vault1, office, stranger, .. } = &fleet;
    let line = |from, user, to, port, meets| Expect { from, user, to, port, meets };
    let mut wrong = fleet.login_differences();
    wrong.extend(differences(&[
        // listed ports answer, others do not, wherever one comes from
        line(stranger, "root", web1, 443, Reach::Answers),
        line(office, "root", web1, 443, Reach::Answers),
        line(vault1, "root", web1, 443, Reach::Answers),
        line(stranger, "root", web1, 5432, Reach::Silent),
        line(stranger, "root", web1, 9000, Reach::Silent),
        line(stranger, "root", web1, 80, Reach::Silent),
        line(stranger, "root", web1, 22, Reach::Silent),
        line(vault1, "root", web1, 22, Reach::Silent),
        line(office, "root", web1, 22, Reach::Answers),
        line(office, "root", web1, 5432, Reach::Silent),
        // listed destinations are reached, for the listed users; the others are told at once
        line(web1, "root", vault1, 8443, Reach::Answers),
        line(web1, "deploy", vault1, 8443, Reach::Answers),
        line(web1, "root", vault1, 80, Reach::Answers),
        line(web1, "_apt", vault1, 80, Reach::Answers),
        line(web1, "deploy", vault1, 80, Reach::Refused),
        line(web1, "root", vault1, 443, Reach::Refused),
        line(web1, "root", stranger, 443, Reach::Refused),
        line(web1, "root", stranger, 8443, Reach::Refused),
        line(web1, "root", stranger, 25, Reach::Refused),
    ]));
    all_held("an enforced policy", &wrong)?;

    let udp = stranger.must(&[
        "python3",
        "-c",
        "import socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\ns.settimeout(1)\n\
         s.sendto(b'x',('2001:db8:1::11',5353))\n\
         try: s.recv(1); print('answered')\n\
         except TimeoutError: print('silent')\n\
         except OSError as e: print(e)",
    ])?;
    assert_eq!(udp.trim(), "silent", "an unlisted UDP port gives nothing away");
    for family in ["-4", "-6"] {
        stranger.must(&["ping", family, "-c1", "-W2", "web1"])?;
    }
    Ok(())
}

#[test]
fn a_machine_key_is_bound_to_its_command_and_a_login_that_ended_is_gone() -> Result<()> {
    let fleet = Fleet::up("machine")?;
    let public = fleet.vault1.must(&["sh", "-c",
        "mkdir -p /root/keys && ssh-keygen -q -t ed25519 -N '' -C bot -f /root/keys/bot && cat /root/keys/bot.pub"])?;
    let machine = format!(
        "machines:\n  deploy-bot: {{ keys: [\"{}\"], from: [archive], until: \"{}\", owner: marit, command: /usr/bin/id }}\n",
        public.trim(),
        fleet.until
    );
    let policy = fleet
        .usual()
        .with("groups: {", &format!("{machine}groups: {{"))
        .with(
            "logins: [ { who: [ops], as: admin } ]",
            "logins: [ { who: [ops], as: admin }, { who: [deploy-bot], as: deploy } ]",
        )
        .with(
            "tests:\n",
            "tests:\n  - { login: deploy-bot, from: 198.51.100.7, to: web1, as: deploy, expect: accept }\n  \
             - { login: deploy-bot, from: 192.0.2.77, to: web1, as: deploy, expect: drop }\n",
        );
    fleet.web1.must(&["ip", "link", "add", "docker0", "type", "bridge"])?;
    fleet.enforce(&policy)?;
    beside_a_container_engine(&fleet)?;
    let wrong: Vec<String> = Family::BOTH
        .into_iter()
        .filter_map(|family| {
            let login = fleet.vault1.ssh_run(
                &fleet.web1,
                "deploy",
                SshAs::Key("/root/keys/bot"),
                family,
                "cat /etc/shadow",
            );
            match login {
                Ok(tenure_lab::Login::In(output)) if output.stdout.contains("(deploy)") => None,
                other => Some(format!("{family:?}: {other:?}")),
            }
        })
        .collect();
    all_held("a machine key runs its one command, whatever is asked", &wrong)?;

    let yesterday = fleet.office.must(&["date", "-d", "yesterday", "+%F"])?;
    // With the same policy comes a login as an account that nobody has made.
    let ended = policy
        .with(
            &format!("from: [archive], until: \"{}\"", fleet.until),
            &format!("from: [archive], until: \"{}\"", yesterday.trim()),
        )
        .with("as: deploy, expect: accept", "as: deploy, expect: drop")
        .with("{ who: [ops], as: admin }", "{ who: [ops], as: admin }, { who: [ops], as: ghost }");
    fleet.place_set(&ended)?;
    let gone = tenure_lab::wait_for("the end of the login", tenure_scenarios::agent::SOON, || {
        let area = fleet.area("ssh_access");
        let told = area["findings"].as_array().is_some_and(|all| {
            all.iter().any(|f| f["kind"] == "login-ended" && f["what"].to_string().contains("deploy-bot"))
        });
        let login = fleet.vault1.ssh(&fleet.web1, "deploy", SshAs::Key("/root/keys/bot"), Family::V4);
        told && matches!(login, Ok(login) if !login.is_in())
    });
    gone.map_err(|why| format!("{why}: {:#}", fleet.agent_json(&["status"]).unwrap_or_default()))?;
    let status = fleet.agent_json(&["status"])?;
    assert!(status["board"]["policy_fault"].is_null(), "it was taken, not refused: {status:#}");
    assert!(fleet.login(&fleet.office, SshAs::Key(MARIT), Family::V4)?.is_in(), "the other login lasts");
    accounts_must_exist(&fleet)
}

/// The bridges are the engine's: what passes through is left to it and that is said; what comes in and goes out is not.
fn beside_a_container_engine(fleet: &Fleet) -> Result<()> {
    let Fleet { web1, vault1, stranger, .. } = fleet;
    let area = fleet.area("firewall");
    let mut told = area["findings"].as_array().into_iter().flatten();
    let told =
        told.any(|f| f["kind"] == "forward-not-enforced" && f["what"].to_string().contains("(docker0)"));
    assert!(told && area["verdict"] != "drifted", "{area:#}");
    let chains = web1.must(&["nft", "list", "chains", "inet"])?;
    let hooks: Vec<&str> =
        chains.lines().filter_map(|l| l.split(" hook ").nth(1)?.split(' ').next()).collect();
    assert_eq!(hooks, ["prerouting", "input", "output"], "{chains}");
    let line = |from, to, port, meets| Expect { from, user: "root", to, port, meets };
    let wrong = differences(&[
        line(stranger, web1, 443, Reach::Answers),
        line(stranger, web1, 5432, Reach::Silent),
        line(stranger, web1, 9000, Reach::Silent),
        line(web1, vault1, 8443, Reach::Answers),
        line(web1, stranger, 25, Reach::Refused),
    ]);
    all_held("beside a container engine", &wrong)
}

/// Tenure makes no account: a login waits for it, is named, and lets nobody in.
fn accounts_must_exist(fleet: &Fleet) -> Result<()> {
    let Fleet { web1, office, .. } = fleet;
    let missing = |area: &serde_json::Value| {
        let mut all = area["findings"].as_array().into_iter().flatten();
        area["verdict"] == "drifted" && all.any(|f| f["kind"] == "account-missing" && f["place"] == "ghost")
    };
    fleet.await_area("ssh_access", "the account named as missing", missing)?;
    assert!(!web1.exec(&["test", "-e", "/etc/ssh/tenure/keys/ghost"])?.ok(), "its keys wait");
    for family in Family::BOTH {
        let login = office.ssh(web1, "ghost", SshAs::Key(MARIT), family)?;
        assert!(!login.is_in(), "{family:?}: {login:?}");
    }
    assert!(!web1.exec(&["id", "ghost"])?.ok(), "nobody has made it");
    web1.must(&["useradd", "-m", "-s", "/bin/bash", "ghost"])?;
    fleet.await_area("ssh_access", "the account's login", |area| {
        matches!(area["verdict"].as_str(), Some("compliant" | "remediated"))
    })?;
    for family in Family::BOTH {
        let login = office.ssh(web1, "ghost", SshAs::Key(MARIT), family)?;
        assert!(login.is_in(), "{family:?}: {login:?}");
    }
    Ok(())
}
