//! What protects the data: backups that can be put back, and gateways that are not stopped for
//! nothing.

use std::fs;
use std::path::PathBuf;

use crate::support::product::Product;

/// The file of the newest backup.
fn newest(product: &Product) -> PathBuf {
    let backups = product.json(["backups", "main"]);
    backups["items"][0]["path"].as_str().expect("a path").into()
}

#[test]
fn a_backup_that_cannot_be_put_back_stops_nothing() {
    let product = Product::new();
    product.launch();
    product.run(["backup"]).ok();
    let gateway = product.gateway("main");
    let path = newest(&product);
    let whole = fs::read(&path).expect("it is there");

    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).expect("written");
    product.run(["restore"]).code(1).says("step choose: the backup");
    fs::remove_file(&path).expect("removed");
    product.run(["restore"]).code(3).says("cannot be read").says("backups lists them");
    assert_eq!(product.gateway("main"), gateway, "it was never stopped");
    product.assert_one_gateway("main");

    fs::write(&path, &whole).expect("written");
    product.run(["restore"]).ok();
    product.assert_one_gateway("main");
}

#[test]
fn what_a_restore_replaces_is_backed_up_first() {
    let product = Product::new();
    product.launch();
    let memory = product.state("main").join("memory.md");
    fs::write(&memory, "first").expect("written");
    product.run(["backup"]).ok();
    fs::write(&memory, "second").expect("written");
    product.run(["restore"]).ok();
    assert_eq!(fs::read_to_string(&memory).expect("there"), "first");

    // Without an id it is the backup that was asked for again, not what the restore saved.
    product.run(["restore"]).ok();
    assert_eq!(fs::read_to_string(&memory).expect("there"), "first");
    let backups = product.json(["backups", "main"]);
    let saved = backups["items"].as_array().expect("a list");
    let saved = saved.iter().rfind(|it| it["reason"] == "restore").expect("the first save");
    product.run(["restore", "--backup", saved["id"].as_str().expect("an id")]).ok();
    assert_eq!(fs::read_to_string(&memory).expect("there"), "second");
}

#[test]
fn a_backup_can_be_deleted_unless_it_may_be_needed() {
    let product = Product::new();
    product.launch();
    product.run(["backup"]).ok();
    let (path, id) = (newest(&product), product.json(["backups"])["items"][0]["id"].clone());
    let id = id.as_str().expect("an id").to_owned();
    product.run(["backups", "--delete", "../../pipeline.db"]).code(3).says("backups main lists");
    product.run(["backups", "--delete", &id]).ok().answers(&id);
    assert!(!path.exists());
    product.run(["backups", "--delete", &id]).code(3);
    assert_eq!(product.json(["backups"])["items"], serde_json::json!([]));
}

#[test]
fn files_that_no_backup_is_are_swept() {
    let product = Product::new();
    product.launch();
    product.run(["backup"]).ok();
    let kept = newest(&product);
    let dir = kept.parent().expect("a directory");
    for name in ["x.1.sealed", "x.1.partial", "unsealed-x"] {
        fs::create_dir_all(dir).expect("there");
        match name {
            "unsealed-x" => fs::create_dir(dir.join(name)).expect("made"),
            _ => fs::write(dir.join(name), "left by a killed one").expect("written"),
        }
    }
    product.run(["restart"]).ok();
    let left: Vec<PathBuf> =
        fs::read_dir(dir).expect("there").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(left, [kept]);
}
