//! What one judgement must know of those before it, over restarts too: since when duties stand, and on which slots host and
//! vault have agreed. Only what differs is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenure_obligations::Standing;
use tenure_obligations::input::Agreed;

use crate::app::App;
use crate::journal;
use crate::store::{Access, AgreedSlot, StoreError};

/// What is remembered, and how much of it the database has.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// How duties stood, as the database has it.
    pub(crate) standing: BTreeSet<Standing>,
    /// What host and vault agreed on, as it was judged last.
    pub(crate) agreed: Arc<Agreed>,
    /// The same as the database has it.
    written: Arc<Agreed>,
}

impl Remembered {
    /// Reads it.
    pub(crate) async fn read(app: &App) -> Result<Self, StoreError> {
        let standing = app.store.states(&Access::Itself).await?.into_iter().collect();
        let agreed = Arc::new(app.store.agreed(&Access::Itself).await?);
        Ok(Self { standing, written: agreed.clone(), agreed })
    }

    /// Writes down what differs. What cannot be written now is written with the next judgement; its dates stay.
    pub(crate) async fn keep(&mut self, app: &App, stands: BTreeSet<Standing>, agreed: Agreed) {
        let gone: Vec<Standing> = self.standing.difference(&stands).cloned().collect();
        let put: Vec<Standing> = stands.difference(&self.standing).cloned().collect();
        if !gone.is_empty() || !put.is_empty() {
            match app.store.put_states(&Access::Itself, &gone, &put).await {
                Ok(()) => self.standing = stands,
                Err(error) => told("how duties stand", &error),
            }
        }
        self.agreed = Arc::new(agreed);
        if self.agreed != self.written {
            let (gone, put) = (beside(&self.written, &self.agreed), beside(&self.agreed, &self.written));
            match app.store.put_agreed(&Access::Itself, &gone, &put).await {
                Ok(()) => self.written = self.agreed.clone(),
                Err(error) => told("what host and vault agreed on", &error),
            }
        }
    }
}

fn told(what: &str, error: &StoreError) {
    journal::error(&format!("{what} was not written down: {}", journal::chain(error)));
}

/// What is in the one and not, or otherwise, in the other.
fn beside<'a>(one: &'a Agreed, other: &Agreed) -> Vec<AgreedSlot<'a>> {
    let mut rows = Vec::new();
    for (series, slots) in one {
        let known = other.get(series);
        if known == Some(slots) {
            continue;
        }
        let new = slots.iter().filter(|(slot, seal)| known.and_then(|known| known.get(*slot)) != Some(*seal));
        rows.extend(new.map(|(slot, seal)| (series, *slot, *seal)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use tenure_obligations::input::AgreedSeal;
    use tenure_trust::Hash;

    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let series = |owner: &str| {
            tenure_trust::SeriesId::from_path("vault1".parse().unwrap(), &format!("{owner}/web1/server"))
                .unwrap()
        };
        let slot = |day: i8| (jiff::civil::date(2026, 11, day), "06:00".parse().unwrap());
        let seal = |seal: &str| AgreedSeal { seal: Hash::of(seal.as_bytes()), unreadable: 0 };
        let of = |slots: &[(i8, &str)]| slots.iter().map(|(day, named)| (slot(*day), seal(named))).collect();
        let (one, two, three) = (series("one"), series("two"), series("three"));
        let before = Agreed::from([(one.clone(), of(&[(1, "a"), (2, "b")])), (two.clone(), of(&[(1, "a")]))]);
        let after =
            Agreed::from([(one.clone(), of(&[(2, "c"), (3, "d")])), (three.clone(), of(&[(1, "a")]))]);
        let gone = [(&one, slot(1), seal("a")), (&one, slot(2), seal("b")), (&two, slot(1), seal("a"))];
        assert_eq!(beside(&before, &after), gone);
        let put = [(&one, slot(2), seal("c")), (&one, slot(3), seal("d")), (&three, slot(1), seal("a"))];
        assert_eq!(beside(&after, &before), put);
        assert!(beside(&before, &before).is_empty());
    }
}
