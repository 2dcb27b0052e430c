//! Sealing of whole files: backup archives of many gigabytes.
//!
//! Owns the format: a magic word, a random nonce, and chunks of 64 KiB, each sealed with its
//! number, whether it is the last (the STREAM construction), the context and the header. Refuses
//! archives that were cut, changed, reordered, lengthened or swapped.

use std::io::{ErrorKind, Read, Write};

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::stream::{
    DecryptorBE32, EncryptorBE32, NewStream, StreamBE32, StreamPrimitive,
};
use zeroize::Zeroizing;

use super::seal::{SealingKey, cannot_open, fill_random};
use crate::domain::Failure;

const MAGIC: &[u8; 8] = b"OCPSEAL1";
/// What STREAM leaves of the cipher's 24 bytes: five are the chunk's number and the last flag.
const NONCE_BYTES: usize = 19;
const HEADER_BYTES: usize = MAGIC.len() + NONCE_BYTES;
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

impl SealingKey {
    /// Seals what a reader gives into a writer, in bounded memory. The number of bytes written.
    pub fn seal_file(
        &self,
        mut reader: impl Read,
        mut writer: impl Write,
        context: &[u8],
    ) -> Result<u64, Failure> {
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        fill_random(&mut header[MAGIC.len()..]);
        let associated = associated(&header, context);
        let mut stream: EncryptorBE32<XChaCha20Poly1305> =
            StreamBE32::from_aead(self.cipher(), header[MAGIC.len()..].into()).encryptor();

        write_all(&mut writer, &header)?;
        let mut written = header.len() as u64;
        let mut chunk = read_chunk(&mut reader, CHUNK_BYTES)?;
        loop {
            // The last chunk is marked as such, so the next is read before this one is sealed.
            let next = read_chunk(&mut reader, CHUNK_BYTES)?;
            if next.is_empty() {
                break;
            }
            stream.encrypt_next_in_place(&associated, &mut *chunk).map_err(|_| too_long())?;
            write_all(&mut writer, &chunk)?;
            written += chunk.len() as u64;
            chunk = next;
        }
        stream.encrypt_last_in_place(&associated, &mut *chunk).map_err(|_| too_long())?;
        write_all(&mut writer, &chunk)?;
        writer.flush().map_err(|error| cannot_write(&error))?;
        Ok(written + chunk.len() as u64)
    }

    /// Opens a sealed file into a writer, in bounded memory. The number of bytes written. After a
    /// failure what was written is to be thrown away: a cut shows at the end only.
    pub fn open_file(
        &self,
        mut reader: impl Read,
        mut writer: impl Write,
        context: &[u8],
    ) -> Result<u64, Failure> {
        let header = read_chunk(&mut reader, HEADER_BYTES)?;
        if header.len() != HEADER_BYTES || !header.starts_with(MAGIC) {
            return Err(Failure::bad_input(
                "the file is no sealed archive of this program, or its beginning is damaged",
            )
            .remedy("name an archive that this program made"));
        }
        let associated = associated(&header, context);
        let mut stream: DecryptorBE32<XChaCha20Poly1305> =
            StreamBE32::from_aead(self.cipher(), header[MAGIC.len()..].into()).decryptor();
        let refused = || cannot_open("the sealed archive").context("damaged, cut or not ours");

        let mut written = 0;
        let mut chunk = read_chunk(&mut reader, CHUNK_BYTES + TAG_BYTES)?;
        loop {
            let next = read_chunk(&mut reader, CHUNK_BYTES + TAG_BYTES)?;
            if next.is_empty() {
                break;
            }
            stream.decrypt_next_in_place(&associated, &mut *chunk).map_err(|_| refused())?;
            write_all(&mut writer, &chunk)?;
            written += chunk.len() as u64;
            chunk = next;
        }
        stream.decrypt_last_in_place(&associated, &mut *chunk).map_err(|_| refused())?;
        write_all(&mut writer, &chunk)?;
        writer.flush().map_err(|error| cannot_write(&error))?;
        Ok(written + chunk.len() as u64)
    }
}

/// A chunk of a file cannot pass for a sealed value, nor for a chunk of another file.
fn associated(header: &[u8], context: &[u8]) -> Vec<u8> {
    [b"openclaw-pipeline file\0".as_slice(), header, context].concat()
}

/// As many bytes as asked for; fewer only at the end.
fn read_chunk(reader: &mut impl Read, size: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Room for the tag, so that sealing in place never moves the plaintext and leaves a copy.
    let mut chunk = Zeroizing::new(Vec::with_capacity(size + TAG_BYTES));
    chunk.resize(size, 0);
    let mut filled = 0;
    while filled < size {
        match reader.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::failed(format!("the archive cannot be read: {error}"))
                    .remedy("check the disk that it stands on, and try again"));
            }
        }
    }
    chunk.truncate(filled);
    Ok(chunk)
}

fn write_all(writer: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    writer.write_all(bytes).map_err(|error| cannot_write(&error))
}

fn cannot_write(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the archive cannot be written: {error}"))
        .remedy("check that the disk has room, and try again")
}

fn too_long() -> Failure {
    Failure::failed("the archive is longer than 256 TiB, which cannot be sealed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED_CHUNK: usize = CHUNK_BYTES + TAG_BYTES;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|i| u8::try_from(i % 251).expect("small")).collect()
    }

    fn sealed(key: &SealingKey, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let written = key.seal_file(plain, &mut out, b"backup/1").expect("sealed");
        assert_eq!(written, out.len() as u64);
        out
    }

    fn opened(key: &SealingKey, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        key.open_file(sealed, &mut out, context).map(|_| out)
    }

    /// Gives one byte at a time, as a pipe may.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let size = buffer.len().min(1).min(self.0.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    #[test]
    fn files_of_every_size_around_a_chunk_come_back() {
        let key = SealingKey::generate();
        for size in [
            0,
            1,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            3 * CHUNK_BYTES,
            3 * CHUNK_BYTES + 7,
        ] {
            let plain = content(size);
            let sealed = sealed(&key, &plain);
            assert_eq!(opened(&key, &sealed, b"backup/1").expect("opened"), plain);
        }
    }

    #[test]
    fn short_reads_make_no_difference() {
        let key = SealingKey::generate();
        let plain = content(CHUNK_BYTES + 10);
        let mut sealed = Vec::new();
        key.seal_file(Dribble(&plain), &mut sealed, b"x").expect("sealed");
        let mut out = Vec::new();
        key.open_file(Dribble(&sealed), &mut out, b"x").expect("opened");
        assert_eq!(out, plain);
    }

    #[test]
    fn every_cut_is_noticed() {
        let key = SealingKey::generate();
        let sealed = sealed(&key, &content(2 * CHUNK_BYTES + 5));
        let cuts = [
            0,
            1,
            HEADER_BYTES - 1,
            HEADER_BYTES,
            HEADER_BYTES + 1,
            HEADER_BYTES + SEALED_CHUNK - 1,
            HEADER_BYTES + SEALED_CHUNK,
            HEADER_BYTES + 2 * SEALED_CHUNK,
            sealed.len() - 1,
        ];
        for cut in cuts {
            assert!(opened(&key, &sealed[..cut], b"backup/1").is_err(), "{cut}");
        }
    }

    #[test]
    fn changed_swapped_and_lengthened_archives_are_refused() {
        let key = SealingKey::generate();
        let good = sealed(&key, &content(2 * CHUNK_BYTES));
        for at in [0, 8, 20, HEADER_BYTES, HEADER_BYTES + SEALED_CHUNK + 3, good.len() - 1] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(opened(&key, &changed, b"backup/1").is_err(), "byte {at}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(opened(&key, &longer, b"backup/1").is_err(), "a byte more");
        let mut reordered = good[..HEADER_BYTES].to_vec();
        reordered.extend_from_slice(&good[HEADER_BYTES + SEALED_CHUNK..]);
        reordered.extend_from_slice(&good[HEADER_BYTES..HEADER_BYTES + SEALED_CHUNK]);
        assert!(opened(&key, &reordered, b"backup/1").is_err(), "reordered");
        assert!(opened(&key, &good, b"backup/2").is_err(), "another context");
        let other = SealingKey::generate();
        assert!(opened(&other, &good, b"backup/1").is_err(), "another key");
    }

    #[test]
    fn something_else_is_told_from_a_damaged_archive() {
        let failure = opened(&SealingKey::generate(), &content(500), b"").expect_err("refused");
        assert!(failure.message.contains("no sealed archive"), "{failure}");
    }
}
