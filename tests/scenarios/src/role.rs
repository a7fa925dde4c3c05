//! The collection's role `agent`, run from the office against web1 as an operator runs it.

use std::path::{Path, PathBuf};

use tenure_lab::{Output, repository};

use crate::operator::DESK;
use crate::{Fleet, Result, programs};

const FOLDER: &str = "/root/ansible";

impl Fleet {
    /// Installs the collection at the office as a user does, with an inventory that names web1 and what to place: the agent,
    /// the root of `operator` and what she signed last.
    ///
    /// # Errors
    /// When the lab or ansible-galaxy says no.
    pub fn install_role(&self, operator: &str) -> Result<()> {
        let role = repository().join("ansible");
        for file in files(&role)? {
            let name = file.strip_prefix(&role)?.display().to_string();
            self.office.put(&format!("{FOLDER}/{name}"), &std::fs::read(&file)?, "644")?;
        }
        let line = "cd /root && HOME=/root ansible-galaxy collection install --offline ./ansible";
        let output = self.office.exec_fed(&["sh", "-c", line], None, 120)?;
        if !output.ok() {
            return Err(output.said().into());
        }
        self.office.put("/root/tenure-agent", &programs::bytes("tenure-agent")?, "755")?;
        let inventory = format!(
            "web1 ansible_host=198.51.100.11 ansible_user=admin ansible_ssh_private_key_file=/root/keys/marit \
             tenure_agent_program=/root/tenure-agent tenure_agent_root={DESK}/{operator}-root.json \
             tenure_agent_bundles={DESK}/signed\n"
        );
        Ok(self.office.put(&format!("{FOLDER}/inventory"), inventory.as_bytes(), "644")?)
    }

    /// `ansible-playbook` of the role; `changed=N` of web1 in the recap.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn play_role(&self, more: &[&str]) -> Result<u32> {
        let line = "cd \"$0\" && ANSIBLE_HOST_KEY_CHECKING=False ANSIBLE_NOCOLOR=1 exec ansible-playbook -i inventory \
                    tenure.hosting.agent \"$@\"";
        changed(&self.office.exec_fed(&[&["sh", "-c", line, FOLDER], more].concat(), None, 180)?)
    }
}

fn changed(output: &Output) -> Result<u32> {
    let recap = output.stdout.lines().find(|line| line.starts_with("web1 ") && line.contains("changed="));
    let count = recap.and_then(|line| line.split("changed=").nth(1)?.split_whitespace().next()?.parse().ok());
    match (output.ok(), count) {
        (true, Some(count)) => Ok(count),
        _ => Err(output.said().into()),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}
