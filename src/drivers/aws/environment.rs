//! What this driver is told by the process environment.
//!
//! Owns the list of the variables that the AWS tools share, and reads no other one. Refuses to read
//! the environment itself: whoever makes a driver hands in a look-up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::service::Service;
use crate::secrets::Secret;

/// Every variable that is read. They are the ones that Terraform's AWS provider reads, too: both
/// have to act as the same identity, in the same region, against the same endpoints.
pub const VARIABLES: [&str; 27] = [
    "HOME",
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_LIGHTSAIL",
    "AWS_ENDPOINT_URL_SERVICE_QUOTAS",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
];

/// The variables' values.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<&'static str, Secret>);

/// Names alone: some values are secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Asks for each of [`VARIABLES`] once. An empty value counts as none, as it does for the other
    /// AWS tools.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &'static str| Some((name, lookup(name).filter(|it| !it.is_empty())?));
        let found = VARIABLES.into_iter().filter_map(value);
        Self(found.map(|(name, value)| (name, Secret::new(value))).collect())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose)
    }

    /// The first of several variables that has a value.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether a variable says yes.
    pub(super) fn says_yes(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The profile that is asked for by name.
    pub fn profile(&self) -> Option<&str> {
        self.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
    }

    /// The file with the credentials of every profile.
    pub fn credentials_file(&self) -> Option<PathBuf> {
        self.file("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    }

    /// The file with everything else about them.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.file("AWS_CONFIG_FILE", "config")
    }

    fn file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        match self.get(variable) {
            Some(path) => match (path.strip_prefix("~/"), self.get("HOME")) {
                (Some(rest), Some(home)) => Some(PathBuf::from(home).join(rest)),
                _ => Some(PathBuf::from(path)),
            },
            None => Some(PathBuf::from(self.get("HOME")?).join(".aws").join(name)),
        }
    }

    /// Where a service is to be reached instead of its own address.
    pub(super) fn endpoint(&self, service: Service) -> Option<&str> {
        if self.says_yes("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
            return None;
        }
        self.first(&[service.endpoint_variable(), "AWS_ENDPOINT_URL"])
    }
}

#[cfg(test)]
pub(super) fn of(pairs: &[(&str, &str)]) -> Environment {
    let pairs: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment::read(|name| pairs.get(name).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_list_is_read_and_no_value_is_shown() {
        let environment =
            of(&[("AWS_SECRET_ACCESS_KEY", "s3cr3t"), ("PATH", "/bin"), ("AWS_PROFILE", "")]);
        assert_eq!(format!("{environment:?}"), "{\"AWS_SECRET_ACCESS_KEY\"}");
        assert_eq!(environment.profile(), None);
        assert_eq!(environment.get("PATH"), None);
    }

    #[test]
    fn files_stand_in_the_home_directory_or_where_they_are_said_to() {
        let file = |pairs: &[(&str, &str)]| of(pairs).credentials_file();
        assert_eq!(file(&[("HOME", "/h")]), Some("/h/.aws/credentials".into()));
        assert_eq!(file(&[]), None);
        let said = [("HOME", "/h"), ("AWS_SHARED_CREDENTIALS_FILE", "~/c")];
        assert_eq!(file(&said), Some("/h/c".into()));
        assert_eq!(of(&[("AWS_CONFIG_FILE", "/c")]).config_file(), Some("/c".into()));
    }

    #[test]
    fn a_services_own_endpoint_goes_before_the_common_one() {
        let mut pairs =
            vec![("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_EC2", "http://ec2")];
        assert_eq!(of(&pairs).endpoint(Service::Ec2), Some("http://ec2"));
        assert_eq!(of(&pairs).endpoint(Service::Lightsail), Some("http://all"));
        pairs.push(("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"));
        assert_eq!(of(&pairs).endpoint(Service::Ec2), None);
    }
}
