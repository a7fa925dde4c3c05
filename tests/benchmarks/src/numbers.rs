//! Times of many changes, and what is said of them.

use serde_json::Value;
use tenure_scenarios::Result;

/// Milliseconds from change to restored, by kind of change.
#[derive(Debug, Default)]
pub(crate) struct Times {
    ruleset: Vec<f64>,
    file: Vec<f64>,
    all: Vec<f64>,
}

impl Times {
    /// Adds what `measure.py changes` printed.
    pub(crate) fn add(&mut self, printed: &Value) -> Result<()> {
        for (name, list) in [("ruleset", &mut self.ruleset), ("file", &mut self.file)] {
            let times = printed[name].as_array().ok_or_else(|| format!("no times of {name}: {printed}"))?;
            let times: Vec<f64> = times.iter().filter_map(Value::as_f64).collect();
            list.extend(&times);
            self.all.extend(&times);
        }
        Ok(())
    }

    /// Changes of the ruleset.
    pub(crate) fn ruleset(&self) -> &[f64] {
        &self.ruleset
    }

    /// Changes of the managed file.
    pub(crate) fn file(&self) -> &[f64] {
        &self.file
    }

    /// Both.
    pub(crate) fn all(&self) -> &[f64] {
        &self.all
    }
}

/// The smallest value that at least this share of all values does not exceed (nearest rank); 0 of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among hundreds"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [100.0, 198.0, 200.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[7.0], 0.01), 7.0);
    }

    #[test]
    fn times_are_added_or_refused() {
        let mut times = Times::default();
        times.add(&serde_json::json!({ "ruleset": [1.5], "file": [2.5, 3.5] })).expect("times");
        assert_eq!((times.ruleset().len(), times.file().len(), times.all().len()), (1, 2, 3));
        assert!(times.add(&serde_json::json!({ "ruleset": [1.5] })).is_err());
    }
}
