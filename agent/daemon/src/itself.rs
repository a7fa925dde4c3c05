//! What the agent itself uses: memory and processor time of its own process. No other process is looked at.

use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// The running agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Itself {
    /// The agent's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Memory that it holds in RAM, in bytes; none when the kernel does not tell.
    pub resident_bytes: Option<u64>,
    /// Processor time that it has used since it started, in seconds; none when the kernel does not tell.
    pub cpu_seconds: Option<f64>,
    /// How long it has run, in seconds.
    pub uptime: u64,
}

impl Itself {
    /// This process as it is now, `up_ms` milliseconds after it started.
    pub fn look(up_ms: u64) -> Self {
        let pid = std::process::id();
        let used = used(Pid::from_u32(pid));
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            pid,
            resident_bytes: used.map(|(bytes, _)| bytes),
            cpu_seconds: used
                .map(|(_, milliseconds)| std::time::Duration::from_millis(milliseconds).as_secs_f64()),
            uptime: up_ms / 1000,
        }
    }
}

/// Resident bytes and milliseconds of processor time, of one process and without its threads' own entries.
fn used(pid: Pid) -> Option<(u64, u64)> {
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    system.process(pid).map(|process| (process.memory(), process.accumulated_cpu_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_it_uses() {
        let before = Itself::look(3_605_900);
        assert_eq!((before.pid, before.uptime), (std::process::id(), 3605));
        let held = vec![1_u8; 64 << 20];
        let after = Itself::look(3_605_900);
        let (before_bytes, after_bytes) = (before.resident_bytes.unwrap(), after.resident_bytes.unwrap());
        assert!(
            before_bytes > 0 && after_bytes >= before_bytes + (48 << 20),
            "{before_bytes} → {after_bytes}"
        );
        assert!(after.cpu_seconds.unwrap() >= before.cpu_seconds.unwrap());
        assert_eq!(held.iter().filter(|b| **b == 1).count(), held.len());
    }

    #[test]
    fn a_process_that_is_not_there_uses_nothing() {
        assert_eq!(used(Pid::from_u32(u32::MAX >> 1)), None);
    }
}
