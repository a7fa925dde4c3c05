//! A `pg_dump` that writes half of what it should and says that all is well.

use tenure_lab::Host;

use crate::Result;

/// One that stands in the real one's place until it is mended.
#[derive(Debug)]
pub struct HalfDump {
    host: Host,
    place: String,
    real: String,
}

impl HalfDump {
    /// Puts it in the real one's place.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn on(host: &Host) -> Result<Self> {
        let place = host.must(&["sh", "-c", "ls /usr/lib/postgresql/*/bin/pg_dump | tail -1"])?;
        let place = place.trim().to_owned();
        let real = format!("{place}.real");
        host.must(&["mv", &place, &real])?;
        let half = format!("#!/bin/sh\n{real} \"$@\" | head -c 9000\nexit 0\n");
        host.put(&place, half.as_bytes(), "755")?;
        Ok(Self { host: host.clone(), place, real })
    }

    /// Puts the real one back.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn mend(self) -> Result<()> {
        self.host.must(&["mv", &self.real, &self.place])?;
        Ok(())
    }
}
