//! The data directory: whose it is, where it lies, and whether it has lost its database.
//!
//! Owns what has to be true before anything is opened in it. Refuses a directory that others own
//! or can write to, a network file system, and one whose deployments are there and whose database
//! is not: a new one in its place would have forgotten them all.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, StatFs};

use super::{Result, StoreError};
use crate::domain::Failure;

/// Makes the directory when it is not there, for its user alone, and checks it.
pub(super) fn prepare(home: &Path, database: &Path) -> Result<()> {
    let unusable = |error: io::Error| unusable(home, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(unusable)?;
    rustix::fs::access(home, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| unusable(error.into()))?;
    let found = fs::metadata(home).map_err(unusable)?;
    let user = rustix::process::geteuid().as_raw();
    refuse_others(home, (found.uid(), found.mode()), user)?;
    refuse_network_file_system(home)?;
    if fs::read_dir(home).map_err(unusable)?.next().is_none() {
        // Somebody made it for us. One with something in it may be `/etc`.
        let _ = fs::set_permissions(home, Permissions::from_mode(0o700));
    }
    refuse_lost_database(home, database)
}

pub(super) fn unusable(home: &Path, error: &io::Error) -> StoreError {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        _ => error.to_string(),
    };
    refusal(home, &format!("cannot be used: {reason}"))
        .remedy("name a writable directory in OPENCLAW_PIPELINE_HOME")
        .into()
}

fn refusal(home: &Path, why: &str) -> Failure {
    Failure::prerequisite(format!("the data directory {} {why}", home.display()))
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// Whoever can write to it decides what this program starts.
fn refuse_others(home: &Path, (owner, mode): (u32, u32), user: u32) -> Result<()> {
    let shown = home.display();
    if owner != user {
        return Err(refusal(
            home,
            &format!("belongs to another user (its owner is {owner}, you are {user})"),
        )
        .remedy(format!(
            "run as its owner, give it to yourself (chown -R {user} {shown}), or name another \
             OPENCLAW_PIPELINE_HOME"
        ))
        .into());
    }
    if mode & 0o022 != 0 {
        return Err(refusal(
            home,
            &format!("can be written to by other users (mode {:04o})", mode & 0o7777),
        )
        .remedy(format!("run: chmod 700 {shown}; or name another OPENCLAW_PIPELINE_HOME"))
        .into());
    }
    Ok(())
}

/// A database that is gone or empty beside deployments or backups was lost: whoever went on
/// without it would have forgotten gateways that still run, and the key to every backup.
fn refuse_lost_database(home: &Path, database: &Path) -> Result<()> {
    if fs::metadata(database).is_ok_and(|file| file.len() > 0) {
        return Ok(());
    }
    let holds = |part: &&&str| {
        fs::read_dir(home.join(**part)).is_ok_and(|mut entries| entries.next().is_some())
    };
    let Some(part) = ["deployments", "backups"].iter().find(holds) else { return Ok(()) };
    Err(Failure::failed(format!(
        "the state database {} is missing or empty, but {} holds something: nothing was begun in \
         its place",
        database.display(),
        home.join(part).display()
    ))
    .remedy(format!(
        "put back a copy of it; to begin anew, end the gateways that still run, and move \
         deployments and backups out of {}",
        home.display()
    ))
    .into())
}

/// Locks do not hold on network file systems, and everything here rests on them.
fn refuse_network_file_system(home: &Path) -> Result<()> {
    let real = fs::canonicalize(home).map_err(|error| unusable(home, &error))?;
    let stat = rustix::fs::statfs(&real).map_err(|error| unusable(home, &error.into()))?;
    let device = fs::metadata(&real).map_err(|error| unusable(home, &error))?.dev();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(name) = network_file_system(&stat, device, mounts) else { return Ok(()) };
    Err(refusal(
        home,
        &format!("lies on {name}, a network file system, on which locks do not hold"),
    )
    .remedy("name a directory on a local disk in OPENCLAW_PIPELINE_HOME")
    .into())
}

fn network_file_system(
    stat: &StatFs,
    device: u64,
    mounts: impl FnOnce() -> String,
) -> Option<String> {
    const NETWORK: [(i64, &str); 16] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xfe53_4d42, "SMB2"),
        (0xff53_4d42, "CIFS"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x7461_636f, "OCFS2"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x0116_1970, "GFS2"),
        (0x786f_4256, "vboxsf"),
        (0x1983_0326, "BeeGFS"),
        (0x564c, "NCP"),
    ];
    /// One number for whatever a program makes a file system of.
    const FUSE: i64 = 0x6573_5546;
    let kind = stat.f_type & 0xffff_ffff;
    if kind == FUSE {
        return network_fuse(&mounts(), device);
    }
    NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| (*name).to_owned())
}

/// The kind of a FUSE file system that stands for something far away, by the mount table.
fn network_fuse(mounts: &str, device: u64) -> Option<String> {
    const FAR: [&str; 15] = [
        "beegfs",
        "ceph",
        "curlftpfs",
        "davfs",
        "gcsfuse",
        "gluster",
        "goofys",
        "grpcfuse",
        "juicefs",
        "mfs",
        "rclone",
        "s3fs",
        "seaweedfs",
        "sshfs",
        "vmhgfs",
    ];
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // 36 35 98:0 /root /mount-point options [optional fields] - KIND source options
    let of_it = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let kind = of_it.split_once(" - ")?.1.split(' ').next()?;
    let name = kind.strip_prefix("fuse.")?;
    FAR.iter().any(|far| name.contains(far)).then(|| crate::domain::text::clean(kind, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<()>) -> Failure {
        match result {
            Err(StoreError::Refused(failure)) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn only_ones_own_directory_that_nobody_else_writes_to_will_do() {
        let home = Path::new("/data");
        for mode in [0o40700, 0o40750, 0o40755, 0o40711] {
            refuse_others(home, (1000, mode), 1000).expect("is ours");
        }
        for mode in [0o40770, 0o40775, 0o40702, 0o41777] {
            let failure = refused(refuse_others(home, (1000, mode), 1000));
            assert!(failure.message.contains("can be written to by other users"), "{failure}");
            assert!(failure.remedy.is_some_and(|it| it.contains("chmod 700 /data")));
        }
        for (owner, user) in [(1001, 1000), (0, 1000), (1000, 0)] {
            let failure = refused(refuse_others(home, (owner, 0o40700), user));
            assert!(failure.message.contains("belongs to another user"), "{failure}");
            assert!(failure.remedy.is_some_and(|it| it.contains("chown")));
        }
    }

    #[test]
    fn an_empty_directory_becomes_private_and_a_used_one_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o7777;
        for (used, expected) in [(false, 0o700), (true, 0o755)] {
            let home = dir.path().join(used.to_string());
            fs::create_dir(&home).expect("made");
            fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("a mode");
            if used {
                fs::write(home.join("theirs"), "").expect("written");
            }
            prepare(&home, &home.join("db")).expect("will do");
            assert_eq!(mode(&home), expected);
        }
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a mode");
        refused(prepare(&open, &open.join("db")));
        assert_eq!(mode(&open), 0o777, "it was left as it is");
    }

    #[test]
    fn network_file_systems_behind_fuse_are_known_by_the_mount_table() {
        let mounts = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
60 22 0:52 / /mnt/far rw,nosuid shared:30 master:2 - fuse.sshfs host:/x rw,user_id=0
61 22 0:53 / /mnt/disk rw - fuseblk /dev/sdb1 rw
62 22 0:54 / /mnt/local rw - fuse.mergerfs a:b rw
63 22 0:55 / /mnt/gluster rw - fuse.glusterfs host:/v rw
64 22 0:56 / /mnt/bucket rw - fuse.s3fs bucket rw";
        let kind = |minor| network_fuse(mounts, rustix::fs::makedev(0, minor));
        assert_eq!(kind(52).as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind(55).as_deref(), Some("fuse.glusterfs"));
        assert_eq!(kind(56).as_deref(), Some("fuse.s3fs"));
        for minor in [53, 54, 57] {
            assert_eq!(kind(minor), None);
        }
    }
}
