//! The numbers of Slipway, as whoever watches it gets them: from the chart's Service.

use std::{iter::Sum, str::FromStr};

use super::{api::page, wait};

/// What one replica says of itself.
pub struct Metrics(String);

impl Metrics {
    /// The Service leads to any of the replicas, so it is asked until the right one answers.
    fn of_who_says(line: &str) -> Self {
        wait(&format!("a replica that says {line}"), || {
            // One that has just gone is behind the Service for a moment more.
            let page = page("slipway-system", "slipway-metrics", "http", "metrics")?;
            page.lines().any(|each| each == line).then_some(Self(page))
        })
    }

    /// Of the replica that acts.
    pub fn of_the_leader() -> Self {
        Self::of_who_says("slipway_leader 1")
    }

    /// Of one that stands by.
    pub fn of_a_standby() -> Self {
        Self::of_who_says("slipway_leader 0")
    }

    /// The whole page.
    pub fn page(&self) -> &str {
        &self.0
    }

    /// The sum of a metric over the series whose labels have this text; what was never counted is 0.
    pub fn sum<T: FromStr + Sum>(&self, metric: &str, labels: &str) -> T {
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, its) = series.split_once('{').unwrap_or((series, ""));
            (name == metric && its.contains(labels)).then(|| value.parse().ok())?
        };
        self.0.lines().filter_map(value).sum()
    }
}

/// Waits until registries were asked twice more with such an outcome. One question may be under way already; when another
/// has ended, whatever came of the first has come.
pub fn until_asked_again(reason: &str) {
    let asked = || Metrics::of_the_leader().sum::<u64>("slipway_image_resolutions_total", reason);
    let before = asked();
    wait(&format!("{reason}: asked twice more"), || {
        (asked() >= before + 2).then_some(())
    });
}
