//! Elements of the fake's sets: values, timeouts on the boot clock, and which intervals meet.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::NftError;

#[derive(Debug, Clone)]
pub(in crate::fake) struct Element {
    pub(in crate::fake) value: Value,
    pub(super) timeout_s: Option<u64>,
    ends_ms: Option<u64>,
}

impl Element {
    pub(super) fn parse(value: &Value, now_ms: u64) -> Result<Self, NftError> {
        let Some(inner) = value.get("elem") else {
            return Ok(Self { value: value.clone(), timeout_s: None, ends_ms: None });
        };
        let missing = || NftError::Syntax("elem without val".into());
        let timeout_s = inner.get("timeout").and_then(Value::as_u64);
        Ok(Self {
            value: inner.get("val").ok_or_else(missing)?.clone(),
            timeout_s,
            ends_ms: timeout_s.map(|s| now_ms + s * 1000),
        })
    }

    pub(in crate::fake) fn lives(&self, now_ms: u64) -> bool {
        self.ends_ms.is_none_or(|end| now_ms < end)
    }

    pub(super) fn list(&self, now_ms: u64) -> Value {
        match (self.timeout_s, self.ends_ms) {
            (Some(timeout), Some(end)) => {
                json!({"elem": {"val": self.value, "timeout": timeout, "expires": end.saturating_sub(now_ms) / 1000}})
            }
            _ => self.value.clone(),
        }
    }
}

/// Do two elements of an interval set share an address?
pub(in crate::fake) fn overlap(a: &Value, b: &Value) -> bool {
    match (interval(a), interval(b)) {
        (Some((v4a, lo_a, hi_a)), Some((v4b, lo_b, hi_b))) => v4a == v4b && lo_a <= hi_b && lo_b <= hi_a,
        _ => a == b,
    }
}

/// The order in which a set is listed: by first address, then as text.
pub(super) fn rank(value: &Value) -> (u128, String) {
    (interval(value).map_or(0, |(_, first, _)| first), value.to_string())
}

fn interval(value: &Value) -> Option<(bool, u128, u128)> {
    let address = |v: &Value| v.as_str()?.parse::<IpAddr>().ok();
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => (true, u128::from(u32::from(a))),
        IpAddr::V6(a) => (false, u128::from(a)),
    };
    if let Some(one) = address(value) {
        let (v4, bits) = bits(one);
        return Some((v4, bits, bits));
    }
    if let Some(range) = value.get("range") {
        let (v4, first) = bits(address(&range[0])?);
        return Some((v4, first, bits(address(&range[1])?).1));
    }
    let prefix = value.get("prefix")?;
    let (v4, first) = bits(address(&prefix["addr"])?);
    let length = u32::try_from(prefix["len"].as_u64()?).ok()?;
    let host = (if v4 { 32u32 } else { 128 }).checked_sub(length)?;
    let span = if host == 128 { u128::MAX } else { (1u128 << host) - 1 };
    Some((v4, first, first | span))
}
