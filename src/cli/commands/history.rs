//! `events` and `operations`.

use serde_json::json;

use super::super::args::Operations;
use super::super::output::table;
use super::super::progress::Shown;
use super::Session;
use super::status::operation_lines;
use crate::domain::Failure;

pub(super) fn events(
    session: &Session<'_>,
    name: Option<&str>,
    after: i64,
    limit: usize,
) -> Result<u8, Failure> {
    let name = name.map(|name| session.name(Some(name))).transpose()?;
    let app = session.app()?;
    for event in app.store().events(name.as_ref(), after, limit)? {
        session.out.answer(&event, || {
            format!(
                "{:>6}  {}  {:<12} {:<18} {}",
                event.sequence, event.timestamp, event.name, event.kind, event.message
            )
        });
    }
    Ok(0)
}

pub(super) async fn operations(
    session: &Session<'_>,
    operations: Operations,
) -> Result<u8, Failure> {
    let app = session.app()?;
    match operations {
        Operations::List { name } => {
            let name = name.map(|name| session.name(Some(&name))).transpose()?;
            let found = app.store().operations(name.as_ref(), 50)?;
            session.out.answer(&json!({ "items": found }), || {
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
            session.out.answer(&operation, || {
                format!(
                    "{} of {} is given up; what exists stays. Remove it: openclaw-pipeline destroy \
                     {}",
                    operation.kind, operation.deployment, operation.deployment
                )
            });
        }
    }
    Ok(0)
}
