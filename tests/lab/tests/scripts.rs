//! The lab's scripts: what they leave on a machine, and that they leave alone what is not theirs.

use std::path::Path;
use std::time::Duration;

use tenure_lab::{Host, Lab, Output, run, script, wait_for};

/// As a root shell by plain `su` has it, without any sbin.
const SU: &str = "PATH=/usr/local/bin:/usr/bin:/bin";

#[test]
fn installing_an_ssh_server_starts_none_whatever_policy_stands_there() {
    let lab = Lab::up("packages", &["web1"]).expect("the lab starts");
    let web1 = lab.host("web1");
    let script = std::fs::read(tenure_lab::repository().join("tests/lab/packages.sh")).expect("the script");
    web1.put("/root/packages.sh", &script, "755").expect("put");
    // Stands for apt: what policy-rc.d answers is what a package's scripts would do; dpkg wants ldconfig in its PATH.
    let apt = "#!/bin/sh\n/usr/sbin/policy-rc.d ssh start; echo $? >>/root/answers\n\
        case \"$*\" in *install*) command -v ldconfig >/dev/null && [ ! -e /root/fails ];; esac\n";
    web1.put("/root/fake/apt-get", apt.as_bytes(), "755").expect("put");
    web1.put("/root/fake/dpkg-query", b"#!/bin/sh\nexit 1\n", "755").expect("put");
    let run = || {
        web1.sh("rm -f /root/answers").expect("runs");
        let done = web1.sh("PATH=/root/fake:/usr/bin:/bin /root/packages.sh test").expect("runs");
        // The first is `update`, before it is put in place; the second installs.
        let answers = web1.get("/root/answers").expect("apt-get was called");
        (done.ok(), answers.lines().last().map(str::to_owned))
    };
    let theirs = "#!/bin/sh\n# theirs\nexit 0\n";
    let refuses = Some("101".to_owned());
    assert_eq!(run(), (true, refuses.clone()));
    let gone = |path: &str| !web1.exec(&["test", "-e", path]).expect("runs").ok();
    assert!(gone("/usr/sbin/policy-rc.d"), "ours is taken away");

    web1.put("/usr/sbin/policy-rc.d", theirs.as_bytes(), "750").expect("put");
    assert_eq!(run(), (true, refuses.clone()), "one that allows everything does not count");
    assert_eq!(web1.get("/usr/sbin/policy-rc.d").expect("theirs"), theirs);
    assert_eq!(web1.must(&["stat", "-c", "%a", "/usr/sbin/policy-rc.d"]).expect("stat").trim(), "750");

    web1.sh("touch /root/fails").expect("runs");
    assert_eq!(run(), (false, refuses.clone()), "apt fails");
    assert_eq!(web1.get("/usr/sbin/policy-rc.d").expect("theirs"), theirs, "also then");

    // A run that was killed: theirs lies aside, and ours stands in its place.
    web1.sh("rm /root/fails; cd /usr/sbin && mv policy-rc.d policy-rc.d.before-tenure-lab").expect("runs");
    web1.put("/usr/sbin/policy-rc.d", b"#!/bin/sh\n# tenure-lab: left\nexit 101\n", "755").expect("put");
    assert_eq!(run(), (true, refuses));
    assert_eq!(web1.get("/usr/sbin/policy-rc.d").expect("theirs"), theirs);
    assert!(gone("/usr/sbin/policy-rc.d.before-tenure-lab"));
}

#[test]
fn installing_an_ssh_server_removes_no_unit_that_was_there_before() {
    let lab = Lab::up("units", &["web1"]).expect("the lab starts");
    let web1 = lab.host("web1");
    let script = std::fs::read(tenure_lab::repository().join("tests/lab/packages.sh")).expect("the script");
    web1.put("/root/packages.sh", &script, "755").expect("put");
    // As the package's scripts do: a link that stands there already stays as it is.
    let apt = "#!/bin/sh\ncd /etc/systemd/system\ncase \"$*\" in *install*)\n\
        [ -e sshd.service ] || ln -s /lib/systemd/system/ssh.service sshd.service\n\
        [ -e multi-user.target.wants/ssh.service ] || ln -s /lib/systemd/system/ssh.service multi-user.target.wants/ssh.service\n\
        [ ! -e /root/fails ];; esac\n";
    web1.put("/root/fake/apt-get", apt.as_bytes(), "755").expect("put");
    web1.put("/root/fake/dpkg-query", b"#!/bin/sh\nexit 1\n", "755").expect("put");
    let install = || web1.sh("PATH=/root/fake:/usr/bin:/bin /root/packages.sh test").expect("runs").ok();
    let list = "cd /etc/systemd/system && for f in sshd.service multi-user.target.wants/ssh.service; do \
        readlink $f || cat $f 2>/dev/null || echo none; done";
    let stands = || web1.sh(list).expect("runs").stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    let forget = |what: &str| web1.sh(&format!("cd /etc/systemd/system && rm -f {what}")).expect("runs");

    let link = "/lib/systemd/system/ssh.service";
    forget("sshd.service multi-user.target.wants/ssh.service");
    assert!(install());
    assert_eq!(stands(), ["none", "none"], "the next boot starts no server of ours");
    web1.sh("touch /root/fails").expect("runs");
    assert!(!install());
    assert_eq!(stands(), ["none", "none"], "nor after an installation that broke off");
    web1.sh("rm /root/fails").expect("runs");

    // An administrator's own unit, and the other link gone: only that one is ours to take away.
    web1.put("/etc/systemd/system/sshd.service", b"[Service]\n", "644").expect("put");
    assert!(install());
    assert_eq!(stands(), ["[Service]", "none"]);
    // A server that somebody has enabled stays so.
    forget("sshd.service");
    web1.sh("cd /etc/systemd/system && ln -s /lib/systemd/system/ssh.service sshd.service && \
        ln -s /lib/systemd/system/ssh.service multi-user.target.wants/ssh.service")
        .expect("runs");
    assert!(install());
    assert_eq!(stands(), [link, link]);
}

/// Calls `lab.sh` with settings of its own.
fn lab(settings: &[&str], words: &[&str]) -> Output {
    let script = script();
    let script = script.to_str().expect("a path that is text");
    run(&[&["env"], settings, &[script], words].concat(), 120).expect("lab.sh starts")
}

#[test]
fn cached_roots_go_when_no_lab_uses_them_and_nothing_else_does() {
    let dir = std::env::temp_dir().join(format!("tenure-lab-cache-{}", std::process::id()));
    let (cache, state) = (dir.join("cache"), dir.join("state"));
    let settings = [format!("LAB_CACHE={}", cache.display()), format!("LAB_STATE_ROOT={}", state.display())];
    let clean = || lab(&settings.each_ref().map(String::as_str), &["clean"]);
    let file = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    };
    let root = cache.join("root-1");
    file(&root.join(".complete"), "");
    file(&cache.join("root-1+2/fs/etc/passwd"), "");
    file(&state.join("web/lower"), &format!("{}/root-1+2/fs:{}\n", cache.display(), root.display()));

    let said = clean();
    assert!(said.ok() && said.stderr.contains("used by web"), "{}", said.said());
    assert!(root.exists() && cache.join("root-1+2/fs/etc/passwd").exists(), "a lab has its root");

    // While a lab is being made nobody knows yet which root it will name.
    std::fs::remove_dir_all(&state).expect("remove");
    let busy = run(
        &[
            "flock",
            "-s",
            &cache.join(".use").display().to_string(),
            "env",
            &settings[0],
            &settings[1],
            &script().display().to_string(),
            "clean",
        ],
        120,
    )
    .expect("lab.sh starts");
    assert!(busy.ok() && busy.stderr.contains("being made"), "{}", busy.said());
    assert!(root.exists());

    file(&cache.join("theirs"), "");
    let said = clean();
    assert!(said.ok() && said.stderr.contains("not ours"), "{}", said.said());
    assert!(!root.exists() && cache.join("theirs").exists());
    std::fs::remove_file(cache.join("theirs")).expect("remove");
    assert!(clean().ok() && !cache.exists(), "nothing is left");
    assert!(clean().ok() && !cache.exists(), "twice");
    std::fs::remove_dir_all(&dir).expect("remove");
}

#[test]
fn a_lab_is_made_and_taken_down_from_a_shell_without_sbin() {
    let name = format!("LAB=su-{}", std::process::id());
    let owner = format!("LAB_OWNER={}", std::process::id());
    let settings = [SU, &name, &owner];
    let up = lab(&settings, &["up", "one"]);
    let boot = lab(&settings, &["reboot", "one"]);
    let down = lab(&settings, &["down"]);
    assert!(up.ok() && boot.ok() && down.ok(), "{up:?} {boot:?} {down:?}");
}

#[test]
fn labs_are_pruned_while_others_take_them_down() {
    // Their owner is a process that has ended.
    let gone = run(&["sh", "-c", "echo $$"], 10).expect("sh starts").stdout.trim().to_owned();
    let names: Vec<String> = (0..4).map(|n| format!("LAB=gone{n}-{}", std::process::id())).collect();
    for name in &names {
        let up = lab(&[name], &["up", "one", "two"]);
        assert!(up.ok(), "{}", up.said());
        let state = format!("/var/lib/tenure-lab/{}", name.trim_start_matches("LAB="));
        std::fs::write(format!("{state}/owner"), format!("{gone} 1\n")).expect("write");
    }
    let said: Vec<Output> = std::thread::scope(|scope| {
        let calls: Vec<_> = (names.iter().map(|name| scope.spawn(move || lab(&[name], &["down"]))))
            .chain((0..3).map(|_| scope.spawn(|| lab(&[], &["prune"]))))
            .collect();
        calls.into_iter().map(|call| call.join().expect("a call does not panic")).collect()
    });
    assert!(said.iter().all(Output::ok), "{said:?}");
    let left = run(&["sh", "-c", "ls /run/netns /sys/fs/cgroup /var/lib/tenure-lab 2>/dev/null"], 10)
        .expect("ls starts")
        .stdout;
    for name in &names {
        assert!(!left.contains(name.trim_start_matches("LAB=")), "{name} left something: {left}");
    }
}

#[test]
fn what_was_not_synced_is_lost_with_the_power_and_the_next_boot_meets_no_old_mount() {
    let lab = Lab::up("unsynced", &["web1"]).expect("the lab starts");
    let web1 = lab.host("web1");
    web1.disk("/srv/data", 16).expect("disk");
    let holds = |host: &Host, file: &str| host.exec(&["test", "-s", file]).is_ok_and(|o| o.ok());
    for round in 0..4 {
        let write = "cd /srv/data && rm -f synced unsynced && sync && echo kept >synced && sync synced . && echo lost >unsynced";
        web1.must(&["sh", "-c", write]).expect("files");
        assert!(holds(&web1, "/srv/data/unsynced"));
        // Somebody who was just in the host holds its mounts a moment longer.
        let visitor = web1.spawn(&["sleep", "600"]).expect("spawn");
        wait_for("the visitor", Duration::from_secs(30), || {
            web1.exec(&["pgrep", "-x", "sleep"]).is_ok_and(|o| o.ok())
        })
        .expect("runs");
        web1.kill().expect("power loss");
        web1.start().expect("boot");
        drop(visitor);
        assert!(holds(&web1, "/srv/data/synced"), "round {round}");
        assert!(!holds(&web1, "/srv/data/unsynced"), "round {round}: nobody had synced it");
        let loops = web1.must(&["sh", "-c", "grep -c ' /srv/data ' /proc/mounts"]).expect("mounts");
        assert_eq!(loops.trim(), "1", "round {round}");
    }
}
