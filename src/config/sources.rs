//! Where values come from.
//!
//! Owns the reading of the process environment and of the two files, once, at the start. Refuses
//! to hand the environment on: only the table's variables, the project's own prefix and what
//! places the files are taken from it, so that nothing else can leak from here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::paths::Places;
use super::variables::{OWN_PREFIX, Variable};
use crate::domain::{Failure, FailureKind};
use crate::secrets::{Secret, envfile};

/// Where a value comes from, from the strongest to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A request to the API.
    Request,
    /// The command line.
    Flag,
    /// The process environment.
    Environment,
    /// `.env` in the working directory.
    DotEnv {
        /// The line.
        line: usize,
    },
    /// The configuration file.
    ConfigFile {
        /// The line.
        line: usize,
    },
    /// Nobody gave one.
    Default,
}

impl Origin {
    /// Whether two values come from the same place, whatever the lines.
    pub fn same_place(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv { line } => write!(f, ".env line {line}"),
            Self::ConfigFile { line } => write!(f, "config file line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A file's path and text. The text is a secret, because secrets stand in it.
#[derive(Debug, Clone)]
pub struct FileText {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: Secret,
    /// Whether other users can read it.
    pub shared: bool,
    /// Why it is no file of settings, where that shows before it is parsed.
    pub failure: Option<Failure>,
}

/// Everything that settings are made from. Nothing else is read, except the file that
/// `OPENCLAW_ENV_FILE` names.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Values from the command line.
    pub flags: BTreeMap<Variable, Secret>,
    /// `--env KEY=VALUE`, in order.
    pub gateway_flags: Vec<Secret>,
    /// What of the environment concerns the program.
    pub environment: BTreeMap<String, Secret>,
    /// `.env` in the working directory.
    pub dotenv: Option<FileText>,
    /// The configuration file.
    pub config: Option<FileText>,
    /// The working directory, which relative paths start from.
    pub directory: PathBuf,
    /// What the reader should know of the reading itself.
    pub notices: Vec<String>,
}

/// A variable of a tool that the program drives, which is no setting of the program's own: where
/// AWS's credentials are, for one.
pub fn tool_variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "config is who reads the environment")]
    let value = std::env::var(name);
    value.ok()
}

impl Sources {
    /// Sources without a value.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }

    /// The sources of this process; flags are added with [`Sources::flag`].
    pub fn from_process() -> Result<Self, Failure> {
        let mut sources = Self::from_environment()?;
        let dotenv = sources.directory.join(".env");
        sources.dotenv = sources.read(&dotenv)?;
        if let Some(path) = sources.places().config_file() {
            sources.config = sources.read(&path)?;
        }
        Ok(sources)
    }

    /// The environment of this process alone, for one that the program started itself: it was
    /// given what it needs, and files where it happens to be are not its settings.
    pub fn from_environment() -> Result<Self, Failure> {
        let directory = std::env::current_dir().map_err(|error| {
            Failure::failed(format!("the working directory cannot be told: {error}"))
                .remedy("change to a directory that exists")
        })?;
        let mut sources = Self::new(directory);
        for (key, value) in std::env::vars_os() {
            let Some(key) = key.to_str().filter(|key| concerns_us(key)) else {
                continue;
            };
            let value = value.into_string().map_err(|_| {
                Failure::bad_input(format!("{key} in the environment is not UTF-8 text"))
                    .remedy(format!("set {key} again, or unset it"))
            })?;
            sources.environment.insert(key.to_owned(), Secret::new(value));
        }
        Ok(sources)
    }

    /// Adds a value from the command line.
    pub fn flag(mut self, variable: Variable, value: impl Into<String>) -> Self {
        self.flags.insert(variable, Secret::new(value));
        self
    }

    /// Adds a `--env KEY=VALUE`.
    pub fn gateway_flag(mut self, pair: impl Into<String>) -> Self {
        self.gateway_flags.push(Secret::new(pair));
        self
    }

    /// Adds a variable of the environment.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(key.into(), Secret::new(value));
        self
    }

    /// Sets the `.env` file's text.
    pub fn dotenv(mut self, text: impl Into<String>) -> Self {
        self.dotenv = Some(FileText {
            path: self.directory.join(".env"),
            text: Secret::new(text),
            shared: false,
            failure: None,
        });
        self
    }

    /// Sets the configuration file's path and text.
    pub fn config(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.config = Some(FileText {
            path: path.into(),
            text: Secret::new(text),
            shared: false,
            failure: None,
        });
        self
    }

    /// The places that the environment names.
    pub fn places(&self) -> Places {
        Places::new(&self.directory, |key| {
            self.environment.get(key).map(|value| value.expose().to_owned())
        })
    }

    fn read(&mut self, path: &Path) -> Result<Option<FileText>, Failure> {
        let shared = match std::fs::metadata(path) {
            // Python projects keep a virtual environment under this name.
            Ok(metadata) if metadata.is_dir() => {
                self.notices.push(format!(
                    "{} is a directory, so no settings are read from it",
                    path.display()
                ));
                return Ok(None);
            }
            Ok(metadata) => metadata.mode() & 0o044 != 0,
            Err(_) => false,
        };
        match envfile::read_text(path) {
            Ok(text) => {
                let (path, text) = (path.to_owned(), Secret::new(text));
                Ok(Some(FileText { path, text, shared, failure: None }))
            }
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            // Another project's, perhaps: it is told apart from ours by what it seems to set.
            Err(failure) if failure.kind == FailureKind::BadInput => {
                let (path, text) = (path.to_owned(), lossy(path)?);
                Ok(Some(FileText { path, text, shared, failure: Some(failure) }))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The beginning of a file, as far as it is text.
fn lossy(path: &Path) -> Result<Secret, Failure> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(envfile::MAX_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Secret::new(String::from_utf8_lossy(&bytes)))
}

fn concerns_us(key: &str) -> bool {
    Variable::by_name(key).is_some()
        || key.starts_with(OWN_PREFIX)
        || matches!(key, "HOME" | "XDG_CONFIG_HOME" | "XDG_DATA_HOME")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_value() {
        let sources = Sources::new("/w")
            .flag(Variable::GatewayToken, "s3cr3t")
            .gateway_flag("A=s3cr3t")
            .env("OPENAI_API_KEY", "s3cr3t")
            .dotenv("XAI_API_KEY=s3cr3t")
            .config("/c", "XAI_API_KEY=s3cr3t");
        assert!(!format!("{sources:?}").contains("s3cr3t"));
    }

    #[test]
    fn of_the_environment_only_what_concerns_us_is_taken() {
        for key in ["NAME", "name", "OPENAI_API_KEY", "OPENCLAW_PIPELINE_X", "HOME"] {
            assert!(concerns_us(key), "{key}");
        }
        for key in ["PATH", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "openai_api_key"] {
            assert!(!concerns_us(key), "{key}");
        }
    }

    #[test]
    fn files_are_read_where_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sources = Sources::new(directory.path());
        let path = directory.path().join(".env");
        assert!(sources.read(&path).expect("absent").is_none());
        crate::secrets::write_private(&path, b"A=1").expect("written");
        let file = sources.read(&path).expect("read").expect("there");
        assert_eq!((file.text.expose(), file.shared), ("A=1", false));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, mode).expect("mode");
        assert!(sources.read(&path).expect("read").expect("there").shared);
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        assert!(sources.read(&path).expect("a directory").is_none());
        assert!(sources.notices[0].contains("directory"));
    }

    #[test]
    fn a_file_that_is_no_text_is_told_and_not_parsed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".env");
        std::fs::write(&path, b"CAF=\xe9\nNAME=x\n").expect("written");
        let mut sources = Sources::new(directory.path());
        sources.dotenv = sources.read(&path).expect("read");
        let settings = super::super::Settings::resolve(&sources).expect("resolved");
        assert!(settings.broken().is_some_and(|failure| failure.message.contains("UTF-8")));
        assert!(settings.name().is_err() && settings.port().is_ok());
    }

    #[test]
    fn the_programs_own_children_read_no_file() {
        let sources = Sources::from_environment().expect("read");
        assert!(sources.dotenv.is_none() && sources.config.is_none());
    }

    #[test]
    fn the_process_can_be_read() {
        let sources = Sources::from_process().expect("read");
        assert!(sources.directory.is_absolute());
        assert!(!sources.environment.contains_key("PATH"));
    }
}
