//! A program that is shipped to a machine: what it is, before anything is made for it.
//!
//! Owns the look at its file: for which machines it is, whether it stands alone, its digest. Refuses
//! what could not run there.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::Failure;
use crate::drivers::aws::sizes::Architecture;

/// What a segment that names a loader is called in a program's header.
const INTERPRETER: u32 = 3;
/// How many segments a program may have: a dozen is usual.
const SEGMENTS: u16 = 256;

/// A file that is a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Where it lies here.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The machines that it is for, as `uname -m` says it.
    pub machine: String,
    /// Whether it needs no loader and no library of the machine's.
    pub stands_alone: bool,
}

/// What is wrong with a file.
fn none(path: &Path, why: &str) -> Failure {
    Failure::bad_input(format!("{} {why}", path.display()))
}

impl Program {
    /// Looks at a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let path = path.canonicalize().map_err(|error| none(path, &cannot(&error)))?;
        let mut file = File::open(&path).map_err(|error| none(&path, &cannot(&error)))?;
        let header = Header::read(&mut file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                none(&path, "is no 64-bit program for Linux")
            }
            _ => none(&path, &cannot(&error)),
        })?;
        file.seek(SeekFrom::Start(0))?;
        let mut digest = Sha256::new();
        let bytes = io::copy(&mut file, &mut digest)?;
        let sha256 = format!("{:x}", digest.finalize());
        let Header { machine, stands_alone } = header;
        Ok(Self { path, sha256, bytes, machine: machine.to_owned(), stands_alone })
    }

    /// Refuses one that was replaced since it was looked at.
    pub fn unchanged(&self) -> Result<(), Failure> {
        if Self::read(&self.path)?.sha256 == self.sha256 {
            return Ok(());
        }
        Err(Failure::conflict(format!("{} is another program by now", self.path.display()))
            .remedy("give this up (openclaw-pipeline operations cancel ID), and deploy again"))
    }

    /// Refuses one that a machine of this architecture cannot run.
    pub fn fits(&self, architecture: Architecture) -> Result<(), Failure> {
        let machine = match architecture {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        };
        if self.machine == machine {
            return Ok(());
        }
        Err(none(
            &self.path,
            &format!("is for {} machines, and the machine's size makes it {machine}", self.machine),
        ))
    }

    /// Refuses one that needs a loader, or libraries of the machine's.
    pub fn alone(&self) -> Result<(), Failure> {
        if self.stands_alone {
            return Ok(());
        }
        Err(none(&self.path, "is linked with libraries of this machine"))
    }
}

fn cannot(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// What is read of a program's header.
struct Header {
    machine: &'static str,
    stands_alone: bool,
}

impl Header {
    fn read(file: &mut File) -> io::Result<Self> {
        let mut head = [0; 64];
        file.read_exact(&mut head)?;
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        // 64 bits, little-endian, a program.
        let kinds = [2, 3];
        let is_one = head.starts_with(b"\x7fELF\x02\x01") && kinds.contains(&half(16));
        let machine = match half(18) {
            62 => "x86_64",
            183 => "aarch64",
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let (size, count) = (half(54), half(56));
        if !is_one || size < 56 || !(1..=SEGMENTS).contains(&count) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut start = [0; 8];
        start.copy_from_slice(&head[32..40]);
        file.seek(SeekFrom::Start(u64::from_le_bytes(start)))?;
        let mut table = vec![0; usize::from(size) * usize::from(count)];
        file.read_exact(&mut table)?;
        let names_loader = table
            .chunks_exact(usize::from(size))
            .any(|segment| segment.starts_with(&INTERPRETER.to_le_bytes()));
        Ok(Self { machine, stands_alone: !names_loader })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a program with one segment.
    fn program(machine: u16, segment: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 3;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&segment.to_le_bytes());
        file
    }

    fn read(bytes: &[u8]) -> Result<Program, Failure> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        Program::read(file.path())
    }

    #[test]
    fn a_program_says_for_which_machine_it_is_and_whether_it_stands_alone() {
        let alone = read(&program(62, 1)).expect("a program");
        assert_eq!((alone.machine.as_str(), alone.bytes, alone.sha256.len()), ("x86_64", 120, 64));
        alone.alone().expect("it does");
        alone.fits(Architecture::X86_64).expect("it does");
        assert!(alone.fits(Architecture::Arm64).is_err());
        let linked = read(&program(183, INTERPRETER)).expect("a program");
        linked.fits(Architecture::Arm64).expect("it does");
        assert!(linked.alone().is_err());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let whole = program(62, 1);
        for bytes in
            [&b"#!/bin/sh\nexec terraform \"$@\"\n"[..], b"", &whole[..100], &program(40, 1)]
        {
            let failure = read(bytes).expect_err("none");
            assert!(failure.message.contains("no 64-bit program"), "{failure}");
        }
        let failure = Program::read(Path::new("/nowhere/at-all")).expect_err("nothing there");
        assert!(failure.message.contains("cannot be read"), "{failure}");
    }

    #[test]
    fn one_that_was_replaced_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), program(62, 1)).expect("written");
        let known = Program::read(file.path()).expect("a program");
        known.unchanged().expect("the same");
        std::fs::write(file.path(), program(62, 2)).expect("written");
        assert!(known.unchanged().is_err());
    }
}
