//! Clusters, and what is a part of one.
//!
//! Owns how they are listed (by names, without tags), looked at and asked to be gone. Refuses to look
//! into a cluster that is not the mark's.

use reqwest::Method;
use serde_json::Value;

use super::named::{parsed, tags_of};
use super::{Found, Kind, Mark, Phase, seconds};
use crate::domain::Failure;
use crate::drivers::aws::client::{Aws, Page};
use crate::drivers::aws::error::{CallError, Problem};
use crate::drivers::aws::service::{Call, Service};
use crate::drivers::aws::xml;

/// The names of one kind's parts.
struct Shape {
    /// What lists all, shows one and removes one.
    actions: [&'static str; 3],
    /// Where they are in a cluster's path; none for clusters themselves.
    path: Option<&'static str>,
    /// The list in an answer, and one in another.
    fields: [&'static str; 2],
}

const fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::NodeGroup => Shape {
            actions: ["ListNodegroups", "DescribeNodegroup", "DeleteNodegroup"],
            path: Some("node-groups"),
            fields: ["nodegroups", "nodegroup"],
        },
        Kind::ClusterAddOn => Shape {
            actions: ["ListAddons", "DescribeAddon", "DeleteAddon"],
            path: Some("addons"),
            fields: ["addons", "addon"],
        },
        Kind::ClusterEntry => Shape {
            actions: ["ListAccessEntries", "DescribeAccessEntry", "DeleteAccessEntry"],
            path: Some("access-entries"),
            fields: ["accessEntries", "accessEntry"],
        },
        _ => Shape {
            actions: ["ListClusters", "DescribeCluster", "DeleteCluster"],
            path: None,
            fields: ["clusters", "cluster"],
        },
    }
}

/// The call about one, by its id: the cluster's name, and behind a colon the part's.
fn about(kind: Kind, action: usize, method: Method, id: &str) -> Call {
    let Shape { actions, path, .. } = shape(kind);
    let (cluster, name) = id.split_once(':').unwrap_or((id, ""));
    match path {
        Some(path) => {
            Call::path(Service::Eks, actions[action], method, &["clusters", cluster, path, name])
        }
        None => Call::path(Service::Eks, actions[action], method, &["clusters", id]),
    }
}

fn names(kind: Kind, body: &str) -> Result<Page<String>, Failure> {
    let fields = parsed(body)?;
    let all = fields[shape(kind).fields[0]].as_array().ok_or_else(xml::unreadable)?;
    let items = all.iter().filter_map(|it| it.as_str().map(ToOwned::to_owned)).collect();
    Ok(Page { items, next: fields["nextToken"].as_str().map(ToOwned::to_owned) })
}

fn read(kind: Kind, id: &str, answer: &Value) -> Found {
    let about = &answer[shape(kind).fields[1]];
    Found {
        kind,
        id: id.to_owned(),
        name: None,
        tags: tags_of(&about["tags"]),
        created: about["createdAt"].as_f64().and_then(seconds),
        attached: id.split_once(':').map(|(cluster, _)| cluster.to_owned()),
        phase: Phase::of(about["status"].as_str()),
    }
}

impl Aws {
    /// Those of a kind that carry the mark. Of clusters those with a name of the mark's own are
    /// looked at one by one.
    pub(super) async fn clusters(&self, kind: Kind, mark: &Mark) -> Result<Vec<Found>, CallError> {
        let list = Call::path(Service::Eks, "ListClusters", Method::GET, &["clusters"]);
        let mut found = Vec::new();
        for name in self.pages(list, |body| names(Kind::Cluster, body)).await? {
            if !(mark.is_own_name)(&name) {
                continue;
            }
            let one = self.one_of_clusters(Kind::Cluster, &name).await?;
            let Some(cluster) = one.filter(|it| mark.owns(it)) else { continue };
            let Shape { actions, path: Some(path), .. } = shape(kind) else {
                found.push(cluster);
                continue;
            };
            let parts = ["clusters", name.as_str(), path];
            let list = Call::path(Service::Eks, actions[0], Method::GET, &parts);
            for part in self.pages(list, |body| names(kind, body)).await? {
                let one = self.one_of_clusters(kind, &format!("{name}:{part}")).await?;
                found.extend(one.filter(|it| mark.owns(it)));
            }
        }
        Ok(found)
    }

    /// One as it is now; none if it is gone.
    pub(super) async fn one_of_clusters(
        &self,
        kind: Kind,
        id: &str,
    ) -> Result<Option<Found>, CallError> {
        match self.json(about(kind, 1, Method::GET, id)).await {
            Ok(answer) => Ok(Some(read(kind, id, &answer))),
            Err(error) if error.problem() == Some(Problem::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What asks for one to be gone.
    pub(super) fn removal_of_clusters(kind: Kind, id: &str) -> Call {
        about(kind, 2, Method::DELETE, id)
    }
}
