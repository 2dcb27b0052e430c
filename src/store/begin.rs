//! Beginning an operation, also under a name that is chosen in the same commit.
//!
//! Owns what is checked and written when work begins: one active operation for each deployment,
//! the limits of whoever asks, the deployment's row, what is sealed for it, the event, and the
//! rows that a request brings along. All of it commits together or not at all. Refuses to begin on
//! a disk that is nearly full.

use std::fmt;
use std::sync::Arc;

use rusqlite::Transaction;
use serde_json::Value;

use super::events::{NewEvent, append};
use super::operations::{active, unknown};
use super::{NewDeployment, Result, Store, StoreError, deployments, new_id, now, rows};
use crate::domain::name::MAX_LENGTH;
use crate::domain::{
    Change, DeploymentName, DeploymentStatus, Facts, Failure, FailureKind, Operation,
    OperationKind, OperationStatus,
};

/// What begins an operation.
#[derive(Debug, Clone)]
pub struct Begin {
    /// What it is for.
    pub kind: OperationKind,
    /// Whose it is.
    pub deployment: DeploymentName,
    /// What it was asked for with; no secret.
    pub params: Value,
    /// For a launch: what is recorded when the name is new or was destroyed.
    pub create: Option<NewDeployment>,
    /// Sealed values of a deployment that is there, by name, in place of older ones: they are
    /// kept if the operation begins, and only then.
    pub sealed: Vec<(String, Vec<u8>)>,
    /// The event that tells of it.
    pub event: Option<NewEvent>,
    /// For a launch: how much its owner may have.
    pub limits: Option<OwnerLimits>,
    /// What else is written in the same commit.
    pub along: Vec<Arc<dyn Along>>,
}

impl Begin {
    /// An operation with nothing but its kind and its deployment.
    pub fn new(kind: OperationKind, deployment: DeploymentName) -> Self {
        Self {
            kind,
            deployment,
            params: Value::Object(serde_json::Map::new()),
            create: None,
            sealed: Vec::new(),
            event: None,
            limits: None,
            along: Vec::new(),
        }
    }
}

/// How much an owner may have. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerLimits {
    /// The id of the API token that launches.
    pub owner: String,
    /// How many deployments that are not destroyed.
    pub deployments: Option<u32>,
    /// How many launches at once.
    pub launches: Option<u32>,
}

/// Rows of another table that come with an operation, such as the key under which its request may
/// be sent again: they commit with its beginning, or it does not begin. Both calls may be made more
/// than once for one beginning, after what they wrote before was rolled back.
pub trait Along: fmt::Debug + Send + Sync {
    /// Looks before anything else does; a refusal here goes before all others.
    fn look(&self, _tx: &Transaction<'_>) -> Result<()> {
        Ok(())
    }

    /// Writes the rows, once the operation has begun.
    fn write(&self, tx: &Transaction<'_>, begun: &Operation) -> Result<()>;
}

/// Comes along with what a protected deployment is kept from: nothing is written, and nothing
/// begins where the deployment is protected by then.
#[derive(Debug, Clone, Copy)]
pub struct Unprotected;

impl Along for Unprotected {
    fn write(&self, tx: &Transaction<'_>, begun: &Operation) -> Result<()> {
        let name = &begun.deployment;
        let protected: bool = tx
            .prepare_cached(
                "SELECT coalesce(json_extract(spec, '$.protected'), 0) FROM deployments \
                 WHERE name = ?1",
            )?
            .query_row([name.as_str()], |row| row.get(0))?;
        if !protected {
            return Ok(());
        }
        let why = format!("{name} is protected: only an administrator may destroy it");
        Err(Failure::new(FailureKind::Forbidden, why).into())
    }
}

impl Store {
    /// Begins an operation. Refuses with a conflict while another one is active, and where the
    /// deployment's status does not allow it.
    pub fn begin(&self, begin: &Begin) -> Result<Operation> {
        self.check_floor(begin.kind)?;
        self.write(|tx| begin_in(tx, begin))
    }

    /// Begins a launch under `base`, or, where that name is taken, under the first free one of
    /// `base1`, `base2` and so on: one that nothing has, or that was destroyed. The name is chosen
    /// and taken in one commit. Refuses with a conflict while `base` itself is being launched.
    pub fn begin_counting(
        &self,
        base: &DeploymentName,
        make: impl Fn(&DeploymentName) -> Result<Begin>,
    ) -> Result<Operation> {
        self.check_floor(OperationKind::Launch)?;
        self.write(|tx| begin_counting_in(tx, base, &make))
    }

    /// [`Store::begin`], in a commit that is shared with whoever else waits for one.
    pub async fn begin_async(&self, begin: Begin) -> Result<Operation> {
        self.check_floor(begin.kind)?;
        self.write_grouped(move |tx| begin_in(tx, &begin)).await
    }

    /// [`Store::begin_counting`], in a commit that is shared with whoever else waits for one.
    pub async fn begin_counting_async(
        &self,
        base: DeploymentName,
        make: impl Fn(&DeploymentName) -> Result<Begin> + Send + 'static,
    ) -> Result<Operation> {
        self.check_floor(OperationKind::Launch)?;
        self.write_grouped(move |tx| begin_counting_in(tx, &base, &make)).await
    }
}

fn begin_counting_in(
    tx: &Transaction<'_>,
    base: &DeploymentName,
    make: &impl Fn(&DeploymentName) -> Result<Begin>,
) -> Result<Operation> {
    let begin = make(base)?;
    // A request that was made before has its answer, whatever its name is by now.
    look(tx, &begin)?;
    let name = free_name(tx, base)?;
    if name == *base { begin_in(tx, &begin) } else { begin_in(tx, &make(&name)?) }
}

/// The first free name, counted from `base` on.
fn free_name(tx: &Transaction<'_>, base: &DeploymentName) -> Result<DeploymentName> {
    match deployments::status(tx, base)? {
        None | Some(DeploymentStatus::Destroyed) => return Ok(base.clone()),
        Some(DeploymentStatus::Launching) => {
            return Err(Failure::conflict(format!("{base} is being launched"))
                .remedy("wait until it is, or choose another name")
                .into());
        }
        Some(_) => {}
    }
    let mut statement = tx.prepare_cached(TAKEN_NUMBERS)?;
    // A colon comes after the digits.
    let mut found = statement.query((format!("{base}1"), format!("{base}:")))?;
    let mut taken = Vec::new();
    while let Some(row) = found.next()? {
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        // `main1-a` and `main01` are no numbers of `main`.
        taken.extend(name[base.as_str().len()..].parse::<u64>());
    }
    taken.sort_unstable();
    let free = taken.iter().zip(1..).find(|(taken, number)| *taken != number);
    let number = free.map_or(taken.len() as u64 + 1, |(_, number)| number);
    format!("{base}{number}").parse().map_err(|_| {
        Failure::bad_input(format!(
            "{base} is taken, and the next free name, {base}{number}, is longer than \
             {MAX_LENGTH} characters"
        ))
        .remedy("choose a shorter name")
        .into()
    })
}

/// The living names between two.
const TAKEN_NUMBERS: &str =
    "SELECT name FROM deployments WHERE name >= ?1 AND name < ?2 AND status <> 'destroyed'";

fn look(tx: &Transaction<'_>, begin: &Begin) -> Result<()> {
    begin.along.iter().try_for_each(|along| along.look(tx))
}

fn begin_in(tx: &Transaction<'_>, begin: &Begin) -> Result<Operation> {
    look(tx, begin)?;
    let name = &begin.deployment;
    if let Some(active) = active(tx, name)? {
        return Err(Store::at_work(&active));
    }
    let prior = deployments::status(tx, name)?.filter(|it| *it != DeploymentStatus::Destroyed);
    if let Some(limits) = &begin.limits {
        check_limits(tx, limits, prior.is_none())?;
    }
    match &begin.create {
        Some(create) => put_deployment(tx, name, prior, create)?,
        None if prior.is_none() => return Err(unknown(name).into()),
        None => {}
    }
    put_sealed(tx, name, &begin.sealed)?;
    deployments::apply(tx, name, Change::Begin(begin.kind))?;
    let operation = put_operation(tx, begin, prior)?;
    if let Some(event) = &begin.event {
        append(tx, name, Some(&operation.id), event)?;
    }
    begin.along.iter().try_for_each(|along| along.write(tx, &operation))?;
    Ok(operation)
}

/// Refuses what goes beyond an owner's limits. They are counted under the write lock, so that of
/// two launches at once the last place is given to one.
fn check_limits(tx: &Transaction<'_>, limits: &OwnerLimits, is_new: bool) -> Result<()> {
    let refused = |most: u32, what: &str, has: u32, remedy: &str| {
        let failure = Failure::new(
            FailureKind::Forbidden,
            format!("this token's limit for {what} is {most}, and it has {has}"),
        );
        Err(failure.remedy(format!("{remedy}, or ask for a token with a higher limit")).into())
    };
    if limits.deployments.is_none() && limits.launches.is_none() {
        return Ok(());
    }
    let (living, launching): (u32, u32) =
        tx.prepare_cached(OWNED)?.query_row([&limits.owner], |it| Ok((it.get(0)?, it.get(1)?)))?;
    match (limits.deployments, limits.launches) {
        (Some(most), _) if is_new && living >= most => {
            refused(most, "deployments", living, "destroy one")
        }
        (_, Some(most)) if launching >= most => {
            refused(most, "launches at once", launching, "wait until one is done")
        }
        _ => Ok(()),
    }
}

/// How many deployments an owner has that live, and that are being launched.
const OWNED: &str = "SELECT count(*) FILTER (WHERE status <> 'destroyed'), \
     count(*) FILTER (WHERE status = 'launching') FROM deployments WHERE owner = ?1";

fn put_operation(
    tx: &Transaction<'_>,
    begin: &Begin,
    prior: Option<DeploymentStatus>,
) -> Result<Operation> {
    let (id, created_at) = (new_id(), now());
    let mut insert = tx.prepare_cached(
        "INSERT INTO operations (id, kind, deployment, status, params, prior, created_at) \
         VALUES (?1, ?2, ?3, 'running', ?4, ?5, ?6)",
    )?;
    let sequence = insert.insert((
        &id,
        begin.kind.as_str(),
        begin.deployment.as_str(),
        rows::to_json(&begin.params)?,
        prior.map(DeploymentStatus::as_str),
        &created_at,
    ))?;
    Ok(Operation {
        id,
        kind: begin.kind,
        deployment: begin.deployment.clone(),
        status: OperationStatus::Running,
        steps: Vec::new(),
        error: None,
        created_at,
        ended_at: None,
        params: begin.params.clone(),
        prior,
        given_up: false,
        epoch: 0,
        sequence,
    })
}

/// Records a deployment, unless one with this name lives, and keeps what was sealed for it.
fn put_deployment(
    tx: &Transaction<'_>,
    name: &DeploymentName,
    prior: Option<DeploymentStatus>,
    create: &NewDeployment,
) -> Result<()> {
    if prior.is_none() {
        let now = now();
        tx.prepare_cached("DELETE FROM deployments WHERE name = ?1")?.execute([name.as_str()])?;
        let mut insert = tx.prepare_cached(
            "INSERT INTO deployments \
             (name, id, target, status, spec, facts, created_at, updated_at, owner) \
             VALUES (?1, ?2, ?3, 'launching', ?4, ?5, ?6, ?6, ?7)",
        )?;
        insert.execute((
            name.as_str(),
            &create.id,
            create.spec.target.as_str(),
            rows::to_json(&create.spec)?,
            rows::to_json(&Facts::default())?,
            now,
            &create.owner,
        ))?;
    }
    // What was sealed is bound to the deployment's id: another one could not open it.
    let id: String = tx
        .prepare_cached("SELECT id FROM deployments WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))?;
    if id != create.id {
        return Err(StoreError::Refused(
            Failure::conflict(format!("{name} is there already"))
                .remedy("choose another name, or go on with that one"),
        ));
    }
    put_sealed(tx, name, &create.sealed)
}

/// Keeps sealed values of a deployment that is there.
fn put_sealed(
    tx: &Transaction<'_>,
    name: &DeploymentName,
    sealed: &[(String, Vec<u8>)],
) -> Result<()> {
    for (slot, value) in sealed {
        let mut insert = tx.prepare_cached(
            "INSERT INTO sealed (deployment_id, name, value) \
             SELECT id, ?2, ?3 FROM deployments WHERE name = ?1 \
             ON CONFLICT (deployment_id, name) DO UPDATE SET value = excluded.value",
        )?;
        insert.execute((name.as_str(), slot, value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_limits_are_found_by_indexes_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        for (sql, index) in [
            (TAKEN_NUMBERS, "deployments_living (name>? AND name<?)"),
            (OWNED, "deployments_by_owner (owner=?)"),
        ] {
            let plan = store.read(|db| Ok(rows::plan(db, sql))).expect("a plan");
            assert_eq!(plan, [format!("SEARCH deployments USING COVERING INDEX {index}")]);
        }
    }
}
