//! How large a machine can be.
//!
//! Owns EC2's instance types and Lightsail's bundles: whether one exists in the region, and what it
//! has. Refuses a name that does not exist with the near ones.

use std::fmt;

use serde_json::{Value, json};

use super::client::{Aws, Page};
use super::error::CallError;
use super::near::{nearest, offer};
use super::service::{Call, Service};
use super::xml;
use crate::domain::{Failure, text};

/// What a machine's programs have to be built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Intel's and AMD's.
    X86_64,
    /// ARM's.
    Arm64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        })
    }
}

/// An instance type of EC2's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name.
    pub name: String,
    /// Which programs it runs.
    pub architecture: Architecture,
    /// Its memory.
    pub memory_mib: u64,
    /// How many virtual processors it has.
    pub vcpus: u32,
}

/// A bundle of Lightsail's.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Its id: `medium_3_0`.
    pub id: String,
    /// Its memory.
    pub memory_mib: u64,
    /// How many virtual processors it has.
    pub vcpus: u32,
    /// Its disk.
    pub disk_gib: u32,
    /// What it costs, as AWS says now.
    pub monthly_usd: f64,
    /// Whether machines can still be made of it.
    pub is_active: bool,
    /// Whether it comes with a public IPv4 address.
    pub has_address: bool,
    /// Whether it is for Linux.
    pub is_linux: bool,
}

impl Aws {
    /// The instance type of this name, if the region has it.
    pub async fn instance_type(&self, name: &str) -> Result<InstanceType, CallError> {
        let call = Call::form(Service::Ec2, "DescribeInstanceTypes").with("InstanceType.1", name);
        let found = match self.xml(call, read_type).await {
            Ok(found) => found,
            Err(CallError::Api(error)) if error.code.starts_with("InvalidInstanceType") => None,
            // Not everything can be a name to begin with.
            Err(CallError::Api(error)) if error.code == "InvalidParameterValue" => None,
            Err(error) => return Err(error),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        // The refusal is the same whether there is something to offer or not.
        let known = self.instance_types().await.unwrap_or_default();
        let near = nearest(name, known.iter().map(String::as_str));
        Err(no_size("an EC2 instance type", name, self.region(), &near).into())
    }

    /// The names of all instance types of the region.
    pub async fn instance_types(&self) -> Result<Vec<String>, CallError> {
        let call = Call::form(Service::Ec2, "DescribeInstanceTypeOfferings")
            .with("LocationType", "region");
        self.pages(call, read_names).await
    }

    /// The newest image of Amazon Linux 2023, where `terraform/ec2/main.tf` finds it, too.
    pub async fn newest_image(&self, architecture: Architecture) -> Result<String, CallError> {
        let architecture = match architecture {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        };
        let name = format!(
            "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
        );
        let call = Call::json(Service::Ssm, "GetParameter", json!({ "Name": name }));
        let answer = self.json(call).await?;
        let image = answer["Parameter"]["Value"].as_str().ok_or_else(xml::unreadable)?;
        Ok(image.to_owned())
    }

    /// The bundle of this id, if the region has it and machines can be made of it.
    pub async fn bundle(&self, id: &str) -> Result<Bundle, CallError> {
        let bundles = self.bundles().await?;
        let fit = || bundles.iter().filter(|it| it.is_active && it.is_linux && it.has_address);
        if let Some(found) = fit().find(|it| it.id == id) {
            return Ok(found.clone());
        }
        let near = nearest(id, fit().map(|it| it.id.as_str()));
        Err(no_size("a Lightsail bundle for Linux", id, self.region(), &near).into())
    }

    /// All bundles of the region.
    pub async fn bundles(&self) -> Result<Vec<Bundle>, CallError> {
        self.pages(Call::json(Service::Lightsail, "GetBundles", json!({})), read_bundles).await
    }
}

fn no_size(what: &str, name: &str, region: &str, near: &[String]) -> Failure {
    let shown = text::clean(name, 40);
    Failure::bad_input(format!("{shown} is not {what} in {region}{}", offer(near)))
        .remedy("take one that the region has, or another region")
}

fn read_type(body: &str) -> Result<Option<InstanceType>, Failure> {
    let document = xml::parse(body)?;
    let Some(item) = xml::list(document.root(), "instanceTypeSet").into_iter().next() else {
        return Ok(None);
    };
    let architectures = xml::list(item, "supportedArchitectures");
    let has = |name| architectures.iter().any(|it| it.text() == Some(name));
    let architecture = match (has("arm64"), has("x86_64")) {
        (_, true) => Architecture::X86_64,
        (true, false) => Architecture::Arm64,
        (false, false) => return Ok(None),
    };
    let number = |path: &[&str]| xml::text(item, path).and_then(|it| it.parse::<u64>().ok());
    Ok(Some(InstanceType {
        name: xml::text(item, &["instanceType"]).ok_or_else(xml::unreadable)?,
        architecture,
        memory_mib: number(&["memoryInfo", "sizeInMiB"]).ok_or_else(xml::unreadable)?,
        vcpus: number(&["vCpuInfo", "defaultVCpus"])
            .and_then(|it| u32::try_from(it).ok())
            .ok_or_else(xml::unreadable)?,
    }))
}

fn read_names(body: &str) -> Result<Page<String>, Failure> {
    let document = xml::parse(body)?;
    let items = xml::list(document.root(), "instanceTypeOfferingSet");
    let items = items.into_iter().filter_map(|item| xml::text(item, &["instanceType"])).collect();
    Ok(Page { items, next: xml::next_page(document.root()) })
}

fn read_bundles(body: &str) -> Result<Page<Bundle>, Failure> {
    let fields: Value = serde_json::from_str(body).map_err(|_| xml::unreadable())?;
    let items = fields["bundles"].as_array().ok_or_else(xml::unreadable)?;
    let number = |value: &Value| value.as_u64().and_then(|it| u32::try_from(it).ok());
    let bundle = |item: &Value| {
        let platforms = item["supportedPlatforms"].as_array();
        Some(Bundle {
            id: item["bundleId"].as_str()?.to_owned(),
            memory_mib: mib(item["ramSizeInGb"].as_f64()?),
            vcpus: number(&item["cpuCount"])?,
            disk_gib: number(&item["diskSizeInGb"])?,
            monthly_usd: item["price"].as_f64()?,
            is_active: item["isActive"].as_bool().unwrap_or(true),
            // Answers from before there were bundles without one do not say.
            has_address: item["publicIpv4AddressCount"].as_u64() != Some(0),
            is_linux: platforms.is_none_or(|all| all.iter().any(|it| it == "LINUX_UNIX")),
        })
    };
    Ok(Page {
        items: items.iter().filter_map(bundle).collect(),
        next: fields["nextPageToken"].as_str().map(ToOwned::to_owned),
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before")]
fn mib(gib: f64) -> u64 {
    (gib.clamp(0.0, 1e6) * 1024.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    const TYPE: &str = "<DescribeInstanceTypesResponse><instanceTypeSet><item>\
        <instanceType>t4g.medium</instanceType><processorInfo><supportedArchitectures>\
        <item>arm64</item></supportedArchitectures></processorInfo>\
        <vCpuInfo><defaultVCpus>2</defaultVCpus><validCores><item>1</item></validCores></vCpuInfo>\
        <memoryInfo><sizeInMiB>4096</sizeInMiB></memoryInfo></item></instanceTypeSet>\
        </DescribeInstanceTypesResponse>";

    #[tokio::test]
    async fn an_instance_type_is_read() {
        let fake = Fake::answering([(200, TYPE)]).await;
        let found = fake.aws().instance_type("t4g.medium").await.expect("a type");
        assert_eq!((found.memory_mib, found.vcpus), (4096, 2));
        assert_eq!(found.architecture, Architecture::Arm64);
        assert!(fake.bodies()[0].ends_with("&InstanceType.1=t4g.medium"));
        let both = TYPE.replace("<item>arm64</item>", "<item>i386</item><item>x86_64</item>");
        let found = read_type(&both).expect("read").expect("a type");
        assert_eq!(found.architecture, Architecture::X86_64);
    }

    #[tokio::test]
    async fn one_that_does_not_exist_offers_the_near_ones() {
        let refusal = "<Response><Errors><Error><Code>InvalidInstanceType</Code><Message>The \
                       following supplied instance types do not exist: [t3.meduim]</Message>\
                       </Error></Errors></Response>";
        let offerings = "<R><instanceTypeOfferingSet><item><instanceType>t3.medium</instanceType>\
                         <locationType>region</locationType></item><item>\
                         <instanceType>m7i.large</instanceType></item></instanceTypeOfferingSet></R>";
        let fake = Fake::answering([(400, refusal), (200, offerings), (400, refusal)]).await;
        let failure = Failure::from(fake.aws().instance_type("t3.meduim").await.expect_err("none"));
        assert_eq!(
            failure.message,
            "t3.meduim is not an EC2 instance type in us-east-1; near to it: t3.medium"
        );
        let failure = Failure::from(fake.aws().instance_type("t3.meduim").await.expect_err("none"));
        assert_eq!(failure.message, "t3.meduim is not an EC2 instance type in us-east-1");
    }

    #[tokio::test]
    async fn bundles_are_read_page_by_page_and_only_those_that_fit_are_taken() {
        let bundle = |id: &str, more: Value| {
            let mut fields = json!({
                "bundleId": id, "cpuCount": 2, "diskSizeInGb": 80, "instanceType": "medium",
                "isActive": true, "name": "Medium", "power": 2000, "price": 24.0,
                "ramSizeInGb": 4.0, "supportedPlatforms": ["LINUX_UNIX"],
                "transferPerMonthInGb": 4096, "publicIpv4AddressCount": 1
            });
            for (name, value) in more.as_object().expect("fields") {
                fields[name] = value.clone();
            }
            fields
        };
        let first = json!({ "bundles": [
            bundle("medium_3_0", json!({})), bundle("medium_2_0", json!({ "isActive": false })),
        ], "nextPageToken": "n" });
        let second = json!({ "bundles": [
            bundle("medium_win_3_0", json!({ "supportedPlatforms": ["WINDOWS"] })),
            bundle("medium_ipv6_3_0", json!({ "publicIpv4AddressCount": 0 })),
            bundle("nano_3_0", json!({ "ramSizeInGb": 0.5, "price": 5.0 })),
        ] });
        let pages = [first.to_string(), second.to_string()];
        let fake =
            Fake::with(move |asked| (200, pages[usize::from(asked.body != "{}")].clone())).await;
        let found = fake.aws().bundle("medium_3_0").await.expect("a bundle");
        assert_eq!((found.memory_mib, found.disk_gib, found.monthly_usd), (4096, 80, 24.0));
        assert_eq!(fake.bodies()[1], "{\"pageToken\":\"n\"}");
        for other in ["medium_2_0", "medium_win_3_0", "medium_ipv6_3_0"] {
            fake.aws().bundle(other).await.expect_err(other);
        }
        let failure = Failure::from(fake.aws().bundle("medum_3_0").await.expect_err("a slip"));
        assert!(failure.message.contains("near to it: medium_3_0"), "{failure}");
        assert_eq!(mib(0.5), 512);
    }
}
