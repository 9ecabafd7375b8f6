//! How long things may take: what could never succeed is refused, and what may not is doubted.

use super::{
    super::{check::Problems, declared::RolloutSpec},
    Rejection,
};
use crate::api::{Duration, ReleaseSpec, release::Strategy};

pub(super) fn rollout(spec: &ReleaseSpec, problems: &mut Problems) -> RolloutSpec {
    let rollout = spec.rollout.clone().unwrap_or_default();
    let (surge, unavailable) = (
        rollout.surge.unwrap_or("25%".into()),
        rollout.unavailable.unwrap_or("0".into()),
    );
    for (pointer, text) in [("/rollout/surge", &surge), ("/rollout/unavailable", &unavailable)] {
        let number = text.strip_suffix('%').unwrap_or(text);
        let percent_ok = !text.ends_with('%') || number.parse::<u32>().is_ok_and(|n| n <= 100);
        if number.is_empty() || number.len() > 4 || !number.bytes().all(|c| c.is_ascii_digit()) || !percent_ok
        {
            problems.add(
                pointer.into(),
                "must be a number such as 1, or a percentage such as 25%".into(),
            );
        }
    }
    let zero = |text: &str| text.trim_end_matches('%').bytes().all(|c| c == b'0');
    if zero(&surge) && zero(&unavailable) {
        problems.add(
            "/rollout".into(),
            "surge and unavailable cannot both be 0: nothing could ever be replaced".into(),
        );
    }
    span("/rollout/deadline", rollout.deadline, "10m", problems);
    let deadline = rollout.deadline.unwrap_or(DEADLINE);
    let min_ready = rollout.min_ready.unwrap_or(MIN_READY);
    if min_ready >= deadline && deadline >= SHORTEST {
        let (pointer, least) = match rollout.min_ready {
            Some(_) => ("/rollout/minReady", min_ready),
            None => ("/rollout/deadline", min_ready),
        };
        problems.add(
            pointer.into(),
            format!(
                "no rollout could succeed: a pod must be ready for {least} (minReady) before {deadline} are over (deadline)"
            ),
        );
    }
    RolloutSpec {
        strategy: rollout.strategy.unwrap_or(Strategy::Rolling),
        surge,
        unavailable,
        deadline,
        min_ready,
        drain: rollout.drain.unwrap_or(Duration::from_secs(60)),
    }
}

const DEADLINE: Duration = Duration::from_secs(600);
const MIN_READY: Duration = Duration::from_secs(10);
/// Less is no time to do anything in.
const SHORTEST: Duration = Duration::from_secs(1);

/// That a time is not over before anything can happen: 0 does not mean that there is no limit.
pub(super) fn span(pointer: &str, given: Option<Duration>, default: &str, problems: &mut Problems) {
    if given.is_some_and(|given| given < SHORTEST) {
        problems.add(
            pointer.to_owned(),
            format!("must be at least 1s; 0 is not \"no limit\": give a time that is long enough, or leave it out for {default}"),
        );
    }
}

/// What of a spec may be meant otherwise, and stops nothing.
#[must_use]
pub fn doubts(spec: &ReleaseSpec) -> Vec<Rejection> {
    let rollout = spec.rollout.as_ref();
    let deadline = rollout.and_then(|rollout| rollout.deadline).unwrap_or(DEADLINE);
    let min_ready = rollout.and_then(|rollout| rollout.min_ready).unwrap_or(MIN_READY);
    // The default is long for most, and is none that its author asked for.
    let Some(startup) = spec.health.as_ref().and_then(|health| health.startup) else {
        return Vec::new();
    };
    let needed = startup.as_secs().saturating_add(min_ready.as_secs());
    if needed <= deadline.as_secs() || min_ready >= deadline {
        return Vec::new();
    }
    vec![Rejection {
        pointer: "/health/startup".to_owned(),
        message: format!(
            "a pod that takes {startup} to start and must be ready for {min_ready} is not there before the rollout's \
             deadline of {deadline}: raise rollout.deadline"
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::{super::declare, *};

    fn spec(text: &str) -> ReleaseSpec {
        serde_yaml::from_str(text).unwrap()
    }

    fn refused(text: &str) -> Vec<String> {
        let rejections = declare(&"billing".parse().unwrap(), &spec(text)).err();
        rejections
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn no_time_is_over_before_anything_can_happen() {
        let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
        let said = |extra: &str| refused(&format!("{base}{extra}\n"));
        for (extra, start) in [
            (
                "migrate: {command: [m], timeout: 0s}",
                "spec.migrate.timeout: must be at least 1s; 0 is not \"no limit\": give a time that is long enough, or leave it out for 30m",
            ),
            (
                "health: {startup: 0s}",
                "spec.health.startup: must be at least 1s; 0 is not",
            ),
            (
                "rollout: {deadline: 0s}",
                "spec.rollout.deadline: must be at least 1s; 0 is not",
            ),
            (
                "rollout: {minReady: 20m}",
                "spec.rollout.minReady: no rollout could succeed: a pod must be ready for 20m (minReady) before 10m are over (deadline)",
            ),
            (
                "rollout: {deadline: 30s, minReady: 1m}",
                "spec.rollout.minReady: no rollout could succeed",
            ),
            (
                "rollout: {deadline: 10s}",
                "spec.rollout.deadline: no rollout could succeed: a pod must be ready for 10s",
            ),
        ] {
            let said = said(extra);
            assert!(said.len() == 1 && said[0].starts_with(start), "{extra}: {said:?}");
        }
        for fine in [
            "migrate: {command: [m], timeout: 1s}",
            "rollout: {deadline: 11s}",
            "rollout: {minReady: 0s, drain: 0s}",
            "rollout: {deadline: 10s, minReady: 9s}\nverify: {window: 0s}",
        ] {
            assert_eq!(said(fine), [] as [&str; 0], "{fine}");
        }
    }

    #[test]
    fn a_start_that_may_take_longer_than_the_rollout_is_doubted() {
        let said = |text: &str| {
            doubts(&spec(text))
                .into_iter()
                .map(|doubt| doubt.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            said("rollout: {deadline: 1m}\nhealth: {path: /h, startup: 5m}"),
            [
                "spec.health.startup: a pod that takes 5m to start and must be ready for 10s is not there before the rollout's \
              deadline of 1m: raise rollout.deadline"
            ]
        );
        assert_eq!(said("health: {startup: 10m}").len(), 1);
        for fine in [
            "rollout: {deadline: 1m}\nhealth: /h",
            "health: {startup: 9m}",
            "rollout: {deadline: 1h}\nhealth: {startup: 50m}",
        ] {
            assert_eq!(said(fine), [] as [&str; 0], "{fine}");
        }
    }
}
