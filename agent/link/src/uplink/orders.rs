//! Pulls the orders for a vault. Only what operators signed is kept; the vault itself judges whether one is carried out.

use tenure_trust::admission::verify_order;
use tenure_trust::enrol::paths;
use tenure_trust::order::MAX_ORDERS;
use tenure_trust::{OrderKind, OrderList, Refused};

use super::http::Line;
use super::{LinkError, Notice, ORDERS, enrol, fetch};
use crate::store::Places;

/// The most bytes of a list: 4 KiB for each order.
const LIST: usize = MAX_ORDERS * 4096;

/// Pulls the list once and keeps what is believed of it where the vault looks. Withheld orders are not missed: what they
/// would change stays as it is.
pub(super) async fn pull(
    places: &Places,
    line: &mut Line,
    notices: &mut Vec<Notice>,
) -> Result<(), LinkError> {
    // A controller of an earlier release has none.
    let Some(bytes) = line.get(paths::ORDERS, "the orders", LIST).await? else { return Ok(()) };
    let nonsense = |e: serde_json::Error| LinkError::Nonsense { what: "the orders", why: e.to_string() };
    let offered: OrderList = serde_json::from_slice(&bytes).map_err(nonsense)?;
    let root = enrol::root(places)?;
    let mut kept = OrderList::default();
    let mut refused = Vec::new();
    for text in offered.orders.into_iter().take(MAX_ORDERS) {
        match verify_order(&root, text.as_bytes()) {
            Ok(order) if matches!(order.what, OrderKind::Clear { .. }) => kept.orders.push(text),
            Ok(_) => refused.push(Refused::malformed("an order of another kind among those for vaults")),
            Err(why) => refused.push(why),
        }
    }
    notices.extend(refused.iter().take(5).map(|why| Notice {
        event: "policy_refused",
        what: format!("an order: {why}"),
        hint: why.hint().into(),
    }));
    let bytes = serde_json::to_vec(&kept).map_err(|e| LinkError::Key(e.to_string()))?;
    let held = fetch::held(&super::directory(places), ORDERS);
    if held.is_some_and(|held| held == bytes) || (kept.orders.is_empty() && !known(places)) {
        return Ok(());
    }
    fetch::put(places, ORDERS, &bytes)
}

fn known(places: &Places) -> bool {
    fetch::held(&super::directory(places), ORDERS).is_some()
}
