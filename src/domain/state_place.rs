//! Where Terraform's state of a machine is kept, if not with the deployment's own files.
//!
//! Owns how such a place is written. Refuses what could be taken for something else: a bucket or a
//! key with characters that need quoting.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::text;

/// How a place in a bucket begins.
const S3: &str = "s3://";

/// A state's file or object; a folder for several, where it ends in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatePlace {
    /// A file on this machine, absolute.
    File {
        /// Its path.
        path: String,
    },
    /// An object in a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// The bucket's region.
        region: String,
    },
}

impl StatePlace {
    /// Bucket and key of a place in one; `None` where a file is meant.
    pub fn in_bucket(given: &str) -> Option<Result<(String, String), Failure>> {
        let rest = given.strip_prefix(S3)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let fits_bucket =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        let named_well = (3..=63).contains(&bucket.len())
            && bucket.chars().all(fits_bucket)
            && bucket.starts_with(|c: char| c.is_ascii_alphanumeric());
        let fits_key = |c: char| c.is_ascii_alphanumeric() || "/._=-".contains(c);
        let keyed_well = key.len() <= 900
            && key.chars().all(fits_key)
            && !key.starts_with('/')
            && !key.contains("//")
            && !key.split('/').any(|part| part == "." || part == "..");
        if named_well && keyed_well {
            return Some(Ok((bucket.to_owned(), key.to_owned())));
        }
        Some(Err(Failure::bad_input(format!(
            "TF_STATE is a file, or s3://BUCKET/KEY with a bucket of a-z, 0-9, dots and dashes and a \
             key of letters, digits and / . _ = -; {:?} is none",
            text::clean(given, 80)
        ))
        .remedy("name an object, or a folder that ends in /, in a bucket that is there")))
    }

    /// Whether it is a folder, in which each deployment has a state of its own.
    pub fn is_folder(&self) -> bool {
        match self {
            Self::File { path } => path.ends_with('/'),
            Self::S3 { key, .. } => key.is_empty() || key.ends_with('/'),
        }
    }

    /// The place itself, or the one of this name in the folder that it is.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        if !self.is_folder() {
            return self;
        }
        match self {
            Self::File { path } => Self::File { path: format!("{path}{name}.tfstate") },
            Self::S3 { bucket, key, region } => {
                Self::S3 { bucket, key: format!("{key}{name}.tfstate"), region }
            }
        }
    }
}

impl fmt::Display for StatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => f.write_str(path),
            Self::S3 { bucket, key, .. } => write!(f, "{S3}{bucket}/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_key_are_told_from_a_file() {
        let parsed = |given| StatePlace::in_bucket(given).map(Result::unwrap);
        assert_eq!(parsed("terraform/ec2/terraform-main.tfstate"), None);
        let some = |bucket: &str, key: &str| Some((bucket.to_owned(), key.to_owned()));
        assert_eq!(parsed("s3://states"), some("states", ""));
        assert_eq!(parsed("s3://a.b-1/x/y_z=1.tfstate"), some("a.b-1", "x/y_z=1.tfstate"));
        let odd = ["s3://", "s3://ab", "s3://-ab/x", "s3://Abc/x", "s3://abc//x", "s3://abc/a//b"];
        for given in odd.into_iter().chain(["s3://abc/../x", "s3://abc/a b", "s3://abc/${x}"]) {
            let failure = StatePlace::in_bucket(given).expect("a bucket").expect_err(given);
            assert!(failure.message.contains("TF_STATE"), "{failure}");
        }
    }

    #[test]
    fn in_a_folder_each_has_its_own() {
        let file = |path: &str| StatePlace::File { path: path.into() };
        assert_eq!(file("/s/").of("openclaw-a-12"), file("/s/openclaw-a-12.tfstate"));
        assert_eq!(file("/s/x").of("openclaw-a-12"), file("/s/x"));
        let s3 = |key: &str| StatePlace::S3 {
            bucket: "b".into(),
            key: key.into(),
            region: "us-east-1".into(),
        };
        assert_eq!(s3("").of("n").to_string(), "s3://b/n.tfstate");
        assert_eq!(s3("p/").of("n").to_string(), "s3://b/p/n.tfstate");
        assert!(!s3("p/x").is_folder());
    }
}
