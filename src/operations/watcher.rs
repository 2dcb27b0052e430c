//! Who lets browsers in while a window is open.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::Failure;
use crate::targets::{Site, Target};

/// Who lets browsers in while a window is open.
#[derive(Debug, Clone, Default)]
pub enum Watcher {
    /// A keeper, a process of its own: the command that opened the window ends.
    #[default]
    Keeper,
    /// This process, which looks for open windows when it is told to.
    Here(Arc<Notify>),
}

impl Watcher {
    /// Sees to it that a deployment's window is watched.
    pub async fn watch(&self, target: &dyn Target, site: &Site) -> Result<(), Failure> {
        match self {
            Self::Keeper => target.watch(site).await,
            Self::Here(told) => {
                told.notify_one();
                Ok(())
            }
        }
    }
}
