//! What somebody outside tells.
//!
//! Owns the one commit of it: the event, the approval window that it opens, the audit log's line of
//! that, and the first answer to whoever may send it again. Refuses to open a window that is not on
//! record, and to take the same request twice.

use super::approvals::{self, Window};
use super::audit::{self, AuditRecord};
use super::events::{NewEvent, append};
use super::idempotency::{self, Answer, IdempotencyKey};
use super::{Result, Store};
use crate::domain::DeploymentName;

/// An approval window that somebody opens anew.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The deployment's own id.
    pub deployment_id: String,
    /// The window.
    pub window: Window,
    /// What the audit log says.
    pub record: AuditRecord,
}

impl Store {
    /// Stores an event that somebody outside tells of, and opens a window with it.
    pub async fn tell(
        &self,
        name: DeploymentName,
        event: NewEvent,
        opening: Option<Opening>,
        once: Option<(IdempotencyKey, Answer)>,
    ) -> Result<()> {
        self.write_grouped(move |tx| {
            if let Some((key, _)) = &once {
                idempotency::claim(tx, key)?;
            }
            append(tx, &name, None, &event)?;
            if let Some(Opening { deployment_id, window, record }) = &opening {
                approvals::reopen(tx, deployment_id, window)?;
                let record = record.clone().about(name.as_str());
                audit::append(tx, &record.detail("a new approval window, for one device"))?;
            }
            if let Some((key, answer)) = &once {
                idempotency::keep(tx, key, answer)?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventType, Principal};

    #[tokio::test]
    async fn a_new_window_is_for_one_device_and_lengthens_none() {
        let at = |boot: &str, opened_s, deadline_s, remaining| Window {
            boot_id: boot.into(),
            opened_s,
            deadline_s,
            remaining,
        };
        let new = at("this", 540, 1140, 1);
        for (old, left) in [
            // Three places until 600 are not three until 1140.
            (at("this", 0, 600, 3), new.clone()),
            (at("this", 0, 600, 1), new.clone()),
            (at("this", 0, 600, 0), new.clone()),
            (at("this", 0, 500, 3), new.clone()),
            // A place that there was not is one of the new window.
            (at("this", 0, 3600, 0), new.clone()),
            (at("this", 540, 1140, 0), new.clone()),
            // Of another boot.
            (at("that", 0, 3600, 3), new.clone()),
            (at("this", 3000, 3600, 3), new.clone()),
            (at("this", 0, 1140, 3), at("this", 0, 1140, 3)),
            (at("this", 0, 3600, 3), at("this", 0, 3600, 3)),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let store = Store::open(dir.path()).expect("opens");
            assert!(store.open_window("id", &old).expect("opens"));
            let event = NewEvent::external(EventType::PairingRequired, "m".to_owned());
            let record = AuditRecord::of(&Principal::open(), "POST /webhook/event");
            let opening = Opening { deployment_id: "id".into(), window: new.clone(), record };
            store.tell(DeploymentName::main(), event, Some(opening), None).await.expect("tells");
            assert_eq!(store.window("id").expect("reads"), Some(left), "{old:?}");
        }
    }
}
