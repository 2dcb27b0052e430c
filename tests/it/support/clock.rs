//! A wall clock that a test steps, of the programs that it starts with it: a library that stands before the
//! C library's adds so many seconds to the time of day.
//!
//! Owns the library and the step. Refuses to touch the machine's own clock, and any clock of a program's but
//! the time of day.

use std::path::PathBuf;

use super::lab::command;
use super::product::Product;

/// What stands before the C library.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long step(void) {
    const char *path = getenv("CLOCK_STEP");
    FILE *file = path ? fopen(path, "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, time);
    if (done == 0 && clock == CLOCK_REALTIME) time->tv_sec += step();
    return done;
}
"#;

/// The clock.
pub struct Clock {
    dir: tempfile::TempDir,
}

impl Clock {
    /// The one of this product's commands from now on, as the machine's.
    pub fn of(product: &mut Product) -> Self {
        let clock = Self { dir: tempfile::tempdir().expect("a directory") };
        let (source, library) = (clock.path("clock.c"), clock.path("clock.so"));
        std::fs::write(&source, LIBRARY).expect("written");
        let mut cc = command("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = cc.output().expect("run cc");
        assert!(output.status.success(), "{output:?}");
        clock.is_ahead(0);
        product.set("LD_PRELOAD", library).set("CLOCK_STEP", clock.path("step"));
        clock
    }

    /// Steps it to so many seconds ahead of the machine's.
    pub fn is_ahead(&self, seconds: i64) {
        let next = self.path("next");
        std::fs::write(&next, seconds.to_string()).expect("written");
        std::fs::rename(next, self.path("step")).expect("in its place");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
