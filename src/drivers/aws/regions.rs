//! Regions.
//!
//! Owns the list of those that are known, for offers and for when nothing can be asked, and the
//! question whether the account has one. Refuses to call a name wrong because the list lacks it:
//! AWS makes new ones.

use serde::Deserialize;
use serde_json::json;

use super::client::{Aws, Page};
use super::error::CallError;
use super::near::{nearest, offer};
use super::service::{Call, Partition, Service};
use super::xml;
use crate::domain::{Failure, text};

/// The regions, and whether Lightsail is there: botocore 1.44.8's list.
const KNOWN: [(&str, bool); 38] = [
    ("us-east-1", true),
    ("us-east-2", true),
    ("us-west-1", false),
    ("us-west-2", true),
    ("ca-central-1", true),
    ("ca-west-1", false),
    ("mx-central-1", false),
    ("sa-east-1", true),
    ("eu-central-1", true),
    ("eu-central-2", false),
    ("eu-north-1", true),
    ("eu-south-1", false),
    ("eu-south-2", true),
    ("eu-west-1", true),
    ("eu-west-2", true),
    ("eu-west-3", true),
    ("af-south-1", false),
    ("il-central-1", false),
    ("me-central-1", false),
    ("me-south-1", false),
    ("ap-east-1", true),
    ("ap-east-2", false),
    ("ap-northeast-1", true),
    ("ap-northeast-2", true),
    ("ap-northeast-3", false),
    ("ap-south-1", true),
    ("ap-south-2", false),
    ("ap-southeast-1", true),
    ("ap-southeast-2", true),
    ("ap-southeast-3", true),
    ("ap-southeast-4", false),
    ("ap-southeast-5", true),
    ("ap-southeast-6", false),
    ("ap-southeast-7", false),
    ("cn-north-1", false),
    ("cn-northwest-1", false),
    ("us-gov-east-1", false),
    ("us-gov-west-1", false),
];

/// A region of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Whether the account has it enabled.
    pub is_enabled: bool,
}

/// Whether the list has a region. One that it lacks may be new.
pub fn is_known(region: &str) -> bool {
    KNOWN.iter().any(|(name, _)| *name == region)
}

/// The known regions that are nearest to a name.
pub fn near_regions(region: &str) -> Vec<String> {
    nearest(region, KNOWN.iter().map(|(name, _)| *name))
}

/// Refuses what cannot be a region, without asking anybody: the name becomes a part of a host's.
pub fn check_form(region: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = region.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    let fine = match parts.split_last() {
        Some((number, words)) => {
            (2..=4).contains(&words.len())
                && words.iter().all(letters)
                && (1..=2).contains(&number.len())
                && number.bytes().all(|c| c.is_ascii_digit())
                && region.len() <= 32
        }
        None => false,
    };
    if fine {
        return Ok(());
    }
    Err(no_region(region, &near_regions(region)))
}

/// Refuses a known region that Lightsail is not in. Its own answer would be that there is no such
/// host.
pub fn check_lightsail(region: &str) -> Result<(), Failure> {
    if KNOWN.iter().any(|(name, lightsail)| *name == region && !lightsail) {
        let has: Vec<&str> = KNOWN.iter().filter(|(_, it)| *it).map(|(name, _)| *name).collect();
        return Err(Failure::bad_input(format!("Lightsail is not in the region {region}"))
            .remedy(format!("take one of {}, or EC2 instead", has.join(", "))));
    }
    Ok(())
}

fn no_region(region: &str, near: &[String]) -> Failure {
    let shown = text::clean(region, 40);
    Failure::bad_input(format!("{shown} is no AWS region{}", offer(near)))
        .remedy("set AWS_REGION to one that the account has, for example us-east-1")
}

impl Aws {
    /// The regions of the account, the disabled ones included.
    pub async fn regions(&self) -> Result<Vec<Region>, CallError> {
        let call = Call::form(Service::Ec2, "DescribeRegions").with("AllRegions", "true");
        // The region itself may not exist, so one is asked that does.
        let home = self.elsewhere(Partition::of(self.region()).home());
        home.pages(call, read).await
    }

    /// Refuses a region that the account does not have.
    pub async fn check_region(&self) -> Result<(), CallError> {
        let regions = self.regions().await?;
        let region = self.region();
        match regions.iter().find(|it| it.name == region) {
            Some(found) if found.is_enabled => Ok(()),
            Some(_) => Err(Failure::prerequisite(format!(
                "the account has not enabled the AWS region {region}"
            ))
            .remedy(format!(
                "enable {region} in the AWS console under Account, or take another one"
            ))
            .into()),
            None => {
                let near = nearest(region, regions.iter().map(|it| it.name.as_str()));
                Err(no_region(region, &near).into())
            }
        }
    }
}

#[derive(Deserialize)]
struct Zones {
    regions: Vec<RegionOfZones>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegionOfZones {
    name: String,
    #[serde(default)]
    availability_zones: Vec<Zone>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Zone {
    zone_name: String,
}

impl Aws {
    /// Refuses an availability zone that Lightsail does not have in this region. Whoever may not ask
    /// for them is not refused by it.
    pub async fn check_lightsail_zone(&self, zone: &str) -> Result<(), Failure> {
        let asked = json!({ "includeAvailabilityZones": true });
        let call = Call::json(Service::Lightsail, "GetRegions", asked);
        let Ok(body) = self.send(&call).await else { return Ok(()) };
        let Ok(said) = serde_json::from_str::<Zones>(&body) else { return Ok(()) };
        let own = said.regions.into_iter().find(|it| it.name == self.region());
        let zones: Vec<String> = own
            .map(|it| it.availability_zones)
            .into_iter()
            .flatten()
            .map(|it| it.zone_name)
            .collect();
        if zones.is_empty() || zones.iter().any(|it| it == zone) {
            return Ok(());
        }
        let (shown, region) = (text::clean(zone, 40), self.region());
        Err(Failure::bad_input(format!(
            "{shown} is no availability zone of Lightsail's in {region}, which has {}",
            zones.join(", ")
        ))
        .remedy("correct availability_zone in the deployment's terraform.tfvars, or leave it out"))
    }
}

fn read(body: &str) -> Result<Page<Region>, Failure> {
    let document = xml::parse(body)?;
    let region = |item| {
        let status = xml::text(item, &["optInStatus"]);
        let is_enabled = status.as_deref() != Some("not-opted-in");
        Some(Region { name: xml::text(item, &["regionName"])?, is_enabled })
    };
    let items = xml::list(document.root(), "regionInfo").into_iter().filter_map(region).collect();
    Ok(Page { items, next: None })
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;
    use crate::domain::FailureKind;

    const BODY: &str = "<DescribeRegionsResponse xmlns=\"http://ec2.example/doc/\">\
        <regionInfo><item><optInStatus>opt-in-not-required</optInStatus>\
        <regionName>us-east-1</regionName><regionEndpoint>e</regionEndpoint></item>\
        <item><optInStatus>not-opted-in</optInStatus><regionName>ap-east-1</regionName></item>\
        <item><optInStatus>opted-in</optInStatus><regionName>eu-west-1</regionName></item>\
        </regionInfo></DescribeRegionsResponse>";

    #[test]
    fn what_cannot_be_a_region_is_refused_and_what_may_be_new_is_not() {
        for fine in ["us-east-1", "us-gov-west-1", "xy-north-12", "us-isob-east-1"] {
            check_form(fine).expect(fine);
        }
        for wrong in ["", "us-east", "us-east-1a", "US-EAST-1", "useast1", "a.b-c-1", "us-east-1/"]
        {
            let failure = check_form(wrong).expect_err(wrong);
            assert_eq!(failure.kind, FailureKind::BadInput, "{wrong}");
        }
        let failure = check_form("us-east1").expect_err("a slip");
        assert!(failure.message.contains("near to it: us-east-1"), "{failure}");
        assert!(is_known("eu-central-1") && !is_known("eu-central-9"));
    }

    #[test]
    fn lightsail_is_not_everywhere() {
        check_lightsail("eu-central-1").expect("there");
        check_lightsail("xy-north-1").expect("may be new");
        let failure = check_lightsail("us-west-1").expect_err("not there");
        assert!(failure.remedy.expect("one").contains("us-west-2"));
    }

    #[tokio::test]
    async fn a_region_is_the_accounts_or_the_near_ones_are_offered() {
        let fake = Fake::with(|_| (200, BODY.into())).await;
        let aws = fake.aws();
        aws.check_region().await.expect("the account's");
        aws.elsewhere("eu-west-1").check_region().await.expect("the account's");
        let failure =
            Failure::from(aws.elsewhere("ap-east-1").check_region().await.expect_err("off"));
        assert!(failure.message.contains("not enabled"), "{failure}");
        let failure =
            Failure::from(aws.elsewhere("eu-west-9").check_region().await.expect_err("none"));
        assert!(failure.message.contains("near to it: eu-west-1"), "{failure}");
        assert!(fake.asked()[3].head.contains("/us-east-1/ec2/"), "a region that exists is asked");
    }
}
