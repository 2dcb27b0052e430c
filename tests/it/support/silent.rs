//! Gateways that listen only while they are told to: what proves one is at it until then.
//!
//! Owns the fault that holds them back, and its end. Refuses to say when: that is a test's.

use std::fs;

use super::product::{NEWEST, Product};

/// A product whose gateways do not listen yet.
pub fn silent() -> Product {
    let product = Product::bare();
    let faults = format!("{{listen_after: '{}'}}", product.path("listen").display());
    product.install_faulty(NEWEST, Some(&faults));
    product
}

/// Has them listen.
pub fn let_listen(product: &Product) {
    fs::write(product.path("listen"), "").expect("a file");
}

/// Holds those back that are started from now on.
pub fn hold_back(product: &Product) {
    fs::remove_file(product.path("listen")).expect("they listened");
}
