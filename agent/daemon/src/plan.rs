//! What a pass of every area would do now, with who reaches and who logs in before and after. Changes nothing.

use tenure_areas::area::Now;
use tenure_areas::firewall::facts::Facts;
use tenure_areas::port::HostRead;
use tenure_sys::text;

use crate::areas::{Area, Look};
use crate::logins;
use crate::policy_in_force::Held;
use crate::reach::{Reach, reach};
use crate::socket::wire::{AreaPlan, HostPlan};
use crate::sockets;

/// Looks at the whole host.
pub fn host_plan(held: &Held, host: &dyn HostRead, now: &Now) -> HostPlan {
    let policy = held.policy();
    let looked: Vec<AreaPlan> = Area::ALL
        .into_iter()
        .filter_map(|area| {
            let desired = area.compile(&policy)?;
            let (look, unknown) = match desired.look(host, now) {
                Ok(look) => (Some(look), None),
                Err(unknown) => (None, Some(unknown)),
            };
            Some(AreaPlan { area, mode: area.mode(&policy), look, unknown })
        })
        .collect();
    let look_of = |area: Area| looked.iter().find(|p| p.area == area).and_then(|p| p.look.as_ref());
    let reach = match (&policy.firewall, look_of(Area::Firewall)) {
        (Some(section), Some(look)) => reachable(section, look, host),
        _ => Vec::new(),
    };
    let logins = logins::logins(policy.ssh_access.as_ref(), look_of(Area::SshAccess), now.wall);
    HostPlan {
        host: policy.host.clone(),
        from: text::neutral(held.from.as_bytes(), 300),
        at: now.wall,
        areas: looked,
        reach,
        logins,
    }
}

fn reachable(
    section: &tenure_policy::resolved::FirewallSection,
    look: &Look,
    host: &dyn HostRead,
) -> Vec<Reach> {
    let Ok(facts) = serde_json::from_value::<Facts>(look.facts.clone()) else { return Vec::new() };
    // Nothing listens, as far as can be told, when /proc cannot be read; the plan itself does not depend on it.
    reach(sockets::listeners().unwrap_or_default(), section, &facts, host)
}
