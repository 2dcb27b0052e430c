//! How much a token may have.
//!
//! Owns the limits, and the answer to what a launch may be. Refuses to count: how many there are is
//! known under the store's write lock alone, where two launches at once are one after the other.

use serde::{Deserialize, Serialize};

use super::Denied;
use crate::domain::{Failure, TargetKind};

/// The most sizes or regions that one token's limits name.
pub const LIMIT_ITEMS_MAX: usize = 64;

/// How much a token may have. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Deployments at once, of those that the token launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployments: Option<u32>,
    /// Launches at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launches: Option<u32>,
    /// What the deployments may cost a month together, in US dollars. A target on this machine has
    /// no price; a machine whose price is not known is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_price: Option<u32>,
    /// Where deployments may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetKind>>,
    /// Of which sizes machines may be. A target on this machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Vec<String>>,
    /// In which regions machines may stand. A target on this machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<String>>,
}

/// What a launch would take.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where it would run.
    pub target: TargetKind,
    /// Of which size, where the target has sizes.
    pub size: Option<&'a str>,
    /// In which region, where the target has regions.
    pub region: Option<&'a str>,
    /// What all of them would cost a month with it, in US dollars, where the target has prices.
    pub monthly_price: Option<u32>,
}

impl Wanted<'_> {
    /// A launch on a target that has no sizes, regions and prices.
    pub fn on(target: TargetKind) -> Self {
        Self { target, size: None, region: None, monthly_price: None }
    }
}

impl Limits {
    /// Refuses what no token may be given: endless lists, and items that are no plain words.
    pub fn check(&self) -> Result<(), Failure> {
        for (field, items) in [("sizes", &self.sizes), ("regions", &self.regions)] {
            let items = items.as_deref().unwrap_or_default();
            let plain = |item: &String| {
                (1..=60).contains(&item.len())
                    && item.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
            };
            if items.len() > LIMIT_ITEMS_MAX || !items.iter().all(plain) {
                return Err(Failure::bad_input(format!(
                    "limits.{field} is at most {LIMIT_ITEMS_MAX} words of letters, digits, -, . \
                     and _"
                )));
            }
        }
        if self.targets.as_ref().is_some_and(|targets| targets.len() > LIMIT_ITEMS_MAX) {
            return Err(Failure::bad_input(format!(
                "limits.targets is at most {LIMIT_ITEMS_MAX} targets"
            )));
        }
        Ok(())
    }

    /// Whether a launch is of a kind that they allow. Their numbers are the store's to compare.
    pub fn allow(&self, wanted: &Wanted<'_>) -> Result<(), Denied> {
        let listed = |allowed: Option<&Vec<String>>, word: Option<&str>| match (allowed, word) {
            (Some(allowed), Some(word)) => allowed.iter().any(|it| it == word),
            _ => true,
        };
        if let Some(targets) = &self.targets
            && !targets.contains(&wanted.target)
        {
            return Err(Denied::Limit(format!("it may not launch on {}", wanted.target)));
        }
        for (what, allowed, word) in
            [("size", &self.sizes, wanted.size), ("region", &self.regions, wanted.region)]
        {
            if !listed(allowed.as_ref(), word) {
                return Err(Denied::Limit(format!("its limits do not list this {what}")));
            }
        }
        match (self.monthly_price, wanted.monthly_price) {
            (Some(most), Some(price)) if price > most => Err(Denied::Limit(format!(
                "it may spend {most} dollars a month, and this would make it {price}"
            ))),
            _ => Ok(()),
        }
    }
}
