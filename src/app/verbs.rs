//! Everything that is done to a deployment that is there.

use tokio_util::sync::CancellationToken;

use super::App;
use super::orders::{Order, Planned, approved};
use crate::domain::{
    DeploymentName, Failure, FailureKind, Operation, OperationKind, OperationStatus,
};
use crate::exec::LockFile;
use crate::operations::Sink;
use crate::operations::approval::Approved;
use crate::store::Begin;

impl App {
    /// Goes on with an interrupted operation of a deployment, to its end. Its own failure is told
    /// and is no obstacle to what is done next.
    pub async fn go_on(
        &self,
        name: &DeploymentName,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Option<Operation>, Failure> {
        let Some(operation) = self.store().active_operation(name)? else { return Ok(None) };
        if self.is_served()? {
            sink.progress().note(&format!(
                "following the {} that the server is at work on ({})",
                operation.kind, operation.id
            ));
            match self.handed_over(&operation, sink, cancel).await? {
                Some(operation) => return Ok(Some(operation)),
                None => sink.progress().note("the server is gone"),
            }
        }
        let lock = self.engine().lock(name, operation.kind.as_str()).await?;
        // It may have been finished while the lock was waited for.
        let Some(operation) = self.store().active_operation(name)? else { return Ok(None) };
        if operation.given_up {
            // Somebody asked for that while it was at work, and whoever was at work is gone.
            self.engine().cancel(&operation)?;
            return Ok(None);
        }
        sink.progress().note(&format!(
            "going on with the {} that was interrupted ({})",
            operation.kind, operation.id
        ));
        match self.finish(&operation, lock, sink, cancel).await {
            Err(failure) if failure.kind == FailureKind::Interrupted => Err(failure),
            Err(failure) => {
                sink.progress().note(&format!("the interrupted {}: {failure}", operation.kind));
                Ok(Some(operation))
            }
            Ok(operation) => Ok(Some(operation)),
        }
    }

    /// What the last event of an operation says, to whoever is on this machine.
    pub fn outcome(&self, operation: &Operation) -> Result<String, Failure> {
        let event = self.store().last_event(&operation.id)?;
        Ok(event.map(|event| self.layout().with_paths(&event.message)).unwrap_or_default())
    }

    /// A deployment's lock, for work that is not begun any more where it is interrupted meanwhile.
    pub(super) async fn locked(
        &self,
        name: &DeploymentName,
        purpose: &str,
        cancel: &CancellationToken,
    ) -> Result<LockFile, Failure> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            lock = self.engine().lock(name, purpose) => lock,
        }
    }

    /// Executes an operation to its end, or has the server do so that holds the data directory.
    pub(super) async fn finish(
        &self,
        operation: &Operation,
        lock: LockFile,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let mut lock = Some(lock);
        if self.is_served()? {
            // It is the server's from here on, which needs the lock for that.
            lock = None;
            if let Some(operation) = self.handed_over(operation, sink, cancel).await? {
                return succeeded(operation);
            }
        }
        let lock = if let Some(lock) = lock {
            lock
        } else {
            self.engine().lock(&operation.deployment, operation.kind.as_str()).await?
        };
        let ended = self.engine().execute(operation, &lock, sink, cancel).await?;
        match ended.failure {
            None => Ok(ended.operation),
            Some(failure) => Err(failure),
        }
    }

    /// Does what is asked of a deployment that is there. What was interrupted is gone on with
    /// first; where that did what is asked for, nothing else begins.
    pub async fn order(
        &self,
        name: &DeploymentName,
        order: Order<'_>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let kind = order.kind();
        self.deployment(name)?;
        if kind == OperationKind::Destroy {
            self.give_up_making(name, sink).await?;
        }
        let done = self.go_on(name, sink, cancel).await?;
        let done = done.filter(|it| it.kind == kind && it.status == OperationStatus::Succeeded);
        // What it begins with is made under the lock, from what is there by then: nobody else
        // changes that any more.
        let lock = self.locked(name, kind.as_str(), cancel).await?;
        let operation = match self.plan(name, order, done)? {
            Planned::Done(operation) => operation,
            Planned::Begin { params, sealed, notices } => {
                for notice in &notices {
                    sink.progress().note(notice);
                }
                let begin = Begin { params, sealed, ..Begin::new(kind, name.clone()) };
                let operation = self.store().begin(&begin)?;
                self.finish(&operation, lock, sink, cancel).await?
            }
        };
        if kind == OperationKind::Update {
            self.prune(name, sink).await;
        }
        Ok(operation)
    }

    /// Gives up what was interrupted and makes a machine, a place on a cluster, or the cluster (which
    /// is made on by a change of it, too): none is made to be removed.
    pub(super) async fn give_up_making(
        &self,
        name: &DeploymentName,
        sink: &dyn Sink,
    ) -> Result<(), Failure> {
        let begun = || -> Result<Option<Operation>, Failure> {
            let operation = self.store().active_operation(name)?;
            let makes = |it: &Operation| match it.kind {
                OperationKind::Launch => true,
                OperationKind::Update => name.is_cluster(),
                _ => false,
            };
            Ok(operation.filter(makes))
        };
        let has_own_place = !self.deployment(name)?.spec.target.is_local();
        if !has_own_place || begun()?.is_none() || self.is_served()? {
            return Ok(());
        }
        let _lock = self.engine().lock(name, OperationKind::Destroy.as_str()).await?;
        // It may have been finished while the lock was waited for.
        if let Some(operation) = begun()? {
            sink.progress().note(&format!(
                "giving up the {} that was interrupted ({})",
                operation.kind, operation.id
            ));
            self.engine().cancel(&operation)?;
        }
        Ok(())
    }

    /// Lets waiting browsers in: the one named, or every one within the ceiling.
    pub async fn approve(
        &self,
        name: &DeploymentName,
        request_id: Option<String>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Approved, Failure> {
        // What was interrupted is gone on with first, and may bring the gateway up.
        if self.store().active_operation(name)?.is_none() {
            self.refuse_asleep(name).await?;
        }
        let operation = self.order(name, Order::Approve { request_id }, sink, cancel).await?;
        approved(&operation)
    }

    /// Goes on with an interrupted operation by its id.
    pub async fn resume(
        &self,
        id: &str,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let deployment = self.operation(id)?.deployment;
        if self.is_served()? {
            let operation = self.interrupted(id)?;
            if let Some(ended) = self.handed_over(&operation, sink, cancel).await? {
                return succeeded(ended);
            }
        }
        let lock = self.engine().lock(&deployment, "resume").await?;
        let operation = self.interrupted(id)?;
        self.finish(&operation, lock, sink, cancel).await
    }

    /// Gives an interrupted operation up.
    pub async fn give_up(&self, id: &str) -> Result<Operation, Failure> {
        let operation = self.operation(id)?;
        if self.is_served()? {
            let operation = self.interrupted(id)?;
            let ended = self.have_given_up(&operation, &CancellationToken::new()).await?;
            if let Some(ended) = ended {
                // It may have come to its end while it was asked to stop.
                let is_given_up = ended.status == OperationStatus::Cancelled;
                return if is_given_up { Ok(ended) } else { Err(is_over(&ended)) };
            }
        }
        let _lock = self.engine().lock(&operation.deployment, "cancel").await?;
        self.engine().cancel(&self.interrupted(id)?)?;
        self.operation(id)
    }

    /// An operation that is not over.
    fn interrupted(&self, id: &str) -> Result<Operation, Failure> {
        let operation = self.operation(id)?;
        if operation.status == OperationStatus::Running {
            return Ok(operation);
        }
        Err(is_over(&operation))
    }

    /// An operation by its id.
    pub fn operation(&self, id: &str) -> Result<Operation, Failure> {
        self.store().operation(id)?.ok_or_else(|| {
            Failure::not_found(format!(
                "there is no operation {}",
                crate::domain::text::clean(id, 60)
            ))
            .remedy("openclaw-pipeline operations list shows what there is")
        })
    }
}

/// That an operation has ended, and how.
fn is_over(operation: &Operation) -> Failure {
    let name = &operation.deployment;
    let how = match operation.status {
        OperationStatus::Cancelled => "was cancelled",
        other => other.as_str(),
    };
    Failure::conflict(format!("the {} of {name} is over: it {how}", operation.kind))
        .remedy(format!("openclaw-pipeline status {name} shows how it stands"))
}

/// What became of an operation that the server carried out.
fn succeeded(operation: Operation) -> Result<Operation, Failure> {
    match (operation.status, operation.error.clone()) {
        (OperationStatus::Succeeded, _) => Ok(operation),
        (OperationStatus::Cancelled, _) => Err(Failure::conflict(format!(
            "the {} of {} was cancelled meanwhile",
            operation.kind, operation.deployment
        ))),
        (_, Some(failure)) => Err(failure),
        (_, None) => Err(Failure::failed(format!(
            "the {} of {} failed",
            operation.kind, operation.deployment
        ))),
    }
}
