//! Another clock for one program: the hosts of a lab cannot set the machine's, libfaketime shows them one that is ahead.

use tenure_lab::Host;

use crate::Result;

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Restarts a unit with a clock that is ahead by this much, as libfaketime writes it (`+5d`, `+13h`).
///
/// # Errors
/// When it does not start.
pub fn shift(host: &Host, unit: &str, ahead: &str) -> Result<()> {
    let text = format!(
        "[Service]\nEnvironment=LD_PRELOAD={FAKETIME} FAKETIME={ahead} FAKETIME_DONT_FAKE_MONOTONIC=1\n"
    );
    host.put(&place(unit), text.as_bytes(), "644")?;
    restart(host, unit)
}

/// Shows every program that systemd starts from now on a clock that is so many days ahead.
///
/// # Errors
/// When the lab fails.
pub fn all_ahead(host: &Host, days: u32) -> Result<()> {
    let ahead = format!("FAKETIME=+{days}d");
    let preload = format!("LD_PRELOAD={FAKETIME}");
    host.must(&["systemctl", "set-environment", &preload, &ahead, "FAKETIME_DONT_FAKE_MONOTONIC=1"])?;
    Ok(())
}

/// Shows a program that people run on a host a clock that is so many days ahead.
///
/// # Errors
/// When the lab fails.
pub fn program_ahead(host: &Host, path: &str, days: u32) -> Result<()> {
    let real = format!("{path}.real");
    host.must(&["sh", "-c", "test -e \"$1\" || mv \"$0\" \"$1\"", path, &real])?;
    let ahead = format!("LD_PRELOAD={FAKETIME} FAKETIME=+{days}d FAKETIME_DONT_FAKE_MONOTONIC=1");
    Ok(host.put(path, format!("#!/bin/sh\nexec env {ahead} {real} \"$@\"\n").as_bytes(), "755")?)
}

/// Restarts it with the right clock.
///
/// # Errors
/// When its clock was right, or it does not start.
pub fn set_right(host: &Host, unit: &str) -> Result<()> {
    host.must(&["rm", &place(unit)])?;
    restart(host, unit)
}

fn place(unit: &str) -> String {
    format!("/run/systemd/system/{unit}.service.d/time.conf")
}

fn restart(host: &Host, unit: &str) -> Result<()> {
    host.must(&["systemctl", "daemon-reload"])?;
    host.must(&["systemctl", "restart", unit])?;
    Ok(())
}
