//! The two files that the AWS tools share.
//!
//! Owns their grammar: sections, `name = value`, comments, and nested lines, which are skipped.
//! Refuses to echo a line, because what stands there may be a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::environment::Environment;
use crate::domain::{Failure, FailureKind, text};
use crate::secrets::{Secret, envfile};

/// What the files say, profile by profile.
#[derive(Clone, Default)]
pub(super) struct Profiles(BTreeMap<String, Profile>);

/// What they say of one.
#[derive(Clone, Default)]
pub(super) struct Profile(BTreeMap<String, Secret>);

/// Names alone.
impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Names alone.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Profile {
    /// A setting; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// Whether any of these is set.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }
}

impl Profiles {
    /// Reads both files; one that is not there says nothing.
    pub(super) fn load(environment: &Environment) -> Result<Self, Failure> {
        let mut profiles = Self::default();
        if let Some(path) = environment.config_file() {
            profiles.add(&read(&path)?, |section| match section {
                "default" => Some("default".into()),
                _ => section.strip_prefix("profile").map(|name| name.trim().to_owned()),
            });
        }
        // What stands in the file of credentials goes before what stands in the other one.
        if let Some(path) = environment.credentials_file() {
            profiles.add(&read(&path)?, |section| Some(section.to_owned()));
        }
        Ok(profiles)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn add(&mut self, text: &Secret, name_of: impl Fn(&str) -> Option<String>) {
        let mut current = None;
        for line in text.expose().lines() {
            let trimmed = line.trim();
            // An indented line belongs to the setting above it, which none of ours has.
            let nested = line.starts_with([' ', '\t']);
            if nested || trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = trimmed.strip_prefix('[') {
                let section = section.split(']').next().unwrap_or_default().trim();
                let name = name_of(section).map(|name| name.trim_matches(['"', '\'']).to_owned());
                current = name.filter(|name| !name.is_empty());
                if let Some(name) = &current {
                    self.0.entry(name.clone()).or_default();
                }
                continue;
            }
            let (Some(name), Some((key, value))) = (&current, trimmed.split_once('=')) else {
                continue;
            };
            let profile = self.0.entry(name.clone()).or_default();
            let value = Secret::new(without_comment(value));
            profile.0.insert(key.trim().to_ascii_lowercase(), value);
        }
    }
}

/// A comment begins with `#` or `;` behind a blank.
fn without_comment(value: &str) -> &str {
    let ends = [" #", " ;", "\t#", "\t;"].into_iter().filter_map(|mark| value.find(mark));
    value[..ends.min().unwrap_or(value.len())].trim()
}

fn read(path: &Path) -> Result<Secret, Failure> {
    match envfile::read_text(path) {
        Ok(text) => Ok(Secret::new(text)),
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(Secret::new("")),
        Err(failure) => Err(failure),
    }
}

/// A profile that was asked for by name and is not there.
pub(super) fn absent(name: &str, profiles: &Profiles) -> Failure {
    let name = text::clean(name, 64);
    let known = profiles.names();
    let failure = Failure::prerequisite(format!("there is no AWS profile called {name}"));
    let near = super::near::nearest(&name, known.iter().copied());
    failure.remedy(match near.as_slice() {
        [] if known.is_empty() => {
            format!("make it (aws configure --profile {name}), or unset AWS_PROFILE")
        }
        [] => format!("set AWS_PROFILE to one of: {}", text::clean(&known.join(", "), 200)),
        near => format!("set AWS_PROFILE to one that exists; near to it: {}", near.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::environment::of;
    use super::*;

    fn files(config: &str, credentials: &str) -> (tempfile::TempDir, Environment) {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join(".aws")).expect("made");
        std::fs::write(home.path().join(".aws/config"), config).expect("written");
        std::fs::write(home.path().join(".aws/credentials"), credentials).expect("written");
        let environment = of(&[("HOME", home.path().to_str().expect("a path"))]);
        (home, environment)
    }

    #[test]
    fn both_files_are_read_and_the_credentials_go_first() {
        let (_home, environment) = files(
            "# c\n[default]\nRegion = eu-west-1 ; here\ns3 =\n  max = 1\naws_access_key_id=A\n\
             [profile \"b\"]\nregion=us-east-2\n[sso-session s]\nregion=x\n",
            "[default]\naws_access_key_id = B\naws_secret_access_key = s#3=cr3t\n",
        );
        let profiles = Profiles::load(&environment).expect("read");
        assert_eq!(profiles.names(), ["b", "default"]);
        let default = profiles.get("default").expect("default");
        assert_eq!(default.get("region"), Some("eu-west-1"));
        assert_eq!(default.get("aws_access_key_id"), Some("B"));
        assert_eq!(default.get("aws_secret_access_key"), Some("s#3=cr3t"));
        assert_eq!(default.get("max"), None);
        assert_eq!(default.get("s3"), None);
        assert!(!format!("{profiles:?}{default:?}").contains("cr3t"));
    }

    #[test]
    fn no_file_says_nothing_and_an_absent_profile_offers_what_there_is() {
        let empty = Profiles::load(&of(&[("HOME", "/nowhere")])).expect("nothing");
        assert!(empty.names().is_empty());
        assert!(absent("prod", &empty).remedy.expect("one").contains("aws configure"));
        let (_home, environment) = files("[profile prod]\n", "");
        let profiles = Profiles::load(&environment).expect("read");
        assert!(absent("prd", &profiles).remedy.expect("one").ends_with("prod"));
    }
}
