//! A state in an S3 bucket, with the bucket's own locking.
//!
//! Owns how a directory is joined to a bucket, how the state is fetched from there, what a run left
//! beside it is put there, and when a lock that was left is broken. Refuses to break one whose owner
//! is not proven to be gone.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::messages::Diagnostic;
use super::{DATA, INIT_DEADLINE, LOOK_DEADLINE, Run, State, Terraform, Workspace, refusal};
use crate::domain::Failure;
use crate::exec::family;
use crate::secrets::private::create_private_directory;

/// What says where the state is.
const BACKEND: &str = "backend.tf.json";
/// Where Terraform writes down what a directory was joined to.
const JOINED: &str = "terraform.tfstate";

/// Says that a run is under way in a directory. What a killed one leaves of it says that the lock of
/// the state may be that one's: another machine's, however it is called, has left none here.
const UNDER_WAY: &str = "under-way";

/// A run that may take the lock of a state in a bucket.
pub(super) struct UnderWay {
    path: PathBuf,
    /// Whether a run before it was killed.
    follows_killed: bool,
}

impl UnderWay {
    pub(super) fn begin(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(UNDER_WAY);
        let follows_killed = path.exists();
        fs::write(&path, "")?;
        Ok(Self { path, follows_killed })
    }

    /// It has come to its end, and has left no lock. Where it found one, the mark stays.
    pub(super) fn ended(self, errors: &[Diagnostic]) -> Result<(), Failure> {
        let found_lock = errors.iter().any(|it| Lock::of(&it.detail).is_some());
        if !(self.follows_killed && found_lock) {
            fs::remove_file(self.path)?;
        }
        Ok(())
    }
}

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket.
    pub name: String,
    /// The object's key.
    pub key: String,
    /// The bucket's region.
    pub region: String,
}

impl Bucket {
    /// The file that joins a module to it.
    fn backend(&self) -> String {
        let Self { name, key, region } = self;
        let s3 = json!({
            "bucket": name, "key": key, "region": region, "encrypt": true, "use_lockfile": true,
        });
        format!("{:#}\n", json!({ "terraform": { "backend": { "s3": s3 } } }))
    }
}

impl Terraform {
    /// What the state in a bucket holds, and its text; asked in a directory that is there for that.
    pub async fn pull(
        &self,
        bucket: &Bucket,
        dir: &Path,
        run: Run<'_>,
    ) -> Result<(State, String), Failure> {
        self.join(bucket, dir, None, run).await?;
        let mut cmd = self.cmd();
        cmd.args(["state", "pull"]).cwd(dir).deadline(LOOK_DEADLINE * 4);
        cmd.cancel_on(run.cancel).hold(run.lock)?;
        // Longer than output that is kept.
        let read = |mut stdout: fs::File| {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        };
        let (output, text) = cmd.read_by(read).await?;
        if !output.success() {
            return Err(refusal::of_output("terraform state pull", &output));
        }
        let text = text?;
        let state = State::of_text(&text, &format!("s3://{}/{}", bucket.name, bucket.key))?;
        Ok((state, text))
    }

    /// Puts a state there that a run could not write in the end. Terraform itself refuses one that
    /// does not follow what is there.
    pub async fn push(
        &self,
        bucket: &Bucket,
        dir: &Path,
        file: &Path,
        run: Run<'_>,
    ) -> Result<(), Failure> {
        self.join(bucket, dir, None, run).await?;
        let mut cmd = self.cmd();
        cmd.args(["state", "push"]).arg(file).cwd(dir).deadline(LOOK_DEADLINE * 4);
        cmd.cancel_on(run.cancel).hold(run.lock)?;
        let output = cmd.output().await?;
        if output.success() {
            return Ok(());
        }
        Err(refusal::of_output("terraform state push", &output).remedy(format!(
            "{} was left by a run that could not write its state; compare it with what is in the \
             bucket, keep the one that is right there, and move the file away",
            file.display()
        )))
    }

    /// A run's own directory joined to the bucket, with the providers of its module.
    pub(super) async fn enter_bucket(
        &self,
        workspace: Workspace<'_>,
        bucket: &Bucket,
        run: Run<'_>,
    ) -> Result<(), Failure> {
        let left = workspace.dir.join("errored.tfstate");
        self.join(bucket, workspace.dir, Some(workspace.module), run).await?;
        if left.exists() {
            self.push(bucket, workspace.dir, &left, run).await?;
            fs::remove_file(&left)?;
        }
        Ok(())
    }

    async fn join(
        &self,
        bucket: &Bucket,
        dir: &Path,
        module: Option<&Path>,
        run: Run<'_>,
    ) -> Result<(), Failure> {
        create_private_directory(dir)?;
        let (path, text) = (dir.join(BACKEND), bucket.backend());
        let is_joined = dir.join(DATA).join(JOINED).exists()
            && fs::read_to_string(&path).is_ok_and(|it| it == text);
        if is_joined {
            return Ok(());
        }
        fs::write(&path, text)?;
        let mut cmd = self.cmd();
        cmd.args(["init", "-input=false", "-no-color", "-json", "-reconfigure"]).cwd(dir);
        if let Some(module) = module {
            let mut providers = std::ffi::OsString::from("-plugin-dir=");
            providers.push(module.join(DATA).join("providers"));
            cmd.arg(providers);
        }
        cmd.deadline(INIT_DEADLINE).cancel_on(run.cancel).hold(run.lock)?;
        let output = cmd.output().await?;
        if output.success() {
            return Ok(());
        }
        // What is half joined is joined anew.
        let _ = fs::remove_file(path);
        Err(refusal::of_backend(&output, &format!("s3://{}/{}", bucket.name, bucket.key)))
    }

    /// Takes a lock away that a run of this deployment was killed with, and whose owner is gone for
    /// certain: whoever calls holds the deployment's lock, which every run of it inherits, and no
    /// other Terraform of this machine works on the same object. Says whether it did.
    pub(super) async fn break_lock(
        &self,
        bucket: &Bucket,
        dir: &Path,
        under_way: &UnderWay,
        errors: &[Diagnostic],
        run: Run<'_>,
    ) -> Result<bool, Failure> {
        let Some(lock) = errors.iter().find_map(|it| Lock::of(&it.detail)) else {
            return Ok(false);
        };
        let is_here = rustix::system::uname().nodename().to_string_lossy() == lock.host;
        if !(is_here && under_way.follows_killed) || self.is_at_work_on(bucket)? {
            return Ok(false);
        }
        let mut cmd = self.cmd();
        cmd.args(["force-unlock", "-force", &lock.id]).cwd(dir).deadline(LOOK_DEADLINE * 4);
        cmd.cancel_on(run.cancel).hold(run.lock)?;
        Ok(cmd.output().await?.success())
    }

    /// Whether a Terraform of this machine works on an object.
    fn is_at_work_on(&self, bucket: &Bucket) -> Result<bool, Failure> {
        let program = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy();
        let runs = family::running(&[&program, "terraform", "tofu"], "TF_DATA_DIR")?;
        Ok(runs.into_iter().any(|(dir, data)| {
            let data = dir.join(data.unwrap_or_else(|| DATA.into()));
            // One that is joined to nothing holds no such lock.
            let joined = fs::read_to_string(data.join(JOINED)).unwrap_or_default();
            joined.contains(&format!("{:?}", bucket.key))
        }))
    }
}

/// What Terraform says of a lock that it did not get.
#[derive(Debug, PartialEq, Eq)]
struct Lock {
    id: String,
    host: String,
}

impl Lock {
    fn of(detail: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = detail.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(name).map(|it| it.trim().to_owned()))
        };
        let id = value("ID:")?;
        let is_id = id.len() == 36 && id.chars().all(|it| it.is_ascii_hexdigit() || it == '-');
        let host = value("Who:")?.rsplit_once('@')?.1.to_owned();
        is_id.then_some(Self { id, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_lock_is_stands_in_the_refusal() {
        let detail = "Error message: operation error S3: PutObject\nLock Info:\n  \
                      ID:        9db590f1-b6fe-c5f2-2678-8804f089deba\n  Path:      b/k\n  \
                      Operation: OperationTypeApply\n  Who:       root@box.example\n  \
                      Version:   1.13.4\n";
        let lock = Lock::of(detail).expect("a lock");
        assert_eq!(lock.id, "9db590f1-b6fe-c5f2-2678-8804f089deba");
        assert_eq!(lock.host, "box.example");
        assert_eq!(Lock::of(&detail.replace("9db590f1", "-force x")), None);
        assert_eq!(Lock::of("no lock"), None);
    }
}
