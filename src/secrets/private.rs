//! Files that hold a secret.
//!
//! Owns how such a file comes to be and how it is read. Refuses to let one be readable by anyone
//! else for an instant, to leave half of one behind, and to use a key that others could have
//! read.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::envfile::MAX_BYTES;
use crate::domain::Failure;

/// Writes a file that only its owner can read: whole or not at all, and durably.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let temporary = staged(path, bytes)?;
    temporary.persist(path).map_err(|error| cannot_write(path, &error.error))?;
    sync_directory(path)
}

/// Like [`write_private`], but leaves a file that is there already alone. Whether it was written.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<bool, Failure> {
    let temporary = staged(path, bytes)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => sync_directory(path).map(|()| true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(cannot_write(path, &error.error)),
    }
}

/// Makes a directory that only its owner can enter, and its parents. What exists keeps its mode:
/// it may be `/etc`.
pub fn create_private_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Failure::failed(format!("the directory {} cannot be made: {error}", path.display()))
            .remedy("check who owns the directory above it, or name another place")
    })
}

/// The content of a file that only its owner can read. Anything else is refused: what others
/// could read is no longer a secret, and what others could write is not ours.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(format!("{shown} does not exist"))
            .remedy(format!("restore {shown}, or name the right file")),
        _ => Failure::failed(format!("{shown} cannot be read: {error}"))
            .remedy(format!("check who owns {shown}, and run as that user")),
    };
    let file = File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that nobody can swap it in between.
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Failure::bad_input(format!("{shown} is not a regular file"))
            .remedy("name a regular file"));
    }
    let own_group = rustix::process::getegid().as_raw();
    let is_handed =
        is_credential(&metadata) || is_own_groups(&metadata, own_group) && is_mounted_secret(&file);
    if metadata.mode() & 0o077 != 0 && !is_handed {
        return Err(Failure::bad_input(format!(
            "{shown} holds a secret, and other users can read or change it (mode {:04o})",
            metadata.mode() & 0o7777
        ))
        .remedy(format!("run: chmod 600 {shown}")));
    }
    let user = rustix::process::geteuid().as_raw();
    if user != 0 && metadata.uid() != user && metadata.uid() != 0 {
        return Err(Failure::bad_input(format!("{shown} belongs to another user"))
            .remedy(format!("run as the owner of {shown}, or name a file of your own")));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(Failure::bad_input(format!("{shown} is larger than 1 MiB"))
            .remedy("check that it is the right file"));
    }
    Ok(bytes)
}

/// Whether systemd made this file to hand a service a credential: root's own, whom an access list
/// lets one user read. The list shows in the group's bits, and the group is root's.
fn is_credential(metadata: &Metadata) -> bool {
    metadata.mode() & 0o777 == 0o440 && metadata.uid() == 0 && metadata.gid() == 0
}

/// Whether it is root's, and nobody but this process's own group may read it.
fn is_own_groups(metadata: &Metadata, own_group: u32) -> bool {
    metadata.mode() & 0o777 == 0o440 && metadata.uid() == 0 && metadata.gid() == own_group
}

/// Whether it lies where Kubernetes puts a secret for a pod: in memory, and mounted for reading alone.
/// Only root makes such a mount, and gives what is in it to the pod's group in no other mode.
fn is_mounted_secret(file: &File) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    let in_memory = rustix::fs::fstatfs(file).is_ok_and(|it| it.f_type & 0xffff_ffff == TMPFS);
    in_memory
        && rustix::fs::fstatvfs(file)
            .is_ok_and(|it| it.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// How the temporary files begin. They may stand in a directory of the user's.
const TEMPORARY: &str = ".openclaw-pipeline-private-";
/// An unfinished file of this age is nobody's: writing one takes moments.
const ABANDONED: Duration = Duration::from_secs(600);

/// Removes what writers that were killed have left: it holds secrets.
fn sweep(directory: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let abandoned = entry.metadata().is_ok_and(|file| {
            let age = file.modified().ok().and_then(|at| at.elapsed().ok());
            file.is_file() && file.uid() == user && age.is_some_and(|age| age > ABANDONED)
        });
        if abandoned {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The bytes in a temporary file beside the final one, 0600 from its first instant, and synced.
fn staged(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Failure> {
    let fail = |error: std::io::Error| cannot_write(path, &error);
    sweep(directory_of(path));
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory_of(path))
        .map_err(fail)?;
    temporary.write_all(bytes).map_err(fail)?;
    temporary.as_file().sync_all().map_err(fail)?;
    Ok(temporary)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A rename is durable once its directory is.
fn sync_directory(path: &Path) -> Result<(), Failure> {
    File::open(directory_of(path))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {error}", path.display())).remedy(format!(
        "check that {} exists, that you may write there, and that the disk has room",
        directory_of(path).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureKind;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("metadata").mode() & 0o7777
    }

    #[test]
    fn what_is_written_is_private_and_replaces_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, "open to all").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        write_private(&path, b"new").expect("written");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(*read_private(&path).expect("read"), b"new");
        let left: Vec<_> = std::fs::read_dir(directory.path()).expect("listed").collect();
        assert_eq!(left.len(), 1, "nothing temporary stays");
    }

    #[test]
    fn what_a_killed_writer_left_goes_with_the_next_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let [left, fresh, theirs] = ["left", "fresh", ""].map(|name| {
            let prefix = if name.is_empty() { ".something-else" } else { TEMPORARY };
            let path = directory.path().join(format!("{prefix}{name}"));
            std::fs::write(&path, "half a sec").expect("written");
            path
        });
        let old = std::time::SystemTime::now() - 2 * ABANDONED;
        for path in [&left, &theirs] {
            File::options()
                .write(true)
                .open(path)
                .expect("opens")
                .set_modified(old)
                .expect("a time");
        }
        write_private(&directory.path().join("secret"), b"new").expect("written");
        assert!(!left.exists(), "it is still there");
        assert!(fresh.exists(), "another one writes it now");
        assert!(theirs.exists(), "it is not ours");
    }

    #[test]
    fn creating_leaves_an_existing_file_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        assert!(create_private(&path, b"one").expect("created"));
        assert!(!create_private(&path, b"two").expect("left alone"));
        assert_eq!(*read_private(&path).expect("read"), b"one");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        std::fs::write(&path, "x").expect("written");
        for bits in [0o640, 0o604, 0o620, 0o644, 0o610] {
            std::fs::set_permissions(&path, Permissions::from_mode(bits)).expect("mode");
            let failure = read_private(&path).expect_err("refused");
            assert!(failure.remedy.expect("a remedy").contains("chmod 600"));
        }
        for bits in [0o600, 0o400] {
            std::fs::set_permissions(&path, Permissions::from_mode(bits)).expect("mode");
            assert!(read_private(&path).is_ok(), "{bits:o}");
        }
    }

    #[test]
    fn a_credential_of_systemds_is_read_and_nothing_else_of_that_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("credential");
        std::fs::write(&path, "secret").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o440)).expect("mode");
        let root = rustix::process::geteuid().is_root();
        assert_eq!(read_private(&path).is_ok(), root);
        if root {
            std::os::unix::fs::chown(&path, None, Some(1)).expect("another group");
            assert!(read_private(&path).is_err());
        }
    }

    #[test]
    fn a_file_of_ones_own_group_is_no_secret_of_a_pods_where_anybody_could_have_put_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        std::fs::write(&path, "secret").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o440)).expect("mode");
        let file = File::open(&path).expect("opens");
        assert!(!is_mounted_secret(&file), "it can be written to");
        let metadata = file.metadata().expect("metadata");
        let of_root = metadata.uid() == 0;
        assert_eq!(is_own_groups(&metadata, metadata.gid()), of_root);
        assert!(!is_own_groups(&metadata, metadata.gid() + 1), "another group's");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("mode");
        let metadata = path.metadata().expect("metadata");
        assert!(!is_own_groups(&metadata, metadata.gid()), "its owner writes it");
    }

    #[test]
    fn absent_files_and_directories_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let absent = directory.path().join("a/b");
        let failure = read_private(&absent).expect_err("absent");
        assert_eq!(failure.kind, FailureKind::NotFound);
        let failure = write_private(&absent, b"x").expect_err("no directory");
        assert!(failure.message.contains("a/b"), "{failure}");
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).expect("mode");
        let failure = read_private(directory.path()).expect_err("a directory");
        assert_eq!(failure.kind, FailureKind::BadInput);
    }

    #[test]
    fn directories_are_made_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = directory.path().join("x/y");
        create_private_directory(&made).expect("made");
        assert_eq!(mode(&made), 0o700);
        assert_eq!(mode(&directory.path().join("x")), 0o700);
        create_private_directory(&made).expect("made again");
    }
}
