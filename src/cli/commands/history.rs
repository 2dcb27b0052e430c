//! `events` and `operations`.

use serde_json::json;

use super::super::args::Operations;
use super::super::output::table;
use super::super::progress::Shown;
use super::Session;
use super::status::operation_lines;
use crate::app::App;
use crate::domain::{DeploymentName, Failure, Operation, OperationKind};

pub(super) fn events(
    session: &Session<'_>,
    name: Option<&str>,
    after: Option<i64>,
    limit: usize,
) -> Result<u8, Failure> {
    let name = name.map(|name| session.shown_name(Some(name))).transpose()?;
    let app = session.app()?;
    let events = match after {
        Some(after) => app.store().events(name.as_ref(), after, limit)?,
        None => app.store().last_events(name.as_ref(), limit)?,
    };
    if let Some(name) = name.filter(|_| events.is_empty()) {
        known(&app, &name)?;
    }
    for event in events {
        session.out.answer(&event, || {
            format!(
                "{:>6}  {}  {:<12} {:<18} {}",
                event.sequence,
                event.timestamp,
                event.name,
                event.kind,
                app.layout().with_paths(&event.message)
            )
        });
    }
    Ok(0)
}

/// A name without a history may be none at all.
fn known(app: &App, name: &DeploymentName) -> Result<(), Failure> {
    app.deployment(name).map(drop)
}

pub(super) async fn operations(
    session: &Session<'_>,
    operations: Operations,
) -> Result<u8, Failure> {
    let app = session.app()?;
    match operations {
        Operations::List { name } => {
            let name = name.map(|name| session.shown_name(Some(&name))).transpose()?;
            let found = app.store().operations(name.as_ref(), 50)?;
            if let Some(name) = name.filter(|_| found.is_empty()) {
                known(&app, &name)?;
            }
            let items = found.iter().map(row).collect::<Result<Vec<_>, _>>()?;
            session.out.answer(&json!({ "items": items }), || {
                let rows: Vec<Vec<String>> = found
                    .iter()
                    .map(|operation| {
                        vec![
                            operation.id.clone(),
                            operation.deployment.to_string(),
                            operation.kind.to_string(),
                            operation.status.as_str().to_owned(),
                            operation.created_at.clone(),
                        ]
                    })
                    .collect();
                table(&["ID", "DEPLOYMENT", "KIND", "STATUS", "ASKED FOR"], &rows)
            });
        }
        Operations::Show { id } => {
            let operation = app.operation(&id)?;
            session.out.answer(&operation, || operation_lines(&operation).join("\n"));
        }
        Operations::Resume { id } => {
            session.interruptible()?;
            let shown = Shown::new(*session.out);
            let operation = app.resume(&id, &shown, session.cancel).await?;
            drop(shown);
            session.out.answer(&operation, || operation_lines(&operation).join("\n"));
        }
        Operations::Cancel { id } => {
            let operation = app.give_up(&id).await?;
            session.out.answer(&operation, || given_up(&operation));
        }
    }
    Ok(0)
}

/// An operation in a list: its steps are what `show` is for.
fn row(operation: &Operation) -> Result<serde_json::Value, Failure> {
    let mut value = serde_json::to_value(operation)
        .map_err(|error| Failure::failed(format!("the operation: {error}")))?;
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("steps");
    }
    Ok(value)
}

/// What to do about what an operation left when it was given up.
fn given_up(operation: &Operation) -> String {
    use OperationKind as K;
    let name = &operation.deployment;
    let next = match operation.kind {
        K::Launch => format!(
            "Launch it again: openclaw-pipeline launch {name}; or remove it: openclaw-pipeline \
             destroy {name}"
        ),
        K::Destroy => format!("Remove the rest: openclaw-pipeline destroy {name}"),
        K::Update | K::Restore => format!(
            "How it stands: openclaw-pipeline status {name}; back to a backup: openclaw-pipeline \
             restore {name}"
        ),
        K::Start | K::Restart | K::Rotate | K::Expose => {
            format!("Bring it up again: openclaw-pipeline restart {name}")
        }
        K::Stop | K::Backup | K::Approve => {
            format!("There is nothing to remove; how it stands: openclaw-pipeline status {name}")
        }
    };
    format!("{} of {name} is given up; what exists stays. {next}", operation.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OperationStatus;

    fn told(kind: OperationKind) -> String {
        given_up(&Operation {
            id: "an-id".into(),
            kind,
            deployment: "box".parse().expect("a name"),
            status: OperationStatus::Cancelled,
            steps: Vec::new(),
            error: None,
            created_at: String::new(),
            ended_at: None,
            params: serde_json::Value::Null,
            prior: None,
            given_up: false,
            epoch: 1,
            sequence: 0,
        })
    }

    #[test]
    fn what_was_given_up_says_what_fits_it() {
        for kind in OperationKind::ALL {
            let removes = matches!(kind, OperationKind::Launch | OperationKind::Destroy);
            assert_eq!(told(kind).contains("destroy box"), removes, "{kind}");
            assert!(told(kind).starts_with(&format!("{kind} of box is given up")), "{kind}");
        }
        assert!(told(OperationKind::Update).contains("openclaw-pipeline restore box"));
        assert!(told(OperationKind::Launch).contains("openclaw-pipeline launch box"));
        assert!(told(OperationKind::Backup).contains("nothing to remove"));
    }
}
