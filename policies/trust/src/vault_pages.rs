//! A vault's facts in as many records as they need: small ones whole in one, of larger ones a head that names its pages
//! by hash, so that a change sends one page again and a heartbeat only the head.

use crate::hash::Hash;
use crate::ids::AreaName;
use crate::vault_wire::{SeriesFacts, VaultFacts};

/// The area of the head.
pub const AREA: &str = "vault";
/// Bytes of JSON that a page is filled up to; a series that has more has a page of its own.
const PAGE: usize = 64 << 10;
/// The most bytes of JSON of one series: facts of an area are at most 256 KiB (DESIGN §6), with room for the rest.
const SERIES: usize = 240 << 10;
/// The most pages: their names end in two letters, and the head stays small.
const PAGES: usize = 26 * 26;

/// Facts as they are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged {
    /// What the record of the area `vault` says.
    pub head: VaultFacts,
    /// What the records of the pages say, in order.
    pub pages: Vec<VaultFacts>,
    /// False when not even this holds all: series are missing.
    pub whole: bool,
}

/// The area of a page; none beyond the last that there can be.
pub fn page_area(number: usize) -> Option<AreaName> {
    let letter = |n: usize| char::from(b"abcdefghijklmnopqrstuvwxyz"[n % 26]);
    let name = format!("{AREA}_{}{}", letter(number / 26), letter(number));
    (number < PAGES).then(|| AreaName::new(name).ok()).flatten()
}

/// How the head names a page.
pub fn page_hash(page: &VaultFacts) -> Hash {
    Hash::of(&json(&page.series))
}

impl VaultFacts {
    /// Divides them. Of a series with more slots than fit those of its oldest dates are left out: they were told before,
    /// and what one host brings takes nothing from what is said of others.
    pub fn paged(mut self) -> Paged {
        self.series.iter_mut().for_each(trimmed);
        let sizes: Vec<usize> = self.series.iter().map(|series| json(series).len() + 1).collect();
        if sizes.iter().sum::<usize>() <= PAGE {
            return Paged { head: self, pages: Vec::new(), whole: true };
        }
        let mut pages: Vec<Self> = Vec::new();
        let mut filled = usize::MAX;
        let series = std::mem::take(&mut self.series);
        let count = series.len();
        for (series, size) in series.into_iter().zip(sizes) {
            if filled.saturating_add(size) > PAGE {
                if pages.len() == PAGES {
                    break;
                }
                pages.push(Self { series: Vec::new(), ..self.clone() });
                filled = 0;
            }
            filled += size;
            if let Some(page) = pages.last_mut() {
                page.series.push(series);
            }
        }
        let whole = pages.iter().map(|page| page.series.len()).sum::<usize>() == count;
        self.pages = pages.iter().map(page_hash).collect();
        Paged { head: self, pages, whole }
    }
}

fn trimmed(series: &mut SeriesFacts) {
    while json(series).len() > SERIES {
        let told = series.generations.iter_mut().filter(|generation| !generation.slots.is_empty());
        let Some(oldest) = told.min_by_key(|generation| generation.id) else {
            // Without any slot it is as long only by generations that nobody can have opened: one a date and number.
            series.generations.drain(..series.generations.len().div_ceil(2));
            continue;
        };
        let half = oldest.slots.len().div_ceil(2);
        oldest.slots.drain(..half);
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Names, numbers and times: nothing in them can fail to be written.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;
    use crate::backup::{GenerationId, Owner, SeriesId, SetName, SlotId, SlotTime};
    use crate::ids::{HostName, TenantId, VaultName};
    use crate::vault_wire::{GenerationFacts, GenerationState, SealedSlot};

    /// The most that one record may hold.
    const RECORD: usize = 256 << 10;

    fn series(owner: usize, dates: i8, slots: u8) -> SeriesFacts {
        let id = SeriesId {
            vault: VaultName::new("vault1").unwrap(),
            host: HostName::new("web1").unwrap(),
            owner: Owner::Tenant(TenantId::new(format!("tenant-{owner:04}")).unwrap()),
            set: SetName::Server,
        };
        let sealed = |day, n: u8| {
            let at = SlotTime::new(n / 60 % 24, n % 60).unwrap();
            SealedSlot {
                slot: SlotId { series: id.clone(), date: date(2026, 11, day), at, manual: true },
                seal: Hash::of(&[n]),
                snapshot: Hash::of(&[n, 1]),
                root: Hash::of(&[n, 2]),
                sequence: 1,
                received: Timestamp::UNIX_EPOCH,
                unreadable: 0,
            }
        };
        let generation = |day| GenerationFacts {
            id: GenerationId { date: date(2026, 11, day), number: 1 },
            state: GenerationState::Current,
            opened: Timestamp::UNIX_EPOCH,
            closed: None,
            slots: (0..slots).map(|n| sealed(day, n)).collect(),
            objects: 1,
            bytes: 1,
        };
        SeriesFacts { series: id.clone(), generations: (1..=dates).map(generation).collect() }
    }

    fn facts(series: Vec<SeriesFacts>) -> VaultFacts {
        VaultFacts {
            schema: 1,
            series,
            free_bytes: 1,
            total_bytes: 2,
            machine: Hash::of(b"m"),
            boot: Hash::of(b"b"),
            pages: Vec::new(),
        }
    }

    #[test]
    fn few_facts_are_one_record() {
        let few = facts(vec![series(1, 8, 3), series(2, 8, 1)]);
        assert_eq!(few.clone().paged(), Paged { head: few, pages: vec![], whole: true });
    }

    #[test]
    fn a_thousand_tenants_fit_with_every_slot_and_one_change_is_one_page() {
        let many: Vec<_> = (0..1000).map(|n| series(n, 8, 4)).collect();
        let paged = facts(many.clone()).paged();
        assert!(paged.whole && paged.head.series.is_empty());
        assert_eq!(paged.head.pages, paged.pages.iter().map(page_hash).collect::<Vec<_>>());
        let told: Vec<_> = paged.pages.iter().flat_map(|page| page.series.clone()).collect();
        assert_eq!(told, many, "in order, whole");
        assert!(paged.pages.iter().chain([&paged.head]).all(|record| json(record).len() < RECORD));
        let mut changed = many;
        changed[500].generations[7].slots[0].unreadable = 7;
        let again = facts(changed).paged();
        let differ = again.head.pages.iter().zip(&paged.head.pages).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 1);
    }

    #[test]
    fn a_host_that_fills_its_own_series_takes_nothing_from_others() {
        let quiet = series(2, 8, 3);
        let paged = facts(vec![series(1, 8, 240), quiet.clone()]).paged();
        assert!(paged.whole);
        assert!(paged.pages.iter().all(|page| json(page).len() < RECORD));
        assert!(paged.pages.iter().any(|page| page.series.contains(&quiet)));
        let loud = &paged.pages[0].series[0];
        assert_eq!(loud.generations.len(), 8);
        assert!(loud.generations[0].slots.is_empty(), "the oldest are left out first");
        assert_eq!(loud.generations[7].slots.len(), 240);
    }

    #[test]
    fn what_is_too_much_for_all_pages_is_said_not_to_be_whole() {
        let paged = facts((0..=PAGES).map(|n| series(n, 1, 140)).collect()).paged();
        assert_eq!((paged.pages.len(), paged.whole), (PAGES, false));
        assert!(json(&paged.head).len() < RECORD);
    }

    #[test]
    fn pages_have_areas_of_their_own() {
        let names: std::collections::BTreeSet<_> = (0..PAGES).filter_map(page_area).collect();
        assert_eq!((names.len(), page_area(PAGES)), (PAGES, None));
        assert_eq!(page_area(27).unwrap().as_str(), "vault_bb");
    }
}
