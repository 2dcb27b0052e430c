//! Provisional reads.
use super::{Result, Store};
use crate::domain::*;
/// f
#[derive(Debug, Default, Clone)]
pub struct DeploymentFilter {
    /// s
    pub status: Option<DeploymentStatus>,
    /// t
    pub target: Option<TargetKind>,
    /// p
    pub name_prefix: Option<String>,
}
/// f
#[derive(Debug, Default, Clone)]
pub struct OperationFilter {
    /// s
    pub deployment: Option<DeploymentName>,
    /// t
    pub status: Option<OperationStatus>,
    /// p
    pub name_prefix: Option<String>,
}
/// f
#[derive(Debug, Default, Clone)]
pub struct EventFilter {
    /// s
    pub name: Option<DeploymentName>,
    /// t
    pub name_prefix: Option<String>,
    /// p
    pub types: Vec<EventType>,
    /// o
    pub operation: Option<String>,
}
impl Store {
    /// l
    pub fn last_sequence(&self) -> Result<i64> {
        self.read(|db| {
            Ok(db.query_row("SELECT coalesce(max(sequence),0) FROM events", [], |r| r.get(0))?)
        })
    }
    /// l
    pub fn pruned_to(&self) -> Result<i64> {
        Ok(0)
    }
    /// l
    pub fn events_page(&self, f: &EventFilter, after: i64, limit: usize) -> Result<Vec<Event>> {
        let all = self.events(f.name.as_ref(), after, 100_000)?;
        Ok(all
            .into_iter()
            .filter(|e| {
                f.name_prefix.as_ref().is_none_or(|p| e.name.as_str().starts_with(p))
                    && (f.types.is_empty() || f.types.contains(&e.kind))
                    && f.operation.as_ref().is_none_or(|o| Some(o) == e.operation_id.as_ref())
            })
            .take(limit)
            .collect())
    }
    /// l
    pub fn deployments_page(
        &self,
        f: &DeploymentFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Deployment>> {
        Ok(self
            .deployments(f.status == Some(DeploymentStatus::Destroyed))?
            .into_iter()
            .filter(|d| {
                after.is_none_or(|a| d.name.as_str() > a)
                    && f.status.is_none_or(|s| s == d.status)
                    && f.target.is_none_or(|t| t == d.spec.target)
                    && f.name_prefix.as_ref().is_none_or(|p| d.name.as_str().starts_with(p))
            })
            .take(limit)
            .collect())
    }
    /// l
    pub fn operations_page(
        &self,
        f: &OperationFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, Operation)>> {
        let all = self.operations(f.deployment.as_ref(), 100_000)?;
        let n = all.len() as i64;
        Ok(all
            .into_iter()
            .enumerate()
            .map(|(i, o)| (n - i as i64, o))
            .filter(|(s, o)| {
                before.is_none_or(|b| *s < b)
                    && f.status.is_none_or(|s| s == o.status)
                    && f.name_prefix.as_ref().is_none_or(|p| o.deployment.as_str().starts_with(p))
            })
            .take(limit)
            .collect())
    }
}
