//! Where the files come from that machines and containers are made with: the program, or a checkout.
//!
//! Owns reading a checkout that `PIPELINE_DIR` names, at each use, so that what was edited there
//! counts from the next command on. Refuses a checkout that lacks a file which the program carries:
//! half of it from each would be a module that nobody has ever seen.

use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::assets::{self, kubernetes, terraform};
use crate::config::Variable;
use crate::domain::Failure;

/// The compose file's name in a checkout.
const COMPOSE: &str = "docker-compose.yml";
/// The largest file that is read, in bytes.
const BOUND: u64 = 1 << 20;

/// Where they come from.
#[derive(Debug, Clone, Default)]
pub struct Checkout {
    dir: Option<PathBuf>,
}

/// A module's files, by name.
pub type Module = Vec<(&'static str, Cow<'static, str>)>;

impl Checkout {
    /// The checkout in a directory; without one, what the program carries.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The files of a Terraform module.
    pub fn module(&self, module: &terraform::Module) -> Result<Module, Failure> {
        let folder = Path::new("terraform").join(module.folder);
        let files = module.files.iter();
        files.map(|file| Ok((file.name, self.text(&folder.join(file.name), file.text)?))).collect()
    }

    /// The gateway's compose file.
    pub fn compose(&self) -> Result<Cow<'static, str>, Failure> {
        self.text(Path::new(COMPOSE), assets::DOCKER_COMPOSE)
    }

    /// A manifest.
    pub fn manifest(&self, manifest: &kubernetes::Manifest) -> Result<Cow<'static, str>, Failure> {
        self.text(&Path::new("k8s").join(manifest.name), manifest.text)
    }

    fn text(&self, path: &Path, built_in: &'static str) -> Result<Cow<'static, str>, Failure> {
        let Some(dir) = &self.dir else { return Ok(built_in.into()) };
        let at = dir.join(path);
        match fs::metadata(&at) {
            Ok(found) if !found.is_file() => Err(refused(dir, path, "is no file")),
            Ok(found) if found.len() > BOUND => Err(refused(dir, path, "is too large")),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Err(refused(dir, path, "is missing"))
            }
            found => match found.and_then(|_| fs::read_to_string(&at)) {
                Ok(text) => Ok(text.into()),
                Err(error) => Err(refused(dir, path, &format!("cannot be read ({error})"))),
            },
        }
    }
}

fn refused(dir: &Path, path: &Path, why: &str) -> Failure {
    let variable = Variable::PipelineDir.name();
    let (dir, path) = (dir.display(), path.display());
    Failure::bad_input(format!("{variable} names {dir}, and {path} {why} there")).remedy(format!(
        "set {variable} to a whole checkout of the project, or take it away: the program carries \
         these files itself"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureKind;

    /// A checkout with every file that is taken from one.
    fn checkout() -> (tempfile::TempDir, Checkout) {
        let dir = tempfile::tempdir().expect("a directory");
        for module in [&terraform::EC2, &terraform::LIGHTSAIL, &terraform::CLUSTER] {
            let folder = dir.path().join("terraform").join(module.folder);
            fs::create_dir_all(&folder).expect("a folder");
            for file in module.files {
                fs::write(folder.join(file.name), file.text).expect("a file");
            }
        }
        fs::write(dir.path().join(COMPOSE), assets::DOCKER_COMPOSE).expect("a file");
        let checkout = Checkout::new(Some(dir.path().to_owned()));
        (dir, checkout)
    }

    #[test]
    fn what_was_edited_counts_at_the_next_use() {
        let (dir, checkout) = checkout();
        for module in [&terraform::EC2, &terraform::LIGHTSAIL, &terraform::CLUSTER] {
            let carried = Checkout::default().module(module).expect("the program's");
            assert_eq!(checkout.module(module).expect("the checkout's"), carried);
            let path = dir.path().join("terraform").join(module.folder).join("main.tf");
            fs::write(path, "# mine\n").expect("edited");
            let edited = checkout.module(module).expect("the checkout's");
            let differ: Vec<_> =
                edited.iter().zip(&carried).filter(|(one, other)| one != other).collect();
            assert_eq!(differ.len(), 1);
            assert_eq!(*differ[0].0, ("main.tf", "# mine\n".into()));
        }
        assert_eq!(checkout.compose().expect("the checkout's"), assets::DOCKER_COMPOSE);
        fs::write(dir.path().join(COMPOSE), "services: {}\n").expect("edited");
        assert_eq!(checkout.compose().expect("the checkout's"), "services: {}\n");
    }

    #[test]
    fn a_checkout_that_lacks_a_file_is_refused_by_its_name() {
        let (dir, checkout) = checkout();
        let refused = |failure: Failure, words: &str| {
            assert_eq!(failure.kind, FailureKind::BadInput);
            assert!(failure.message.starts_with("PIPELINE_DIR names "), "{failure}");
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.remedy.is_some_and(|it| it.contains("set PIPELINE_DIR to")));
        };
        let script = dir.path().join("terraform/lightsail/user-data.sh");
        fs::remove_file(&script).expect("removed");
        let lacks = || checkout.module(&terraform::LIGHTSAIL).expect_err("a file is missing");
        refused(lacks(), "terraform/lightsail/user-data.sh is missing there");
        fs::create_dir(&script).expect("a directory");
        refused(lacks(), "terraform/lightsail/user-data.sh is no file there");
        fs::remove_dir(&script).expect("removed");
        fs::write(&script, [0xff, 0xfe]).expect("written");
        refused(lacks(), "cannot be read");
        assert!(checkout.module(&terraform::EC2).is_ok(), "the other one is whole");
        fs::remove_file(dir.path().join(COMPOSE)).expect("removed");
        refused(checkout.compose().expect_err("no file"), "docker-compose.yml is missing there");
        let nowhere = Checkout::new(Some(dir.path().join(COMPOSE)));
        refused(nowhere.module(&terraform::EC2).expect_err("nowhere"), "main.tf is missing there");
    }
}
