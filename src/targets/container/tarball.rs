//! One file at a time through `docker cp`, as a tar stream.
//!
//! What comes out of a container is the gateway's, which may have put a link, a device or a pipe
//! in a file's place: `docker cp` would make the same of it on this machine. So a stream is read
//! here, never unpacked, and anything but one regular file of a bounded size is refused.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};

use super::engine::failure;
use crate::domain::Failure;
use crate::exec::Cmd;

/// The user that the gateway runs as.
const NODE_UID: u64 = 1000;
/// What tar counts in, in bytes.
const BLOCK: u64 = 512;
/// What it may be written in, in bytes.
const RECORD: u64 = 64 << 10;

/// Why a stream gives no file.
#[derive(Debug)]
enum Refused {
    /// It holds something else; in words.
    Content(String),
    /// It broke off.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs a `docker container cp FROM -` and writes the file that it yields. `None` where there is
/// no such file.
pub(super) async fn take_out<W: Write + Send + 'static>(
    cmd: &mut Cmd,
    bound_bytes: u64,
    mut into: W,
) -> Result<Option<W>, Failure> {
    let read = move |stdout: File| one_file(stdout, bound_bytes, &mut into).map(|()| into);
    let (output, taken) = cmd.read_by(read).await?;
    let said = output.stderr.to_lowercase();
    match taken {
        Err(Refused::Content(what)) => Err(Failure::failed(what)),
        _ if said.contains("could not find the file") || said.contains("no such file") => Ok(None),
        _ if !output.success() => Err(failure(&output)),
        Ok(into) => Ok(Some(into)),
        Err(Refused::Io(error)) => Err(error.into()),
    }
}

/// Writes the one regular file of a tar stream.
fn one_file(mut stream: impl Read, bound_bytes: u64, into: &mut impl Write) -> Result<(), Refused> {
    let mut archive = tar::Archive::new(&mut stream);
    let mut entries = archive.entries()?;
    let mut entry =
        entries.next().ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)??;
    let kind = entry.header().entry_type();
    if kind != tar::EntryType::Regular {
        let kind = match kind {
            tar::EntryType::Symlink => "a symbolic link",
            tar::EntryType::Link => "a hard link",
            tar::EntryType::Directory => "a directory",
            tar::EntryType::Fifo => "a pipe",
            tar::EntryType::Char | tar::EntryType::Block => "a device",
            _ => "something else",
        };
        return Err(Refused::Content(format!("it is {kind} and no regular file")));
    }
    let size = entry.size();
    if size > bound_bytes {
        return Err(Refused::Content(format!(
            "it has {size} bytes; at most {bound_bytes} are taken"
        )));
    }
    let copied = io::copy(&mut entry, into)?;
    if copied != size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    into.flush()?;
    match entries.next() {
        None => {}
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(_)) => return Err(Refused::Content("there is more than one file".into())),
    }
    // A writer that may fill its last record with zeros must not find the pipe closed.
    io::copy(&mut stream.take(RECORD), &mut io::sink())?;
    Ok(())
}

/// One file as a tar stream, for the container's own user alone.
pub(super) fn of_file(
    name: &str,
    size: u64,
    content: impl Read + Send + Sync + 'static,
) -> io::Result<impl Read + Send + Sync + 'static> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_uid(NODE_UID);
    header.set_gid(NODE_UID);
    header.set_mtime(now.map_or(0, |since| since.as_secs()));
    header.set_cksum();
    // Two empty blocks end a tar.
    let padding = (BLOCK - size % BLOCK) % BLOCK + 2 * BLOCK;
    let head = Cursor::new(header.as_bytes().to_vec());
    Ok(head.chain(content.take(size)).chain(io::repeat(0).take(padding)))
}

/// Small texts as a tar, for their owner alone.
pub(super) fn of_texts(files: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, text.as_bytes())?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name("/etc/passwd").expect("a link");
        }
        builder.append_data(&mut header, "openclaw.json", content).expect("appends");
    }

    fn refusal(stream: &[u8], bound_bytes: u64) -> String {
        match one_file(stream, bound_bytes, &mut Vec::new()).expect_err("is refused") {
            Refused::Content(what) => what,
            Refused::Io(error) => format!("broke off: {error}"),
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        for (kind, said) in [
            (tar::EntryType::Symlink, "a symbolic link"),
            (tar::EntryType::Link, "a hard link"),
            (tar::EntryType::Fifo, "a pipe"),
            (tar::EntryType::Char, "a device"),
            (tar::EntryType::Directory, "a directory"),
            (tar::EntryType::Continuous, "something else"),
        ] {
            let mut builder = tar::Builder::new(Vec::new());
            entry(&mut builder, kind, b"");
            let stream = builder.into_inner().expect("a stream");
            assert!(refusal(&stream, 100).contains(said), "{kind:?}");
        }
    }

    #[test]
    fn two_files_and_one_that_is_too_big_are_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        entry(&mut builder, tar::EntryType::Regular, b"0123456789");
        entry(&mut builder, tar::EntryType::Regular, b"x");
        let stream = builder.into_inner().expect("a stream");
        assert!(refusal(&stream, 10).contains("more than one"));
        assert!(refusal(&stream, 9).contains("at most 9"));
        assert!(refusal(&stream[..515], 10).contains("broke off"));
        assert!(refusal(&[], 10).contains("broke off"));
    }

    #[test]
    fn a_file_comes_through_as_it_is() {
        for size in [0u32, 1, 511, 512, 513, 100_000] {
            let content: Vec<u8> = (0..size).map(|n| n.to_le_bytes()[0]).collect();
            let stream = of_file("archive.tar.gz", size.into(), Cursor::new(content.clone()));
            let mut bytes = Vec::new();
            one_file(stream.expect("packs"), 100_000, &mut bytes).expect("unpacks");
            assert_eq!(bytes, content, "{size}");
        }
    }
}
