//! The name of a read-only view of a generation, as SFTP clients write it:
//! `/<owner>/<host>/<set>/<generation>@<sequence | RFC 3339 time | last-seal>` (BACKUP.md, "Reading").

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::backup::{GenerationId, SeriesId};
use crate::ids::{IdError, VaultName};

/// A generation as it stood at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Of which series.
    pub series: SeriesId,
    /// Which generation.
    pub generation: GenerationId,
    /// Which of its states.
    pub point: Point,
}

/// A state of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Everything up to this sequence number of the vault.
    Sequence(u64),
    /// Everything that the vault had taken by this time of its own clock.
    Time(Timestamp),
    /// What the seal accepted last counts.
    LastSeal,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(sequence) => sequence.fmt(f),
            Self::Time(time) => time.fmt(f),
            Self::LastSeal => f.write_str("last-seal"),
        }
    }
}

impl FromStr for Point {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            kind: "point of a view",
            text: crate::text::shortened(text.to_owned(), 100),
            rule: "a sequence number, an RFC 3339 time, or last-seal",
        };
        if text == "last-seal" {
            return Ok(Self::LastSeal);
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let sequence: u64 = text.parse().map_err(|_| wrong())?;
            return if sequence.to_string() == text { Ok(Self::Sequence(sequence)) } else { Err(wrong()) };
        }
        // jiff also reads other forms; a view's time has a date, a time and an offset and nothing else
        let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b'T' | b'Z' | b'+');
        if text.len() > 40 || !text.bytes().all(plain) {
            return Err(wrong());
        }
        text.parse().map(Self::Time).map_err(|_| wrong())
    }
}

impl View {
    /// `<generation>@<point>`, the last name of its path.
    pub fn name(&self) -> String {
        format!("{}@{}", self.generation, self.point)
    }

    /// Its whole path, with `/` in front and none behind.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.series.path(), self.name())
    }

    /// Reads `<generation>@<point>`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse_name(name: &str) -> Result<(GenerationId, Point), IdError> {
        let wrong = || IdError {
            kind: "view",
            text: crate::text::shortened(name.to_owned(), 100),
            rule: "GENERATION@POINT",
        };
        let (generation, point) = name.split_once('@').ok_or_else(wrong)?;
        Ok((generation.parse()?, point.parse()?))
    }

    /// Reads [`View::path`] back.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn from_path(vault: VaultName, path: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            kind: "view",
            text: crate::text::shortened(path.to_owned(), 100),
            rule: "/OWNER/HOST/SET/GENERATION@POINT",
        };
        let (series, name) = path.strip_prefix('/').and_then(|p| p.rsplit_once('/')).ok_or_else(wrong)?;
        let (generation, point) = Self::parse_name(name)?;
        Ok(Self { series: SeriesId::from_path(vault, series)?, generation, point })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_views_path_reads_back_and_no_other_does() {
        let vault = || VaultName::new("vault1").unwrap();
        let time = "2026-11-23T06:10:00Z";
        for point in ["last-seal", "12", "0", time] {
            let path = format!("/acme/web1/server/2026-11-23.1@{point}");
            let view = View::from_path(vault(), &path).unwrap();
            assert_eq!(view.path(), path);
        }
        for bad in [
            "",
            "/",
            "acme/web1/server/2026-11-23.1@1",
            "/acme/web1/server/2026-11-23.1",
            "/acme/web1/server/2026-11-23.1@",
            "/acme/web1/server/2026-11-23.1@01",
            "/acme/web1/server/2026-11-23.1@-1",
            "/acme/web1/server/2026-11-23.1@yesterday",
            "/acme/web1/server/2026-11-23.1@2026-11-23",
            "/acme/web1/server/2026-11-23.1@2026-11-23T06:10:00[Europe/Amsterdam]",
            "/acme/../server/2026-11-23.1@1",
            "/acme/web1/server/2026-11-23.1@1/config",
        ] {
            assert!(View::from_path(vault(), bad).is_err(), "{bad}");
        }
    }
}
