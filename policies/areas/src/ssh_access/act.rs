//! Carries a plan of the area out. Stops at the first step that fails, so that nothing is loaded that was not tested.

use super::step::{Step, Undo};
use crate::area::{ActReport, Done};
use crate::port::{Command, HostWrite, PortResult};

pub(super) fn act(steps: &[Step], host: &dyn HostWrite) -> ActReport {
    let mut report = ActReport::default();
    for step in steps {
        let error = carry_out(step, host).err().map(|e| e.to_string());
        let failed = error.is_some();
        report.done.push(Done { step: step.to_string(), error });
        if failed {
            if let Step::Test { undo } = step {
                report.done.extend(undone(undo, host));
            }
            break;
        }
    }
    report
}

fn carry_out(step: &Step, host: &dyn HostWrite) -> PortResult<()> {
    match step {
        Step::Keep { file }
        | Step::PutKeys { file, .. }
        | Step::PutDropIn { file, .. }
        | Step::Record { file, .. }
        | Step::Settle { file } => host.put(file),
        Step::RemoveKeys { path }
        | Step::RemoveDropIn { path }
        | Step::Unsettle { path }
        | Step::Forget { path } => host.remove(path),
        Step::Test { .. } => host.tell(&Command::SshdTest),
        Step::Reload => host.tell(&Command::SshdReload),
        Step::OpenDirectory { which } => host.tell(&Command::OpenDirectory { which: *which }),
    }
}

fn undone(undo: &Undo, host: &dyn HostWrite) -> Option<Done> {
    let (step, result) = match undo {
        Undo::Nothing => return None,
        Undo::PutBack(file) => (format!("put the old {} back", file.path.as_str()), host.put(file)),
        Undo::Remove(path) => (format!("remove {} again", path.as_str()), host.remove(path)),
    };
    Some(Done { step, error: result.err().map(|e| e.to_string()) })
}
