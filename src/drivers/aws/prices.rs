//! What a machine costs per month, as far as that is written down.
//!
//! Owns the table's grammar and the sums. Refuses a row without a source and a date, and refuses to
//! guess: a sum with one part that is not known is not known.

use std::collections::BTreeMap;
use std::fmt;

use time::Date;
use time::macros::format_description;

use crate::domain::Failure;

/// How many hours a month has, as AWS counts.
const HOURS: f64 = 730.0;
/// What stands for every region.
const EVERY: &str = "*";

/// One price.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `ec2`, `lightsail`, `ebs` or `ipv4`.
    pub service: String,
    /// The region, or `*`.
    pub region: String,
    /// The size, or what else it is.
    pub item: String,
    /// What is paid for.
    pub unit: Unit,
    /// The price of a unit.
    pub usd: f64,
    /// Where it is written.
    pub source: String,
    /// When it was.
    pub date: Date,
}

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// An hour.
    Hour,
    /// A month.
    Month,
    /// A month of each GiB.
    GibMonth,
}

impl Unit {
    fn read(text: &str) -> Option<Self> {
        match text {
            "hour" => Some(Self::Hour),
            "month" => Some(Self::Month),
            "gib-month" => Some(Self::GibMonth),
            _ => None,
        }
    }
}

/// A table of prices.
#[derive(Debug, Clone)]
pub struct Prices {
    /// Its rows.
    pub rows: Vec<Row>,
    /// What each source is.
    pub sources: BTreeMap<String, String>,
}

/// What something costs per month.
#[derive(Debug, Clone, PartialEq)]
pub struct Monthly {
    /// The parts, and what each costs if that is known.
    pub parts: Vec<(String, Option<f64>)>,
    /// The date of the oldest row that it rests on.
    pub as_of: Option<Date>,
}

impl Monthly {
    /// The sum; none if a part is not known.
    pub fn usd(&self) -> Option<f64> {
        self.parts.iter().map(|(_, usd)| *usd).sum()
    }
}

/// `~$36.4/month`, or `unknown`.
impl fmt::Display for Monthly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.usd() {
            Some(usd) => f.write_str(&shown(usd)),
            None => f.write_str("unknown"),
        }
    }
}

/// A price per month as it is shown: it is never more than about right.
pub fn shown(usd: f64) -> String {
    format!("~${usd:.1}/month")
}

impl Prices {
    /// Reads a table: `@ NAME | WHAT` for a source, `#` for a comment, and a row for each price.
    pub fn read(text: &str) -> Result<Self, Failure> {
        let (mut rows, mut sources) = (Vec::new(), BTreeMap::new());
        for (index, line) in text.lines().enumerate() {
            let wrong = |why: &str| {
                Failure::internal(format!("line {} of the table of prices {why}", index + 1))
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(source) = line.strip_prefix('@') {
                let (name, what) =
                    source.split_once('|').ok_or_else(|| wrong("does not say what a source is"))?;
                sources.insert(name.trim().to_owned(), what.trim().to_owned());
                continue;
            }
            let row = row(line).ok_or_else(|| wrong("is no price"))?;
            if sources.get(&row.source).is_none_or(String::is_empty) {
                return Err(wrong("has no source"));
            }
            rows.push(row);
        }
        Ok(Self { rows, sources })
    }

    /// An instance of EC2's with its disk, and with a public address if it has one.
    pub fn ec2(&self, region: &str, size: &str, disk_gib: u32, has_address: bool) -> Monthly {
        let mut sum = Sum::default();
        sum.add(size, self.find("ec2", region, size), 1.0);
        sum.add(&format!("{disk_gib} GiB gp3"), self.find("ebs", region, "gp3"), disk_gib.into());
        if has_address {
            sum.add("public IPv4", self.find("ipv4", region, "address"), 1.0);
        }
        sum.monthly()
    }

    /// A bundle of Lightsail's: disk and address are in it.
    pub fn lightsail(&self, region: &str, bundle: &str) -> Monthly {
        let mut sum = Sum::default();
        sum.add(bundle, self.find("lightsail", region, bundle), 1.0);
        sum.monthly()
    }

    fn find(&self, service: &str, region: &str, item: &str) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.service == service
                && row.item == item
                && (row.region == region || row.region == EVERY)
        })
    }
}

#[derive(Default)]
struct Sum {
    parts: Vec<(String, Option<f64>)>,
    dates: Vec<Date>,
}

impl Sum {
    fn add(&mut self, what: &str, row: Option<&Row>, units: f64) {
        let usd = row.map(|row| match row.unit {
            Unit::Hour => row.usd * HOURS * units,
            Unit::Month | Unit::GibMonth => row.usd * units,
        });
        self.parts.push((what.to_owned(), usd));
        self.dates.extend(row.map(|row| row.date));
    }

    fn monthly(self) -> Monthly {
        Monthly { parts: self.parts, as_of: self.dates.into_iter().min() }
    }
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let [service, region, item, unit, usd, source, date] = cells.as_slice() else { return None };
    if [service, region, item].iter().any(|cell| cell.is_empty()) {
        return None;
    }
    Some(Row {
        service: (*service).to_owned(),
        region: (*region).to_owned(),
        item: (*item).to_owned(),
        unit: Unit::read(unit)?,
        usd: usd.parse().ok().filter(|usd: &f64| usd.is_finite() && *usd > 0.0)?,
        source: (*source).to_owned(),
        date: Date::parse(date, format_description!("[year]-[month]-[day]")).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    const TABLE: &str = "# c\n@ list | where it stands\n\
        ec2,us-east-1,t3.medium,hour,0.0416,list,2026-01-19\n\
        ebs,us-east-1,gp3,gib-month,0.08,list,2021-07-14\n\
        ipv4,*,address,hour,0.005,list,2023-07-28\n\
        lightsail,us-east-1,medium_3_0,month,24,list,2026-09-17\n";

    #[test]
    fn sums_are_the_parts_and_as_old_as_the_oldest() {
        let prices = Prices::read(TABLE).expect("a table");
        let machine = prices.ec2("us-east-1", "t3.medium", 30, true);
        // 0.0416 · 730 + 30 · 0.08 + 0.005 · 730
        assert_eq!(machine.to_string(), "~$36.4/month");
        assert_eq!(machine.as_of, Some(date!(2021 - 07 - 14)));
        assert_eq!(machine.parts[1], ("30 GiB gp3".to_owned(), Some(2.4)));
        assert_eq!(prices.ec2("us-east-1", "t3.medium", 30, false).to_string(), "~$32.8/month");
        assert_eq!(prices.lightsail("us-east-1", "medium_3_0").to_string(), "~$24.0/month");
    }

    #[test]
    fn what_has_no_row_stays_unknown() {
        let prices = Prices::read(TABLE).expect("a table");
        let machine = prices.ec2("us-east-1", "t3.large", 30, true);
        assert_eq!((machine.usd(), machine.to_string().as_str()), (None, "unknown"));
        assert_eq!(machine.parts[0], ("t3.large".to_owned(), None));
        assert_eq!(prices.ec2("eu-west-1", "t3.medium", 30, true).to_string(), "unknown");
        assert_eq!(prices.lightsail("eu-west-1", "medium_3_0").to_string(), "unknown");
    }

    #[test]
    fn a_row_needs_a_source_a_date_and_a_price() {
        for wrong in [
            "ec2,us-east-1,t3.medium,hour,0.04,elsewhere,2026-01-19",
            "ec2,us-east-1,t3.medium,hour,0.04,list,",
            "ec2,us-east-1,t3.medium,hour,0.04,list,yesterday",
            "ec2,us-east-1,t3.medium,hour,0,list,2026-01-19",
            "ec2,us-east-1,t3.medium,hour,NaN,list,2026-01-19",
            "ec2,us-east-1,t3.medium,day,0.04,list,2026-01-19",
            "ec2,us-east-1,,hour,0.04,list,2026-01-19",
            "ec2,us-east-1,t3.medium,hour,0.04,list",
            "@ nothing",
        ] {
            let failure = Prices::read(&format!("@ list | x\n{wrong}\n")).expect_err(wrong);
            assert!(failure.message.starts_with("line 2 "), "{failure}");
        }
    }
}
