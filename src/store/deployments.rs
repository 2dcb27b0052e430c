//! Deployments: reading them, and keeping their facts.

use rusqlite::{OptionalExtension, Transaction};

use super::events::{NewEvent, append};
use super::retention::Rule;
use super::{Lease, Result, Store, StoreError, now, operations, rows};
use crate::domain::status::next;
use crate::domain::{
    Change, Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, Facts, Failure,
    TargetKind,
};

/// What a launch records.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// The deployment's own id: a new one, or that of the deployment that is there.
    pub id: String,
    /// Sealed values by name, in place of older ones.
    pub sealed: Vec<(String, Vec<u8>)>,
    /// What was asked for.
    pub spec: DeploymentSpec,
    /// The id of the API token that launches it; `None` is the operator.
    pub owner: Option<String>,
}

/// Which deployments a page is of.
#[derive(Debug, Clone, Default)]
pub struct DeploymentFilter {
    /// Of this status alone.
    pub status: Option<DeploymentStatus>,
    /// On this target alone.
    pub target: Option<TargetKind>,
    /// With names that begin so.
    pub name_prefix: Option<String>,
}

/// A page's statement: the names by an index of what a filter looks at, and only then the rows.
fn page(status: Option<DeploymentStatus>) -> String {
    // In words of the statement, so that the database knows which index has them all.
    let of_status = match status {
        None => "status <> 'destroyed'".to_owned(),
        Some(DeploymentStatus::Destroyed) => "status = 'destroyed'".to_owned(),
        Some(status) => format!("status <> 'destroyed' AND status = '{status}'"),
    };
    format!(
        "{} WHERE name IN (SELECT name FROM deployments WHERE name >= ?1 AND name < ?2 \
         AND {of_status} AND (?3 IS NULL OR target = ?3) ORDER BY name LIMIT ?4) ORDER BY name",
        rows::DEPLOYMENT
    )
}

/// What was destroyed long ago and has left nothing that needs it: neither an operation nor a
/// backup, which the deployment is named with.
pub(super) const RETENTION: Rule = Rule {
    due: "SELECT 1 FROM deployments WHERE status = 'destroyed' AND updated_at < ?1 \
          AND NOT EXISTS (SELECT 1 FROM operations WHERE deployment = deployments.name) \
          AND NOT EXISTS (SELECT 1 FROM backups WHERE deployment = deployments.name) LIMIT 1",
    prune: |tx, oldest, batch| {
        Ok(tx.execute(
            "DELETE FROM deployments WHERE name IN (SELECT name FROM deployments \
             WHERE status = 'destroyed' AND updated_at < ?1 \
             AND NOT EXISTS (SELECT 1 FROM operations WHERE deployment = deployments.name) \
             AND NOT EXISTS (SELECT 1 FROM backups WHERE deployment = deployments.name) LIMIT ?2)",
            (oldest, batch),
        )?)
    },
};

impl Store {
    /// The deployment with this name, destroyed ones included.
    pub fn deployment(&self, name: &DeploymentName) -> Result<Option<Deployment>> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached(&format!("{} WHERE name = ?1", rows::DEPLOYMENT))?;
            let mut found = statement.query([name.as_str()])?;
            found.next()?.map(rows::deployment).transpose()
        })
    }

    /// Every deployment by name; destroyed ones only when asked for.
    pub fn deployments(&self, with_destroyed: bool) -> Result<Vec<Deployment>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE ?1 OR status <> 'destroyed' ORDER BY name",
                rows::DEPLOYMENT
            ))?;
            let mut found = statement.query([with_destroyed])?;
            let mut deployments = Vec::new();
            while let Some(row) = found.next()? {
                deployments.push(rows::deployment(row)?);
            }
            Ok(deployments)
        })
    }

    /// A page of the deployments that a filter lets through, by name, after one of them. Destroyed
    /// ones are there only when the filter names their status.
    pub fn deployments_page(
        &self,
        filter: &DeploymentFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Deployment>> {
        let (from, to) = rows::name_range(filter.name_prefix.as_deref(), after);
        let target = filter.target.map(TargetKind::as_str);
        self.read(|db| {
            let mut statement = db.prepare_cached(&page(filter.status))?;
            let mut found = statement.query((from, to, target, operations::as_i64(limit)))?;
            let mut deployments = Vec::new();
            while let Some(row) = found.next()? {
                deployments.push(rows::deployment(row)?);
            }
            Ok(deployments)
        })
    }

    /// Records a port as a deployment's own; `false` when another living one has it. Asking and
    /// recording are one commit, so that two launches at once do not get the same.
    pub fn reserve_port(&self, lease: &Lease, port: u16) -> Result<bool> {
        self.write(|tx| {
            operations::check_lease(tx, lease)?;
            let reserved = tx.execute(
                "UPDATE deployments SET facts = json_set(facts, '$.port', ?2), updated_at = ?3 \
                 WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM deployments WHERE name <> ?1 \
                 AND status <> 'destroyed' AND json_extract(facts, '$.port') = ?2)",
                (lease.deployment.as_str(), port, now()),
            )?;
            Ok(reserved == 1)
        })
    }

    /// Records whether only an administrator may destroy a deployment over the API.
    pub fn set_protected(&self, name: &DeploymentName, protected: bool) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE deployments SET spec = json_set(spec, '$.protected', json(?2)), \
                 updated_at = ?3 WHERE name = ?1",
                (name.as_str(), if protected { "true" } else { "false" }, now()),
            )?;
            Ok(())
        })
    }

    /// Records that a deployment gets keys that did not come with the request that launched it.
    pub fn set_keys_of_others(&self, name: &DeploymentName) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE deployments SET spec = json_remove(spec, '$.keys_of_request'), \
                 updated_at = ?2 WHERE name = ?1",
                (name.as_str(), now()),
            )?;
            Ok(())
        })
    }

    /// Stores what an executor found or made.
    pub fn set_facts(&self, lease: &Lease, facts: &Facts) -> Result<()> {
        self.write(|tx| {
            operations::check_lease(tx, lease)?;
            let facts = rows::to_json(facts)?;
            tx.execute(
                "UPDATE deployments SET facts = ?2, updated_at = ?3 WHERE name = ?1",
                (lease.deployment.as_str(), facts, now()),
            )?;
            Ok(())
        })
    }

    /// Stores changed facts together with the event that tells of them.
    pub fn set_facts_and_tell(&self, lease: &Lease, facts: &Facts, event: &NewEvent) -> Result<()> {
        self.write(|tx| {
            operations::check_lease(tx, lease)?;
            tx.execute(
                "UPDATE deployments SET facts = ?2, updated_at = ?3 WHERE name = ?1",
                (lease.deployment.as_str(), rows::to_json(facts)?, now()),
            )?;
            append(tx, &lease.deployment, Some(&lease.operation), event)?;
            Ok(())
        })
    }

    /// Stores a changed specification. What the operator decides at once, whatever is at work, stays
    /// as it is: the executor's copy may be from before.
    pub fn set_spec(&self, lease: &Lease, spec: &DeploymentSpec) -> Result<()> {
        self.write(|tx| {
            operations::check_lease(tx, lease)?;
            let mut spec = spec.clone();
            let stored: String = tx
                .prepare_cached("SELECT spec FROM deployments WHERE name = ?1")?
                .query_row([lease.deployment.as_str()], |row| row.get(0))?;
            let stored: DeploymentSpec = serde_json::from_str(&stored)
                .map_err(|error| StoreError::Corrupt(format!("a specification: {error}")))?;
            spec.protected = stored.protected;
            spec.keys_of_request &= stored.keys_of_request;
            tx.execute(
                "UPDATE deployments SET spec = ?2, updated_at = ?3 WHERE name = ?1",
                (lease.deployment.as_str(), rows::to_json(&spec)?, now()),
            )?;
            Ok(())
        })
    }

    /// Records that a running gateway was found not to work, or to work again. Does nothing
    /// while an operation is at work: it will say itself how it ended.
    pub fn observe(&self, name: &DeploymentName, change: Change) -> Result<DeploymentStatus> {
        self.write(|tx| {
            let current = status(tx, name)?
                .ok_or_else(|| StoreError::Corrupt(format!("no deployment {name}")))?;
            let busy: bool = tx.query_row(
                "SELECT EXISTS (SELECT 1 FROM operations WHERE deployment = ?1 \
                 AND status = 'running')",
                [name.as_str()],
                |row| row.get(0),
            )?;
            if busy {
                return Ok(current);
            }
            apply(tx, name, change)
        })
    }
}

pub(super) fn status(
    tx: &Transaction<'_>,
    name: &DeploymentName,
) -> Result<Option<DeploymentStatus>> {
    let text: Option<String> = tx
        .prepare_cached("SELECT status FROM deployments WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    text.map(|text| {
        DeploymentStatus::parse(&text)
            .ok_or_else(|| StoreError::Corrupt(format!("the status {text:?}")))
    })
    .transpose()
}

/// Moves a deployment's status through the one function that may.
pub(super) fn apply(
    tx: &Transaction<'_>,
    name: &DeploymentName,
    change: Change,
) -> Result<DeploymentStatus> {
    let current = status(tx, name)?;
    let after = next(current, change)
        .map_err(|illegal| StoreError::Refused(Failure::conflict(format!("{name}: {illegal}"))))?;
    if current != Some(after) {
        tx.prepare_cached("UPDATE deployments SET status = ?2, updated_at = ?3 WHERE name = ?1")?
            .execute((name.as_str(), after.as_str(), now()))?;
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_walks_through_the_rows() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let statuses = DeploymentStatus::ALL.into_iter().map(Some).chain([None]);
        for status in statuses {
            let plan = store.read(|db| Ok(rows::plan(db, &page(status)))).expect("a plan");
            let index = match status {
                Some(DeploymentStatus::Destroyed) => "deployments_destroyed",
                _ => "deployments_living",
            };
            let step =
                format!("SEARCH deployments USING COVERING INDEX {index} (name>? AND name<?)");
            assert!(plan.contains(&step), "{status:?}: {plan:?}");
            assert!(plan.contains(&"SEARCH deployments USING PRIMARY KEY (name=?)".to_owned()));
            assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
        }
    }
}
