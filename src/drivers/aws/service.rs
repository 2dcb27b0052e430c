//! The services that are called, and what a call to each looks like.
//!
//! Owns versions, endpoints and the three protocols (form and XML, JSON, and paths that are answered
//! in JSON). Refuses to send anything: what is made here is data.

use reqwest::Method;
use serde_json::Value;

use crate::domain::text::percent_encode;

/// A service of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Instances, and what belongs to them.
    Ec2,
    /// Clusters.
    Eks,
    /// Roles and instance profiles. One for all regions of a partition.
    Iam,
    /// Keys that encrypt.
    Kms,
    /// Instances in bundles.
    Lightsail,
    /// What services write while they run.
    Logs,
    /// How much an account may have.
    ServiceQuotas,
    /// Parameters, of which AWS keeps some for everybody: the newest images.
    Ssm,
    /// Who is calling.
    Sts,
    /// What carries a tag, of all services.
    Tagging,
}

impl Service {
    /// The name that calls are signed for, and that permissions begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Eks => "eks",
            Self::Iam => "iam",
            Self::Kms => "kms",
            Self::Lightsail => "lightsail",
            Self::Logs => "logs",
            Self::ServiceQuotas => "servicequotas",
            Self::Ssm => "ssm",
            Self::Sts => "sts",
            Self::Tagging => "tagging",
        }
    }

    pub(super) const fn endpoint_variable(self) -> &'static str {
        match self {
            Self::Ec2 => "AWS_ENDPOINT_URL_EC2",
            Self::Eks => "AWS_ENDPOINT_URL_EKS",
            Self::Iam => "AWS_ENDPOINT_URL_IAM",
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Lightsail => "AWS_ENDPOINT_URL_LIGHTSAIL",
            Self::Logs => "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
            Self::ServiceQuotas => "AWS_ENDPOINT_URL_SERVICE_QUOTAS",
            Self::Ssm => "AWS_ENDPOINT_URL_SSM",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            Self::Tagging => "AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API",
        }
    }

    /// The host of a service, and which region its calls are signed for.
    pub(super) fn host(self, region: &str) -> (String, String) {
        let name = self.name();
        match (self, Partition::of(region)) {
            (Self::Iam, Partition::Common) => ("iam.amazonaws.com".into(), "us-east-1".into()),
            (Self::Iam, Partition::Government) => {
                ("iam.us-gov.amazonaws.com".into(), "us-gov-west-1".into())
            }
            (Self::Iam, Partition::China) => {
                ("iam.cn-north-1.amazonaws.com.cn".into(), "cn-north-1".into())
            }
            (_, Partition::China) => (format!("{name}.{region}.amazonaws.com.cn"), region.into()),
            _ => (format!("{name}.{region}.amazonaws.com"), region.into()),
        }
    }
}

/// A part of AWS with accounts and regions of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partition {
    Common,
    China,
    Government,
}

impl Partition {
    pub(super) fn of(region: &str) -> Self {
        match region.split('-').next() {
            Some("cn") => Self::China,
            Some("us") if region.starts_with("us-gov-") => Self::Government,
            _ => Self::Common,
        }
    }

    /// A region that every account of the partition has.
    pub(super) const fn home(self) -> &'static str {
        match self {
            Self::Common => "us-east-1",
            Self::China => "cn-north-1",
            Self::Government => "us-gov-west-1",
        }
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) action: &'static str,
    input: Input,
}

#[derive(Debug, Clone, PartialEq)]
enum Input {
    Form(Vec<(String, String)>),
    Json(Value),
    /// A path, each part encoded, and what narrows it.
    Path(Method, String, Vec<(String, String)>),
}

impl Call {
    /// A call with a form, which is answered in XML.
    pub(super) fn form(service: Service, action: &'static str) -> Self {
        Self { service, action, input: Input::Form(Vec::new()) }
    }

    /// A call in JSON.
    pub(super) fn json(service: Service, action: &'static str, input: Value) -> Self {
        Self { service, action, input: Input::Json(input) }
    }

    /// A call of a path, which is answered in JSON.
    pub(super) fn path(
        service: Service,
        action: &'static str,
        method: Method,
        parts: &[&str],
    ) -> Self {
        let path: String =
            parts.iter().flat_map(|it| ["/".to_owned(), percent_encode(it)]).collect();
        Self { service, action, input: Input::Path(method, path, Vec::new()) }
    }

    /// Adds a field.
    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        match &mut self.input {
            Input::Form(pairs) | Input::Path(_, _, pairs) => pairs.push((name, value.into())),
            Input::Json(fields) => fields[name] = Value::String(value.into()),
        }
        self
    }

    /// A field of a form.
    #[cfg(test)]
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let Input::Form(pairs) = &self.input else { return None };
        pairs.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// Adds a numbered condition that what is described has to meet.
    pub(super) fn filter(self, number: usize, name: &str, values: &[&str]) -> Self {
        let mut call = self.with(format!("Filter.{number}.Name"), name);
        for (index, value) in values.iter().enumerate() {
            call = call.with(format!("Filter.{number}.Value.{}", index + 1), *value);
        }
        call
    }

    /// The same call for the next page.
    pub(super) fn page(self, token: &str) -> Self {
        let name = match (&self.input, self.service) {
            (Input::Json(_), Service::Logs) | (Input::Path(..), _) => "nextToken",
            (Input::Json(_), Service::Tagging) => "PaginationToken",
            (Input::Json(_), _) => "pageToken",
            (Input::Form(_), Service::Iam) => "Marker",
            (Input::Form(_), _) => "NextToken",
        };
        self.with(name, token)
    }

    /// What it needs permission for.
    pub(super) fn permission(&self) -> String {
        let service = match self.service {
            Service::Tagging => "tag",
            service => service.name(),
        };
        format!("{service}:{}", self.action)
    }

    /// How it is asked for.
    pub(super) fn method(&self) -> Method {
        match &self.input {
            Input::Path(method, ..) => method.clone(),
            Input::Form(_) | Input::Json(_) => Method::POST,
        }
    }

    /// Its path behind the service's own, as it stands in the URL.
    pub(super) fn of_path(&self) -> &str {
        match &self.input {
            Input::Path(_, path, _) => path,
            Input::Form(_) | Input::Json(_) => "",
        }
    }

    /// Its query, in the order of its names, as it stands in the URL.
    pub(super) fn query(&self) -> String {
        match &self.input {
            Input::Path(_, _, pairs) => {
                let mut pairs: Vec<String> = pairs.iter().map(encoded).collect();
                pairs.sort_unstable();
                pairs.join("&")
            }
            Input::Form(_) | Input::Json(_) => String::new(),
        }
    }

    /// The headers that say what the body is.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        match &self.input {
            Input::Form(_) => {
                let kind = "application/x-www-form-urlencoded; charset=utf-8";
                vec![("content-type", kind.into())]
            }
            Input::Json(_) => {
                let prefix = match self.service {
                    Service::Kms => "TrentService",
                    Service::Logs => "Logs_20140328",
                    Service::ServiceQuotas => "ServiceQuotasV20190624",
                    Service::Ssm => "AmazonSSM",
                    Service::Tagging => "ResourceGroupsTaggingAPI_20170126",
                    _ => "Lightsail_20161128",
                };
                let target = format!("{prefix}.{}", self.action);
                vec![
                    ("content-type", "application/x-amz-json-1.1".into()),
                    ("x-amz-target", target),
                ]
            }
            Input::Path(..) => Vec::new(),
        }
    }

    /// The body.
    pub(super) fn body(&self) -> String {
        match &self.input {
            Input::Path(..) => String::new(),
            Input::Json(fields) => fields.to_string(),
            Input::Form(pairs) => {
                let version = match self.service {
                    Service::Iam => "2010-05-08",
                    Service::Sts => "2011-06-15",
                    _ => "2016-11-15",
                };
                let mut body = format!("Action={}&Version={version}", self.action);
                for pair in pairs {
                    body.push('&');
                    body.push_str(&encoded(pair));
                }
                body
            }
        }
    }
}

fn encoded((name, value): &(String, String)) -> String {
    format!("{}={}", percent_encode(name), percent_encode(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_stand_where_their_region_is() {
        let at = |service: Service, region| service.host(region).0;
        assert_eq!(at(Service::Ec2, "eu-central-1"), "ec2.eu-central-1.amazonaws.com");
        assert_eq!(at(Service::Sts, "cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
        let iam = ("iam.amazonaws.com".to_owned(), "us-east-1".to_owned());
        assert_eq!(Service::Iam.host("eu-west-1"), iam);
        assert_eq!(Partition::of("us-gov-east-1").home(), "us-gov-west-1");
    }

    #[test]
    fn a_form_is_encoded_field_by_field() {
        let call = Call::form(Service::Ec2, "DescribeInstances")
            .filter(1, "tag:a:b", &["ü &", "c"])
            .page("to/ken==");
        assert_eq!(
            call.body(),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Aa%3Ab&\
             Filter.1.Value.1=%C3%BC%20%26&Filter.1.Value.2=c&NextToken=to%2Fken%3D%3D"
        );
        assert_eq!(call.permission(), "ec2:DescribeInstances");
        assert!(Call::form(Service::Iam, "ListRoles").page("m").body().ends_with("&Marker=m"));
    }

    #[test]
    fn json_names_its_target_in_a_header() {
        let call = Call::json(Service::Lightsail, "GetBundles", json!({})).page("t");
        assert_eq!(call.body(), "{\"pageToken\":\"t\"}");
        let expected = [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", "Lightsail_20161128.GetBundles".to_owned()),
        ];
        assert_eq!(call.headers(), expected);
    }

    #[test]
    fn a_path_has_its_parts_encoded_and_its_query_in_order() {
        let parts = ["clusters", "c", "access-entries", "arn:aws:iam::1:role/x"];
        let call = Call::path(Service::Eks, "DescribeAccessEntry", Method::GET, &parts);
        assert_eq!(call.of_path(), "/clusters/c/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx");
        let call = call.with("z", "1").page("a=b");
        assert_eq!(call.query(), "nextToken=a%3Db&z=1");
        assert_eq!((call.method(), call.body()), (Method::GET, String::new()));
        assert_eq!(call.permission(), "eks:DescribeAccessEntry");
        let tagged = Call::json(Service::Tagging, "GetResources", json!({})).page("t");
        assert_eq!(tagged.body(), "{\"PaginationToken\":\"t\"}");
        assert_eq!(tagged.permission(), "tag:GetResources");
    }
}
