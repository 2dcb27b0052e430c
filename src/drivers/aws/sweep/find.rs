//! Looking for what is an installation's.

use futures_util::{StreamExt, stream};

use super::kind::Family;
use super::shape::{self, Which};
use super::{Found, Kind, Mark, Sweep};
use crate::domain::Failure;
use crate::drivers::aws::client::Aws;
use crate::drivers::aws::error::{CallError, Problem};
use crate::drivers::aws::regions;

/// How many kinds are looked for at once.
const AT_ONCE: usize = 4;

impl Aws {
    /// Everything of these kinds in the region that carries the mark. A kind that cannot be looked
    /// for is said, and stops nothing.
    pub async fn sweep(&self, mark: &Mark, kinds: &[Kind]) -> Sweep {
        // Asking Lightsail where it is not would be an error for each kind.
        let lightsail = regions::check_lightsail(self.region()).is_ok();
        let kinds = kinds.iter().copied().filter(|kind| lightsail || !kind.is_lightsail());
        let looked: Vec<_> = stream::iter(kinds.collect::<Vec<_>>())
            .map(|kind| async move { (kind, self.marked(kind, mark).await) })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut sweep = Sweep::default();
        for (kind, outcome) in looked {
            match outcome {
                Ok(found) => sweep.found.extend(found),
                Err(error) => sweep.unseen.push((kind, Failure::from(error))),
            }
        }
        sweep.found.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        sweep
    }

    async fn marked(&self, kind: Kind, mark: &Mark) -> Result<Vec<Found>, CallError> {
        match kind.family() {
            Family::Named => return self.named(kind, mark).await,
            Family::Clusters => return self.clusters(kind, mark).await,
            Family::Described => {}
        }
        let call = shape::call(kind, Which::Marked(mark));
        let all = self.pages(call, |body| shape::read(kind, body)).await?;
        if !matches!(kind, Kind::Role | Kind::InstanceProfile) {
            return Ok(all.into_iter().filter(|found| mark.owns(found)).collect());
        }
        // A list of roles comes without tags: those with a name of ours are looked at one by one.
        let mut found = Vec::new();
        for named in all.into_iter().filter(|it| (mark.is_own_name)(&it.id)) {
            let one = self.one(kind, &named.id).await?;
            found.extend(one.filter(|one| mark.owns(one)));
        }
        Ok(found)
    }

    /// One thing as it is now; none if it is gone.
    pub(super) async fn one(&self, kind: Kind, id: &str) -> Result<Option<Found>, CallError> {
        match kind.family() {
            Family::Named => return self.one_named(kind, id).await,
            Family::Clusters => return self.one_of_clusters(kind, id).await,
            Family::Described => {}
        }
        let read = |body: &str| shape::read(kind, body);
        match self.xml(shape::call(kind, Which::One(id)), read).await {
            Ok(page) => Ok(page.items.into_iter().find(|found| found.id == id)),
            Err(error) if error.problem() == Some(Problem::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
