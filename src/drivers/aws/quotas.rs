//! How much more the account may have.
//!
//! Owns the two quotas that a launch meets: virtual processors and addresses, on EC2 and on Lightsail.
//! (Lightsail calls the first one "Instances", and counts their vCPUs.) What cannot be found out is
//! said and stops nothing: AWS itself refuses what is too much.

use serde_json::{Value, json};

use super::client::{Aws, Page};
use super::error::{CallError, Problem};
use super::service::{Call, Service};
use super::xml;
use crate::domain::Failure;

/// The families that share the quota of standard instances.
const STANDARD: [char; 9] = ['a', 'c', 'd', 'h', 'i', 'm', 'r', 't', 'z'];
/// Families whose names begin like a standard one's, with quotas of their own.
const OTHERS: [&str; 5] = ["inf", "dl", "trn", "hpc", "mac"];

/// A quota, as Service Quotas knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What it is a quota of, for the reader.
    what: &'static str,
    /// AWS's name for it.
    name: &'static str,
    /// Whose it is.
    service: &'static str,
    /// The service's name where quotas are raised.
    shown: &'static str,
    /// Its code.
    code: &'static str,
}

const VCPUS: Quota = Quota {
    what: "vCPUs of running standard instances",
    name: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    service: "ec2",
    shown: "Amazon EC2",
    code: "L-1216C47A",
};
const ADDRESSES: Quota = Quota {
    what: "elastic IPs",
    name: "EC2-VPC Elastic IPs",
    service: "ec2",
    shown: "Amazon EC2",
    code: "L-0263D0A3",
};
const LIGHTSAIL_VCPUS: Quota = Quota {
    what: "vCPUs of Lightsail's instances",
    name: "Instances",
    service: "lightsail",
    shown: "Amazon Lightsail",
    code: "L-4259AF9B",
};
const STATIC_IPS: Quota = Quota {
    what: "static IPs",
    name: "Static IP addresses",
    service: "lightsail",
    shown: "Amazon Lightsail",
    code: "L-BBF0F260",
};

/// One quota, and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The quota.
    pub quota: Quota,
    /// How much there may be, if that is known.
    pub limit: Option<u32>,
    /// How much there is, if that is known.
    pub used: Option<u32>,
    /// Why one of them is not known.
    pub unknown: Option<String>,
}

impl Room {
    /// Refuses what there is no room for. What is not known counts as room.
    pub fn check(&self, needed: u32) -> Result<(), Failure> {
        let (Some(limit), Some(used)) = (self.limit, self.used) else { return Ok(()) };
        if used.saturating_add(needed) <= limit {
            return Ok(());
        }
        let Quota { what, name, shown, code, .. } = self.quota;
        Err(Failure::prerequisite(format!(
            "the AWS account's quota of {what} is {limit} in this region; {used} are used, and \
             {needed} more are needed ({name}, {code})"
        ))
        .remedy(format!(
            "raise {code} in the Service Quotas console under {shown}, remove what is not needed, \
             or take a smaller size or another region"
        )))
    }
}

impl Aws {
    /// The virtual processors of running standard instances.
    pub async fn room_for_vcpus(&self) -> Room {
        let call = Call::form(Service::Ec2, "DescribeInstances").filter(
            1,
            "instance-state-name",
            &["pending", "running"],
        );
        let used = self.pages(call, read_vcpus).await.map(|counts| counts.into_iter().sum());
        self.room(VCPUS, used).await
    }

    /// The elastic IPs.
    pub async fn room_for_addresses(&self) -> Room {
        let call = Call::form(Service::Ec2, "DescribeAddresses");
        let used = self.pages(call, read_addresses).await;
        let used = used.map(|all| u32::try_from(all.len()).unwrap_or(u32::MAX));
        self.room(ADDRESSES, used).await
    }

    /// The virtual processors of Lightsail's instances, whether they run or not.
    pub async fn room_for_bundles(&self) -> Room {
        let call = Call::json(Service::Lightsail, "GetInstances", json!({}));
        let used = self.pages(call, read_bundle_vcpus).await;
        self.room(LIGHTSAIL_VCPUS, used.map(|counts| counts.into_iter().sum())).await
    }

    /// Lightsail's addresses.
    pub async fn room_for_static_ips(&self) -> Room {
        let call = Call::json(Service::Lightsail, "GetStaticIps", json!({}));
        let used = self.pages(call, |body| read_lightsail(body, "staticIps", |_| Some(()))).await;
        let used = used.map(|all| u32::try_from(all.len()).unwrap_or(u32::MAX));
        self.room(STATIC_IPS, used).await
    }

    async fn room(&self, quota: Quota, used: Result<u32, CallError>) -> Room {
        let limit = self.quota(quota).await;
        let why = |error: &CallError| Failure::from(error.clone()).message;
        let unknown = [limit.as_ref().err().map(why), used.as_ref().err().map(why)];
        let unknown: Vec<String> = unknown.into_iter().flatten().collect();
        Room {
            quota,
            limit: limit.ok(),
            used: used.ok(),
            unknown: (!unknown.is_empty()).then(|| unknown.join("; ")),
        }
    }

    /// How much a quota is for the account.
    async fn quota(&self, quota: Quota) -> Result<u32, CallError> {
        let ask = |action| {
            let input = json!({ "ServiceCode": quota.service, "QuotaCode": quota.code });
            self.json(Call::json(Service::ServiceQuotas, action, input))
        };
        let answer = match ask("GetServiceQuota").await {
            // One that was never changed may be known as everybody's alone.
            Err(error) if error.problem() == Some(Problem::NotFound) => {
                ask("GetAWSDefaultServiceQuota").await?
            }
            answer => answer?,
        };
        let value = answer["Quota"]["Value"].as_f64().ok_or_else(xml::unreadable)?;
        Ok(whole(value))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// The virtual processors of each instance that counts.
fn read_vcpus(body: &str) -> Result<Page<u32>, Failure> {
    let document = xml::parse(body)?;
    let vcpus = |instance| {
        let size = xml::text(instance, &["instanceType"])?;
        let is_spot = xml::text(instance, &["instanceLifecycle"]).as_deref() == Some("spot");
        if is_spot || !is_standard(&size) {
            return None;
        }
        let number = |name| xml::text(instance, &["cpuOptions", name])?.parse::<u32>().ok();
        // One that does not say has at least as many as the smallest.
        Some(number("coreCount").unwrap_or(1) * number("threadsPerCore").unwrap_or(1))
    };
    let instances = xml::lists(document.root(), "instancesSet");
    let items = instances.into_iter().filter_map(vcpus).collect();
    Ok(Page { items, next: xml::next_page(document.root()) })
}

fn is_standard(size: &str) -> bool {
    size.starts_with(STANDARD.as_slice()) && !OTHERS.iter().any(|other| size.starts_with(other))
}

fn read_addresses(body: &str) -> Result<Page<()>, Failure> {
    let document = xml::parse(body)?;
    let items = xml::list(document.root(), "addressesSet").iter().map(|_| ()).collect();
    Ok(Page { items, next: None })
}

/// A page of a list of Lightsail's.
fn read_lightsail<T>(
    body: &str,
    list: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Page<T>, Failure> {
    let fields: Value = serde_json::from_str(body).map_err(|_| xml::unreadable())?;
    let items = fields[list].as_array().ok_or_else(xml::unreadable)?;
    Ok(Page {
        items: items.iter().filter_map(read).collect(),
        next: fields["nextPageToken"].as_str().map(ToOwned::to_owned),
    })
}

fn read_bundle_vcpus(body: &str) -> Result<Page<u32>, Failure> {
    read_lightsail(body, "instances", |instance| {
        let vcpus = instance["hardware"]["cpuCount"].as_u64();
        // One that does not say has at least as many as the smallest.
        Some(vcpus.and_then(|it| u32::try_from(it).ok()).unwrap_or(1))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Asked, Fake};
    use super::*;

    const INSTANCES: &str = "<R><reservationSet><item><instancesSet><item>\
        <instanceType>t3.medium</instanceType><cpuOptions><coreCount>1</coreCount>\
        <threadsPerCore>2</threadsPerCore></cpuOptions></item></instancesSet></item><item>\
        <instancesSet><item><instanceType>m7i.xlarge</instanceType><cpuOptions><coreCount>2\
        </coreCount><threadsPerCore>2</threadsPerCore></cpuOptions></item><item>\
        <instanceType>g5.xlarge</instanceType></item><item><instanceType>inf1.xlarge</instanceType>\
        </item><item><instanceType>t3.large</instanceType><instanceLifecycle>spot\
        </instanceLifecycle></item></instancesSet></item></reservationSet></R>";

    #[tokio::test]
    async fn what_is_used_and_what_may_be_are_compared() {
        let fake = Fake::with(|asked: &Asked| {
            let quota = json!({ "Quota": { "QuotaCode": "L-1216C47A", "Value": 8.0 } });
            let json = asked.head.contains("GetServiceQuota");
            (200, if json { quota.to_string() } else { INSTANCES.into() })
        })
        .await;
        let room = fake.aws().room_for_vcpus().await;
        assert_eq!((room.limit, room.used, room.unknown.clone()), (Some(8), Some(6), None));
        room.check(2).expect("room");
        let failure = room.check(4).expect_err("no room");
        for part in ["is 8", "6 are used", "4 more", "L-1216C47A"] {
            assert!(failure.message.contains(part), "{failure}");
        }
        assert!(fake.bodies()[0].contains("Filter.1.Value.2=running"));
    }

    #[tokio::test]
    async fn a_quota_that_was_never_changed_is_everybodys() {
        let fake = Fake::with(|asked: &Asked| {
            if asked.head.contains(".GetServiceQuota") {
                let body = json!({ "__type": "NoSuchResourceException", "Message": "none" });
                return (400, body.to_string());
            }
            let quota = json!({ "Quota": { "Value": 5.0 } }).to_string();
            (200, if asked.body.contains("QuotaCode") { quota } else { "<R/>".into() })
        })
        .await;
        let room = fake.aws().room_for_addresses().await;
        assert_eq!((room.limit, room.used, room.unknown), (Some(5), Some(0), None));
    }

    #[tokio::test]
    async fn lightsail_counts_vcpus_and_addresses_page_by_page() {
        let fake = Fake::with(|asked: &Asked| {
            let instance = |vcpus: u32| json!({ "hardware": { "cpuCount": vcpus } });
            let body = if asked.head.contains("GetServiceQuota") {
                assert!(asked.body.contains("\"lightsail\""), "{}", asked.body);
                json!({ "Quota": { "Value": 5.0 } })
            } else if asked.head.contains("GetStaticIps") {
                json!({ "staticIps": [{}, {}, {}, {}, {}] })
            } else if asked.body.contains("pageToken") {
                json!({ "instances": [instance(1)] })
            } else {
                json!({ "instances": [instance(2), {}], "nextPageToken": "n" })
            };
            (200, body.to_string())
        })
        .await;
        let room = fake.aws().room_for_bundles().await;
        assert_eq!((room.limit, room.used, room.unknown.clone()), (Some(5), Some(4), None));
        room.check(1).expect("room");
        let failure = room.check(2).expect_err("no room");
        assert!(failure.message.contains("L-4259AF9B"), "{failure}");
        assert!(failure.remedy.expect("one").contains("Amazon Lightsail"));
        let failure = fake.aws().room_for_static_ips().await.check(1).expect_err("no room");
        assert!(failure.message.contains("static IPs is 5"), "{failure}");
    }

    #[tokio::test]
    async fn what_cannot_be_found_out_is_said_and_stops_nothing() {
        let fake = Fake::with(|asked: &Asked| {
            if asked.head.contains("GetServiceQuota") {
                let body = json!({ "__type": "AccessDeniedException", "Message":
                    "User: x is not authorized to perform: servicequotas:GetServiceQuota on \
                     resource: y because no identity-based policy allows it" });
                return (400, body.to_string());
            }
            let item = "<item><publicIp>192.0.2.1</publicIp></item>";
            (200, format!("<R><addressesSet>{item}{item}</addressesSet></R>"))
        })
        .await;
        let room = fake.aws().room_for_addresses().await;
        assert_eq!((room.limit, room.used), (None, Some(2)));
        assert!(room.unknown.as_ref().expect("why").contains("servicequotas:GetServiceQuota"));
        room.check(1000).expect("not known");
    }
}
