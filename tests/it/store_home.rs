//! The store's directory: what it refuses to begin in, and what it leaves as it is.

use openclaw_pipeline::domain::{Failure, FailureKind};
use openclaw_pipeline::store::{Store, StoreError};

fn refused(result: Result<Store, StoreError>) -> Failure {
    match result {
        Err(StoreError::Refused(failure)) => failure,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_database_that_is_gone_is_not_replaced_while_anything_is_left_of_it() {
    for part in ["deployments", "backups"] {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("home");
        // A directory that was made for later is nothing.
        std::fs::create_dir_all(home.join(part)).expect("made");
        let path = Store::open(&home).expect("is new").path().to_owned();
        std::fs::create_dir(home.join(part).join("main")).expect("made");
        Store::open(&home).expect("opens");
        for lost in ["gone", "empty"] {
            for file in ["pipeline.db", "pipeline.db-wal", "pipeline.db-shm"] {
                let _ = std::fs::remove_file(home.join(file));
            }
            if lost == "empty" {
                std::fs::write(&path, "").expect("written");
            }
            let failure = refused(Store::open(&home));
            assert!(failure.message.contains("missing or empty"), "{failure}");
            assert!(failure.message.contains(&path.display().to_string()), "{failure}");
            assert!(failure.remedy.is_some_and(|it| it.contains("put back a copy")));
            let left = std::fs::metadata(&path).ok().map(|file| file.len());
            assert_eq!(left, (lost == "empty").then_some(0), "it was touched");
        }
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").expect("writes");
    // Root may write everywhere but where no file system lets it.
    for home in [file.join("home"), "/proc/openclaw-pipeline".into(), "/sys/kernel".into()] {
        let failure = refused(Store::open(&home));
        assert_eq!(failure.kind, FailureKind::Prerequisite, "{failure}");
        assert!(failure.message.contains(&home.display().to_string()), "{failure}");
        assert!(failure.remedy.is_some_and(|it| it.contains("OPENCLAW_PIPELINE_HOME")));
    }
    assert_eq!(std::fs::read(&file).expect("reads"), b"in the way");
}
