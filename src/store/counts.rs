//! How much there is: what a server says about itself.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Result, Store, StoreError};
use crate::domain::DeploymentStatus;

/// How much there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// How many deployments have each status, every status named.
    pub deployments: Vec<(DeploymentStatus, i64)>,
    /// How many operations have begun and not ended.
    pub running: i64,
    /// How long ago the oldest of them began, by the wall clock.
    pub oldest_running: Option<Duration>,
}

const LIVING: &str =
    "SELECT status, count(*) FROM deployments WHERE status <> 'destroyed' GROUP BY status";
const DESTROYED: &str = "SELECT count(*) FROM deployments WHERE status = 'destroyed'";
const RUNNING: &str = "SELECT count(*) FROM operations WHERE status = 'running'";
const OLDEST_RUNNING: &str = "SELECT created_at FROM operations \
     WHERE status = 'running' ORDER BY sequence LIMIT 1";

impl Store {
    /// How much there is.
    pub fn census(&self) -> Result<Census> {
        self.read(|db| {
            let mut deployments: Vec<_> =
                DeploymentStatus::ALL.into_iter().map(|status| (status, 0)).collect();
            let mut put = |status: &str, count: i64| {
                let known = deployments.iter_mut().find(|(it, _)| it.as_str() == status);
                let known = known.map(|(_, known)| *known = count);
                known.ok_or_else(|| StoreError::Corrupt(format!("the status {status:?}")))
            };
            let mut statement = db.prepare_cached(LIVING)?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let status = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
                put(status, row.get(1)?)?;
            }
            let destroyed = db.prepare_cached(DESTROYED)?.query_row([], |row| row.get(0))?;
            put(DeploymentStatus::Destroyed.as_str(), destroyed)?;
            let running = db.prepare_cached(RUNNING)?.query_row([], |row| row.get(0))?;
            let mut oldest = db.prepare_cached(OLDEST_RUNNING)?;
            let mut oldest = oldest.query([])?;
            let oldest: Option<String> = oldest.next()?.map(|row| row.get(0)).transpose()?;
            Ok(Census { deployments, running, oldest_running: oldest.as_deref().and_then(age) })
        })
    }
}

/// How long ago a time was; a clock that stepped back makes it no less than nothing.
fn age(at: &str) -> Option<Duration> {
    let at = OffsetDateTime::parse(at, &Rfc3339).ok()?;
    Some((OffsetDateTime::now_utc() - at).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn counting_reads_indexes_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        for sql in [LIVING, DESTROYED, RUNNING] {
            let plan = store.read(|db| Ok(rows::plan(db, sql))).expect("a plan");
            assert!(plan[0].contains("USING COVERING INDEX"), "{sql}: {plan:?}");
        }
        let plan = store.read(|db| Ok(rows::plan(db, OLDEST_RUNNING))).expect("a plan");
        assert_eq!(plan, ["SEARCH operations USING INDEX operations_by_status (status=?)"]);
        let counts = store.census().expect("reads");
        assert_eq!(counts.deployments.len(), DeploymentStatus::ALL.len());
        assert_eq!((counts.running, counts.oldest_running), (0, None));
    }

    #[test]
    fn an_age_is_never_less_than_nothing() {
        assert_eq!(age("2999-01-01T00:00:00.000Z"), Some(Duration::ZERO));
        assert!(age("2020-01-01T00:00:00.000Z").is_some_and(|age| age.as_secs() > 86_400));
        assert_eq!(age("nonsense"), None);
    }
}
