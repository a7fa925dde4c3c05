//! The transactions of the proved sequence (`docs/FIREWALL.md`): stage, switch, confirm, abandon, and the full replace.
//! Each is one `nft -j -f -`: all of it or nothing. A base chain is flushed and pointed elsewhere, never deleted while it judges.

use std::collections::BTreeSet;

use nftables::types::{NfChainPolicy, NfHook};
use serde_json::Value;

use super::nft::{self, Numbered, Shown, TABLE, render};
use super::table::Hook;

/// The table that hooks connection tracking before a first trial; the first trial takes it away again.
pub const WARM_TABLE: &str = "tenure_warm";

/// Hooks connection tracking without judging anything, so that open sessions can be entered into it.
pub fn warm() -> String {
    let chain = nft::hooked(WARM_TABLE, "warm", NfHook::Prerouting, -150, NfChainPolicy::Accept);
    let rule = nft::rule_object(WARM_TABLE, "warm", vec![nft::tracked("new")], None);
    let mut commands = replaced(WARM_TABLE);
    commands.extend([add(nft::table_object(WARM_TABLE)), add(chain), add(rule)]);
    text(commands)
}

/// Takes the table of a warm-up away that was left.
pub fn cool() -> String {
    text(replaced(WARM_TABLE))
}

/// Replaces the whole table, at boot, for a first trial and to restore drift. Loses a few packets, so a change of policy goes by
/// stage, switch and confirm.
pub fn replace(shown: &Shown<'_>) -> String {
    let mut commands = replaced(TABLE);
    commands.extend(render(shown).into_iter().map(add));
    text(commands)
}

/// A first trial: nothing of ours stood there. Takes the warm-up table away in the same transaction.
pub fn first_trial(old: Numbered<'_>, new: Numbered<'_>, seconds: u32) -> String {
    let mut commands = replaced(TABLE);
    commands.extend(render(&Shown::Trial { old, new, seconds }).into_iter().map(add));
    commands.extend(replaced(WARM_TABLE));
    text(commands)
}

/// Counters, sets and chains of the new number; nothing points at them yet.
pub fn stage(old: Numbered<'_>, new: Numbered<'_>) -> String {
    let fresh = new.table.counters.difference(&old.table.counters);
    let mut commands: Vec<Value> = fresh.map(|name| add(nft::counter_object(name))).collect();
    commands.extend(nft::set_objects(new).into_iter().map(add));
    commands.extend(nft::chain_objects(new).into_iter().map(add));
    commands.extend(nft::rule_objects(new).into_iter().map(add));
    text(commands)
}

/// Starts the trial: packets go to the new ruleset while the live set's elements last.
pub fn switch(old: Numbered<'_>, new: Numbered<'_>, seconds: u32) -> String {
    let mut commands = vec![add(nft::live_set(new.number, seconds))];
    commands.extend(pointed(&Shown::Staged { old, new }, &Shown::Trial { old, new, seconds }));
    text(commands)
}

/// Ends the trial for the new ruleset. The live elements are deleted first, so that all of it fails when the trial has lapsed.
pub fn confirm(old: Numbered<'_>, new: Numbered<'_>) -> String {
    let mut commands = vec![delete(nft::live_elements(new.number))];
    commands.extend(pointed(&Shown::Trial { old, new, seconds: 0 }, &Shown::Confirmed(new)));
    commands.extend(removed(old, new));
    commands.push(delete(nft::set_named(&nft::live_name(new.number))));
    text(commands)
}

/// Ends the trial for the old ruleset, whether it has lapsed or not.
pub fn abandon(old: Numbered<'_>, new: Numbered<'_>) -> String {
    let mut commands = pointed(&Shown::Trial { old, new, seconds: 0 }, &Shown::Confirmed(old));
    commands.push(delete(nft::set_named(&nft::live_name(new.number))));
    commands.extend(removed(new, old));
    text(commands)
}

/// Takes a staged ruleset away again.
pub fn unstage(old: Numbered<'_>, new: Numbered<'_>) -> String {
    text(removed(new, old))
}

/// Takes our table away, and the warm-up table if it was left; nothing of others is touched.
pub fn lift() -> String {
    let mut commands = replaced(TABLE);
    commands.extend(replaced(WARM_TABLE));
    text(commands)
}

/// Points every base chain from what one state shows to what the next shows.
fn pointed(before: &Shown<'_>, after: &Shown<'_>) -> Vec<Value> {
    let had: BTreeSet<Hook> = nft::hooks(before).into_iter().collect();
    let has: BTreeSet<Hook> = nft::hooks(after).into_iter().collect();
    let mut commands = Vec::new();
    for hook in Hook::ALL {
        match (had.contains(&hook), has.contains(&hook)) {
            (true, true) => commands.push(flush(nft::chain_object(hook.name()))),
            (false, true) => commands.push(add(nft::base_chain(hook))),
            (true, false) => {
                commands
                    .extend([flush(nft::chain_object(hook.name())), delete(nft::chain_object(hook.name()))]);
                continue;
            }
            (false, false) => continue,
        }
        commands.extend(nft::base_rules(after, hook).into_iter().map(add));
    }
    commands
}

/// Takes a ruleset away to which nothing points, and the counters that only it had.
fn removed(gone: Numbered<'_>, stays: Numbered<'_>) -> Vec<Value> {
    let chains: Vec<String> =
        gone.table.chains.keys().map(|name| format!("g{}_{name}", gone.number)).collect();
    let mut commands: Vec<Value> = chains.iter().map(|name| flush(nft::chain_object(name))).collect();
    commands.extend(chains.iter().map(|name| delete(nft::chain_object(name))));
    commands.extend(
        gone.table.sets.keys().map(|name| delete(nft::set_named(&format!("g{}_{name}", gone.number)))),
    );
    let stale = gone.table.counters.difference(&stays.table.counters);
    commands.extend(stale.map(|name| delete(nft::counter_object(name))));
    commands
}

/// Deletes a table whether it exists or not.
fn replaced(name: &str) -> Vec<Value> {
    vec![add(nft::table_object(name)), delete(nft::table_object(name))]
}

// Commands are put around objects by hand: the crate's commands take its own objects only, and two of ours are not of its types.

fn add(object: Value) -> Value {
    nft::object([("add", object)])
}

fn delete(object: Value) -> Value {
    nft::object([("delete", object)])
}

fn flush(object: Value) -> Value {
    nft::object([("flush", object)])
}

fn text(commands: Vec<Value>) -> String {
    nft::object([("nftables", commands.into())]).to_string()
}
