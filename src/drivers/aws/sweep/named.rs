//! What a cluster writes to, and what encrypts for it.
//!
//! Owns how the two are found, in calls of JSON's: log groups by what their names begin with, keys by
//! their tag. Refuses to look at keys one by one, of which an account may have thousands.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Found, Kind, Mark, Phase, seconds};
use crate::domain::Failure;
use crate::drivers::aws::client::{Aws, Page};
use crate::drivers::aws::error::{CallError, Problem};
use crate::drivers::aws::service::{Call, Service};
use crate::drivers::aws::xml;

/// What the names of the log groups begin with that clusters write to.
const LOG_GROUPS: &str = "/aws/eks/";
/// How long AWS keeps a key that was asked to be gone: the shortest that it offers, in days.
const KEPT_DAYS: u32 = 7;

/// The cluster that writes to a group of logs.
pub(super) fn cluster_of(group: &str) -> Option<&str> {
    group.strip_prefix(LOG_GROUPS)?.split('/').next()
}

pub(super) fn parsed(body: &str) -> Result<Value, Failure> {
    serde_json::from_str(body).map_err(|_| xml::unreadable())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

/// Tags as an object has them.
pub(super) fn tags_of(tags: &Value) -> BTreeMap<String, String> {
    let pairs = tags.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

/// A log group's name and its ARN.
fn groups(body: &str) -> Result<Page<(String, String)>, Failure> {
    let fields = parsed(body)?;
    let all = fields["logGroups"].as_array().ok_or_else(xml::unreadable)?;
    let group = |it: &Value| {
        let arn = text(&it["logGroupArn"]).or_else(|| text(&it["arn"]))?;
        Some((text(&it["logGroupName"])?, arn.trim_end_matches(":*").to_owned()))
    };
    let items = all.iter().filter_map(group).collect();
    Ok(Page { items, next: text(&fields["nextToken"]) })
}

/// The ids of keys.
fn keys(body: &str) -> Result<Page<String>, Failure> {
    let fields = parsed(body)?;
    let all = fields["ResourceTagMappingList"].as_array().ok_or_else(xml::unreadable)?;
    let id = |it: &Value| Some(it["ResourceARN"].as_str()?.rsplit('/').next()?.to_owned());
    let next = text(&fields["PaginationToken"]).filter(|it| !it.is_empty());
    Ok(Page { items: all.iter().filter_map(id).collect(), next })
}

impl Aws {
    /// Those of a kind that may be the mark's: each is looked at.
    pub(super) async fn named(&self, kind: Kind, mark: &Mark) -> Result<Vec<Found>, CallError> {
        let mut ids = Vec::new();
        if kind == Kind::LogGroup {
            let prefix = json!({ "logGroupNamePrefix": LOG_GROUPS });
            let list = Call::json(Service::Logs, "DescribeLogGroups", prefix);
            let all = self.pages(list, groups).await?.into_iter().map(|(name, _)| name);
            let is_own = |id: &String| cluster_of(id).is_some_and(|it| (mark.is_own_name)(it));
            ids.extend(all.filter(is_own));
        } else {
            let marked = json!({
                "ResourceTypeFilters": ["kms:key"],
                "TagFilters": [{ "Key": mark.key, "Values": [mark.value] }],
            });
            let list = Call::json(Service::Tagging, "GetResources", marked);
            ids.extend(self.pages(list, keys).await?);
        }
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.one_named(kind, &id).await?.filter(|it| mark.owns(it)));
        }
        Ok(found)
    }

    /// One as it is now; none if it is gone, or will be by itself.
    pub(super) async fn one_named(&self, kind: Kind, id: &str) -> Result<Option<Found>, CallError> {
        let looked = match kind {
            Kind::LogGroup => self.log_group(id).await,
            _ => self.key(id).await,
        };
        match looked {
            Err(error) if error.problem() == Some(Problem::NotFound) => Ok(None),
            looked => looked,
        }
    }

    async fn log_group(&self, name: &str) -> Result<Option<Found>, CallError> {
        let list = json!({ "logGroupNamePrefix": name });
        let list = Call::json(Service::Logs, "DescribeLogGroups", list);
        let all = self.pages(list, groups).await?;
        let Some((id, arn)) = all.into_iter().find(|(it, _)| it == name) else { return Ok(None) };
        let asked = Call::json(Service::Logs, "ListTagsForResource", json!({ "resourceArn": arn }));
        let answer = self.json(asked).await?;
        Ok(Some(found(Kind::LogGroup, id, tags_of(&answer["tags"]), None)))
    }

    async fn key(&self, id: &str) -> Result<Option<Found>, CallError> {
        let kms = |action| Call::json(Service::Kms, action, json!({ "KeyId": id }));
        let about = self.json(kms("DescribeKey")).await?["KeyMetadata"].take();
        if about["KeyState"] == "PendingDeletion" {
            return Ok(None);
        }
        let answer = self.json(kms("ListResourceTags")).await?;
        let tag = |it: &Value| Some((text(&it["TagKey"])?, text(&it["TagValue"])?));
        let tags = answer["Tags"].as_array().into_iter().flatten().filter_map(tag).collect();
        Ok(Some(found(Kind::EncryptionKey, id.to_owned(), tags, about["CreationDate"].as_f64())))
    }

    /// What asks for one to be gone.
    pub(super) fn removal_of_named(kind: Kind, id: &str) -> Call {
        if kind == Kind::LogGroup {
            let input = json!({ "logGroupName": id });
            return Call::json(Service::Logs, "DeleteLogGroup", input);
        }
        let input = json!({ "KeyId": id, "PendingWindowInDays": KEPT_DAYS });
        Call::json(Service::Kms, "ScheduleKeyDeletion", input)
    }
}

fn found(kind: Kind, id: String, tags: BTreeMap<String, String>, at: Option<f64>) -> Found {
    let created = at.and_then(seconds);
    Found { kind, id, name: None, tags, created, attached: None, phase: Phase::Steady }
}
