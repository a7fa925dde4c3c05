//! One slot: what host and vault say of it, and what comes out. They must agree before it counts.

use jiff::{SignedDuration, Timestamp};
use tenure_trust::vault_wire::{AsideReason, GenerationState, SealedSlot};

use crate::input::{AgreedSeal, HostSeal, HostSlotState};
use crate::reason::{Machine, SlotFault};
use crate::state::State;

/// When a slot is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Its moment.
    pub(crate) due: Timestamp,
    /// Until then a run of it may begin.
    pub(crate) until: Timestamp,
    /// Until then its generation takes a seal.
    pub(crate) closes: Timestamp,
}

/// What is known of a slot from both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides<'a> {
    /// What the host says.
    pub(crate) host: Option<&'a HostSlotState>,
    /// What the vault holds, the number of the generation and in which state it is.
    pub(crate) vault: Option<(&'a SealedSlot, u32, GenerationState)>,
    /// The host, when it cannot be believed now.
    pub(crate) host_silent: Option<&'a Machine>,
    /// The vault, when it cannot be believed now.
    pub(crate) vault_silent: Option<&'a Machine>,
}

/// What comes out for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SlotSeen {
    /// Before the machines were admitted: nobody expects it.
    NotExpected,
    /// Its time has not come.
    ToCome,
    /// Its time has come and has not passed.
    Open,
    /// The same, and no run of it worked so far: it is tried again.
    Trying(String),
    /// Host and vault hold the same copy.
    Done {
        /// When the vault took it.
        received: Timestamp,
    },
    /// The same, with files missing in it.
    Partial(u64),
    /// The same, and its generation, of this number, was set aside.
    Aside(u32),
    /// The same, and the vault's disk has lost a part of it since.
    Spoilt,
    /// It holds no copy that counts.
    Lacks(State, SlotFault),
}

/// Judges a slot. `grace` is how long one side's word may lag behind the other's.
pub(crate) fn judge(window: &Window, sides: &Sides<'_>, grace: SignedDuration, now: Timestamp) -> SlotSeen {
    let later = |at: Timestamp| at.checked_add(grace).unwrap_or(Timestamp::MAX);
    let silent = |machine: Option<&Machine>, otherwise| match machine {
        Some(machine) => SlotSeen::Lacks(State::Unknown, SlotFault::Silent(machine.clone())),
        None => SlotSeen::Lacks(State::Overdue, otherwise),
    };
    match (sides.host, sides.vault) {
        (Some(HostSlotState::Sealed(host)), Some((vault, number, state))) => {
            agree(host, vault, number, state)
        }
        (Some(HostSlotState::Sealed(host)), None) => match now <= later(window.until.max(host.at.min(now))) {
            true => SlotSeen::Open,
            false => silent(sides.vault_silent, SlotFault::OnlyHost),
        },
        (_, Some((vault, ..))) => match now <= later(vault.received.min(now)) {
            true => SlotSeen::Open,
            false => silent(sides.host_silent, SlotFault::OnlyVault),
        },
        (_, None) if now < window.due => SlotSeen::ToCome,
        (Some(HostSlotState::Failed { why }), None) if now <= window.until => SlotSeen::Trying(why.clone()),
        (_, None) if now <= window.until => SlotSeen::Open,
        (Some(HostSlotState::Failed { why }), None) => {
            SlotSeen::Lacks(State::Overdue, SlotFault::Failed(why.clone()))
        }
        (Some(HostSlotState::Missed), None) => SlotSeen::Lacks(State::Overdue, SlotFault::Missed),
        (Some(HostSlotState::Running), None) if now <= window.closes && sides.host_silent.is_none() => {
            SlotSeen::Open
        }
        (Some(HostSlotState::Open | HostSlotState::Running) | None, None) => match now <= later(window.until)
        {
            true => SlotSeen::Open,
            false => silent(sides.host_silent.or(sides.vault_silent), SlotFault::Missed),
        },
    }
}

/// What both say of it, or said before while neither denies it; to be remembered where the host's list is `full`, so that
/// it will not say so again.
pub(crate) fn agreed(sides: &Sides<'_>, full: bool, before: Option<&AgreedSeal>) -> Option<AgreedSeal> {
    let before = before.copied();
    match (sides.host, sides.vault) {
        (Some(HostSlotState::Sealed(host)), Some((vault, ..))) => {
            let unreadable = host.unreadable.max(vault.unreadable);
            let now = AgreedSeal { seal: vault.seal, unreadable };
            (same(host, vault) && (full || before.is_some())).then_some(now)
        }
        (Some(HostSlotState::Sealed(host)), None) => before.filter(|before| before.seal == host.seal),
        (Some(_), _) => None,
        (None, held) => before.filter(|before| held.is_none_or(|(vault, ..)| vault.seal == before.seal)),
    }
}

fn same(host: &HostSeal, vault: &SealedSlot) -> bool {
    (host.seal, host.snapshot, host.root) == (vault.seal, vault.snapshot, vault.root)
}

fn agree(host: &HostSeal, vault: &SealedSlot, number: u32, state: GenerationState) -> SlotSeen {
    if !same(host, vault) {
        return SlotSeen::Lacks(State::Broken, SlotFault::Differ);
    }
    held(vault, host.unreadable, number, state)
}

/// What a seal is that nobody contradicts, and of which the host says or said that it lacks so many files.
pub(crate) fn held(vault: &SealedSlot, unreadable: u64, number: u32, state: GenerationState) -> SlotSeen {
    match (vault.unreadable.max(unreadable), state) {
        (_, GenerationState::Aside(AsideReason::Spoilt)) => SlotSeen::Spoilt,
        (_, GenerationState::Aside(_)) => SlotSeen::Aside(number),
        (0, _) => SlotSeen::Done { received: vault.received },
        (files, _) => SlotSeen::Partial(files),
    }
}

impl SlotSeen {
    /// Can it still be filled?
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::ToCome | Self::Open | Self::Trying(_))
    }

    /// Can it not be seen whether it holds a copy?
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Lacks(State::Unknown, _))
    }

    /// As a fault, when it is one.
    pub(crate) fn fault(&self) -> Option<(State, SlotFault)> {
        match self {
            Self::Lacks(state, fault) => Some((*state, fault.clone())),
            Self::Trying(why) => Some((State::Due, SlotFault::Trying(why.clone()))),
            Self::Partial(files) => Some((State::Overdue, SlotFault::Partial(*files))),
            Self::Aside(number) => Some((State::Overdue, SlotFault::Aside(*number))),
            Self::Spoilt => Some((State::Overdue, SlotFault::Spoilt)),
            Self::NotExpected | Self::ToCome | Self::Open | Self::Done { .. } => None,
        }
    }
}
