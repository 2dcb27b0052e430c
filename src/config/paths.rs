//! Where things are kept.
//!
//! Owns the XDG rules and how a relative path is completed. Refuses to guess a home directory,
//! and to keep the sealing key beside what it seals: a copy of one would be a copy of both.

use std::path::{Path, PathBuf};

use super::variables::Variable;
use crate::domain::Failure;

/// The program's folder in the directories of the XDG specification.
const FOLDER: &str = "openclaw-pipeline";

/// The directories that the environment names.
#[derive(Debug, Clone)]
pub struct Places {
    directory: PathBuf,
    home: Option<PathBuf>,
    data: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl Places {
    /// The places, from the working directory and the environment.
    pub fn new(directory: &Path, environment: impl Fn(&str) -> Option<String>) -> Self {
        // The specification says to ignore what is not absolute.
        let absolute =
            |key: &str| environment(key).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let under_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        Self {
            directory: directory.to_owned(),
            data: absolute("XDG_DATA_HOME").or_else(|| under_home(".local/share")),
            config: absolute("XDG_CONFIG_HOME").or_else(|| under_home(".config")),
            home,
        }
    }

    /// The configuration file.
    pub fn config_file(&self) -> Option<PathBuf> {
        Some(self.config.as_ref()?.join(FOLDER).join("config.env"))
    }

    /// The data directory, unless one is named.
    pub fn data_directory(&self) -> Result<PathBuf, Failure> {
        let data = self.data.as_ref().ok_or_else(|| no_home(Variable::Home))?;
        Ok(data.join(FOLDER))
    }

    /// The sealing key's file, unless one is named.
    pub fn key_file(&self) -> Result<PathBuf, Failure> {
        let config = self.config.as_ref().ok_or_else(|| no_home(Variable::KeyFile))?;
        Ok(config.join(FOLDER).join("sealing.key"))
    }

    /// A path that somebody gave, made absolute: `~/` is the home directory, and what is relative
    /// starts from `base`, or from the working directory.
    pub fn complete(
        &self,
        variable: Variable,
        given: &str,
        base: Option<&Path>,
    ) -> Result<PathBuf, Failure> {
        if given.trim().is_empty() || given.contains('\0') {
            return Err(Failure::bad_input(format!(
                "{} is a path; the one given is empty",
                variable.name()
            ))
            .remedy("name a file or directory, or leave it out"));
        }
        let path = match given.strip_prefix("~/") {
            Some(rest) => self.home.as_ref().ok_or_else(|| no_home(variable))?.join(rest),
            None => base.unwrap_or(&self.directory).join(given),
        };
        // Without the `.` in its midst, so that paths compare and read well.
        Ok(path.components().collect())
    }
}

/// Refuses a sealing key inside the data directory.
pub fn key_is_apart(key_file: &Path, data_directory: &Path) -> Result<(), Failure> {
    if !key_file.starts_with(data_directory) {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "{} lives outside the data directory, because a copy of that directory would give away \
         what the key seals; {} is inside {}",
        Variable::KeyFile.name(),
        key_file.display(),
        data_directory.display()
    ))
    .remedy(format!(
        "set {} to a file elsewhere, in ~/.config for example",
        Variable::KeyFile.name()
    )))
}

fn no_home(variable: Variable) -> Failure {
    Failure::bad_input(format!(
        "{} is not set, and HOME is not set to an absolute path",
        variable.name()
    ))
    .remedy(format!("set HOME, or {} to an absolute path", variable.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(pairs: &[(&str, &str)]) -> Places {
        Places::new(Path::new("/w"), |key| {
            pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_specification_is_followed() {
        let home = places(&[("HOME", "/home/u")]);
        assert_eq!(
            home.data_directory().expect("data"),
            Path::new("/home/u/.local/share/openclaw-pipeline")
        );
        assert_eq!(
            home.key_file().expect("key"),
            Path::new("/home/u/.config/openclaw-pipeline/sealing.key")
        );
        let xdg = places(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "c")]);
        assert_eq!(xdg.data_directory().expect("data"), Path::new("/d/openclaw-pipeline"));
        assert_eq!(
            xdg.config_file().expect("config"),
            Path::new("/home/u/.config/openclaw-pipeline/config.env"),
            "a relative one is ignored"
        );
    }

    #[test]
    fn without_a_home_there_is_a_remedy() {
        let none = places(&[("HOME", "relative")]);
        assert!(none.config_file().is_none());
        let failure = none.data_directory().expect_err("no home");
        assert!(failure.remedy.expect("a remedy").contains("OPENCLAW_PIPELINE_HOME"));
    }

    #[test]
    fn paths_are_completed() {
        let places = places(&[("HOME", "/home/u")]);
        let complete = |given, base| places.complete(Variable::Home, given, base).expect(given);
        assert_eq!(complete("/a/./b", None), Path::new("/a/b"));
        assert_eq!(complete("./a", None), Path::new("/w/a"));
        assert_eq!(complete("a", Some(Path::new("/b"))), Path::new("/b/a"));
        assert_eq!(complete("~/a", None), Path::new("/home/u/a"));
        assert!(places.complete(Variable::Home, " ", None).is_err());
    }

    #[test]
    fn the_key_lives_apart() {
        assert!(key_is_apart(Path::new("/c/key"), Path::new("/d")).is_ok());
        assert!(key_is_apart(Path::new("/dd/key"), Path::new("/d")).is_ok());
        let failure = key_is_apart(Path::new("/d/x/key"), Path::new("/d")).expect_err("inside");
        assert!(failure.message.contains("outside"), "{failure}");
    }
}
