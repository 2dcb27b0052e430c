//! What an owner's deployments cost together.
//!
//! Owns the comparison with what a token may spend, under the write lock: of two launches at once
//! that fit by themselves alone, one is refused. Refuses to know prices: who asks brings them.

use rusqlite::Transaction;

use super::begin::Along;
use super::{Result, StoreError};
use crate::domain::access::Denied;
use crate::domain::{DeploymentSpec, Operation};

/// Comes along with a launch, and looks at what it would make of the owner's spending.
#[derive(Debug, Clone)]
pub struct Spending {
    /// The id of the API token that launches.
    pub owner: String,
    /// How much all of its deployments may cost a month, in US dollars.
    pub most: u32,
    /// What one costs a month; `None` where that is not known.
    pub cost: fn(&DeploymentSpec) -> Option<f64>,
}

impl Along for Spending {
    fn write(&self, tx: &Transaction<'_>, begun: &Operation) -> Result<()> {
        let mut select = tx.prepare_cached(
            "SELECT name, spec FROM deployments WHERE owner = ?1 AND status <> 'destroyed'",
        )?;
        let mut rows = select.query([&self.owner])?;
        let mut sum = 0.0;
        while let Some(row) = rows.next()? {
            let (name, spec): (String, String) = (row.get(0)?, row.get(1)?);
            let spec = serde_json::from_str(&spec)
                .map_err(|error| StoreError::Corrupt(format!("a specification: {error}")))?;
            // One that failed, or is stopped, may have a machine that is paid for.
            let Some(cost) = (self.cost)(&spec) else {
                return Err(self.refused(&format!("what {name} costs is not known")));
            };
            sum += cost;
        }
        if sum > f64::from(self.most) {
            let (name, sum) = (&begun.deployment, sum.ceil());
            return Err(self.refused(&format!("with {name} it would be {sum}")));
        }
        Ok(())
    }
}

impl Spending {
    fn refused(&self, why: &str) -> StoreError {
        let denied =
            Denied::Limit(format!("it may spend {} dollars a month, and {why}", self.most));
        StoreError::Refused(denied.into())
    }
}
