//! Installed packages, pending upgrades, the kernel.

use tenure_areas::fake::FakePackage;
use tenure_areas::port::Query;
use tenure_lab::Host;

use crate::Result;
use crate::script::Script;

/// Without any package list nothing is pending.
pub(crate) fn before(host: &Host) -> Result<Script> {
    let mut script = crate::fresh("packages");
    installed(&mut script, host, None)?;
    script.ask(Query::PendingUpgrades);
    let release = host.must(&["uname", "-r"])?.trim().to_owned();
    script.situation("this kernel", "true", move |fake| fake.set_kernel(&release));
    script.ask(Query::Kernel);
    Ok(script)
}

/// One security update is pending, then it is installed.
pub(crate) fn pending(host: &Host) -> Result<Script> {
    let mut script = crate::fresh("packages");
    installed(&mut script, host, Some(("1.0-1+deb12u1", "Debian-Security:stable-security")))?;
    script.ask(Query::PendingUpgrades);
    let mut list = listed(host)?;
    script.situation("the update is installed", "apt-get -qq -y dist-upgrade >/dev/null 2>&1", move |fake| {
        for package in list.iter_mut().filter(|p| p.name == "lab-notes") {
            package.version = "1.0-1+deb12u1".into();
        }
        fake.set_packages(list);
    });
    script.ask(Query::Packages);
    script.ask(Query::PendingUpgrades);
    Ok(script)
}

/// The fake has the host's packages, as dpkg's own file names them.
fn installed(script: &mut Script, host: &Host, update: Option<(&str, &str)>) -> Result<()> {
    let mut list = listed(host)?;
    for package in list.iter_mut().filter(|p| p.name == "lab-notes") {
        package.candidate = update.map(|(version, archive)| (version.into(), archive.into()));
    }
    script.situation("the host's packages", "true", move |fake| fake.set_packages(list));
    script.ask(Query::Packages);
    Ok(())
}

fn listed(host: &Host) -> Result<Vec<FakePackage>> {
    let status = host.get("/var/lib/dpkg/status")?;
    let mut list = Vec::new();
    for stanza in status.split("\n\n").filter(|s| !s.trim().is_empty()) {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let (Some(name), Some(version)) = (field("Package:"), field("Version:")) else {
            return Err(format!("dpkg's status has a stanza without name or version: {stanza}").into());
        };
        list.push(FakePackage { name, version, candidate: None });
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}
