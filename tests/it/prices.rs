//! The table of prices that is shipped.
//!
//! Owns what holds of the table itself: that it can be read, that every row has its source and its
//! date, and a few sums that were worked out by hand. How sums are made is the driver's to test.

use std::collections::BTreeSet;

use openclaw_pipeline::assets;
use openclaw_pipeline::drivers::aws::prices::{Prices, Unit};
use openclaw_pipeline::drivers::aws::regions;

fn prices() -> Prices {
    Prices::read(assets::PRICES).expect("the shipped table")
}

#[test]
fn every_row_has_a_source_and_a_date_and_stands_once() {
    let prices = prices();
    let mut seen = BTreeSet::new();
    for row in &prices.rows {
        let what = &prices.sources[&row.source];
        assert!(what.len() > 20, "{}: {what}", row.source);
        assert!((2020..2100).contains(&row.date.year()), "{row:?}");
        assert!(row.region == "*" || regions::is_known(&row.region), "{row:?}");
        assert!(seen.insert((&row.service, &row.region, &row.item)), "twice: {row:?}");
    }
    let used: BTreeSet<_> = prices.rows.iter().map(|row| &row.source).collect();
    assert_eq!(used, prices.sources.keys().collect(), "a source that no row names");
}

#[test]
fn prices_are_of_the_size_that_they_can_be() {
    for row in prices().rows {
        let (least, most) = match (row.service.as_str(), row.unit) {
            ("ec2", Unit::Hour) => (0.004, 1.0),
            ("ebs", Unit::GibMonth) => (0.05, 0.2),
            ("ipv4", Unit::Hour) => (0.005, 0.005),
            ("lightsail", Unit::Month) => (5.0, 400.0),
            other => panic!("{other:?}"),
        };
        assert!((least..=most).contains(&row.usd), "{row:?}");
    }
}

#[test]
fn known_sums_come_out_and_what_is_not_written_down_is_unknown() {
    let prices = prices();
    let ec2 = |region, size| prices.ec2(region, size, 30, true).to_string();
    assert_eq!(ec2("us-east-1", "t3.medium"), "~$36.4/month");
    assert_eq!(ec2("us-east-1", "t3.xlarge"), "~$127.5/month");
    assert_eq!(ec2("eu-central-1", "t3.medium"), "~$41.5/month");
    assert_eq!(ec2("us-east-1", "m7i.48xlarge"), "unknown");
    assert_eq!(ec2("xy-north-1", "t3.medium"), "unknown");
    let lightsail = |bundle| prices.lightsail("us-east-1", bundle).to_string();
    assert_eq!(lightsail("medium_3_0"), "~$24.0/month");
    assert_eq!(lightsail("xlarge_3_0"), "~$84.0/month");
    assert_eq!(lightsail("medium_win_3_0"), "unknown");
}
