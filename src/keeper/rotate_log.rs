//! Keeping a gateway's log bounded.
//!
//! The gateway holds the file open and appends, so the file is copied and emptied in place; a
//! line that is written in between is lost, which a log may.

use std::fs::{self, File};
use std::path::Path;

/// The size at which a log is turned over, in bytes.
const BOUND_BYTES: u64 = 10 << 20;

/// Turns the log over when it has grown past the bound: one older part is kept beside it.
pub(super) fn rotate(log: &Path) -> std::io::Result<()> {
    let length = fs::metadata(log)?.len();
    if length < BOUND_BYTES {
        return Ok(());
    }
    fs::copy(log, log.with_extension("log.1"))?;
    File::options().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_past_the_bound_is_emptied_and_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gateway.log");
        let mut log = File::options().create(true).append(true).open(&path).expect("a log");
        log.write_all(&vec![b'x'; usize::try_from(BOUND_BYTES).expect("fits")]).expect("writes");
        rotate(&path).expect("rotates");
        log.write_all(b"after").expect("writes on");
        assert_eq!(fs::read(&path).expect("the log"), b"after");
        assert_eq!(fs::metadata(path.with_extension("log.1")).expect("kept").len(), BOUND_BYTES);
        rotate(&path).expect("nothing to do");
        assert_eq!(fs::read(&path).expect("the log"), b"after");
    }
}
