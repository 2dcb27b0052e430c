//! Medians, percentiles, and how they are printed.

use std::time::Duration;

/// Samples of one thing.
#[derive(Debug)]
pub struct Samples(pub Vec<Duration>);

impl Samples {
    /// The value below which so many of a hundred samples lie.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank).copied().unwrap_or_default()
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// In a line.
    pub fn line(&self, what: &str) -> String {
        format!(
            "  {what:<34} n={:<4} median {:>9.1} ms   p99 {:>9.1} ms   min {:>9.1}   max {:>9.1}",
            self.0.len(),
            ms(self.median()),
            ms(self.percentile(99)),
            ms(self.percentile(0)),
            ms(self.percentile(100)),
        )
    }
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
