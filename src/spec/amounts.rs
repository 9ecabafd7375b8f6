//! Amounts of processor, memory and other resources: what the API server would refuse, or nothing could run with, is refused
//! here, where its author is told the line.

use super::{check::Problems, document::join};
use crate::{api::release::Resources, render::quantity::Quantity};

/// Requests and limits, over those of a lower layer. A request that is inherited is no more than a limit that is given.
pub fn resources(
    pointer: &str,
    declared: Option<&Resources>,
    lower: &Resources,
    problems: &mut Problems,
) -> Resources {
    let Some(declared) = declared else {
        return lower.clone();
    };
    for (part, map) in [("requests", &declared.requests), ("limits", &declared.limits)] {
        for (name, amount) in map {
            if let Err(message) = resource(name).and_then(|()| amount_of(name, &amount.0)) {
                problems.add(join(&format!("{pointer}/{part}"), name), message);
            }
        }
    }
    let mut merged = lower.clone();
    merged.requests.extend(declared.requests.clone());
    merged.limits.extend(declared.limits.clone());
    for (name, limit) in &merged.limits {
        let Some(request) = merged.requests.get_mut(name) else {
            continue;
        };
        let fits = match (Quantity::parse(&request.0), Quantity::parse(&limit.0)) {
            (Some(request), Some(most)) if is_whole(name) => request == most,
            (Some(request), Some(most)) => request <= most,
            _ => true,
        };
        if fits {
            continue;
        }
        if !declared.requests.contains_key(name) {
            request.clone_from(limit);
            continue;
        }
        let rule = if is_whole(name) {
            "is not the same as"
        } else {
            "is more than"
        };
        let limit = if declared.limits.contains_key(name) {
            format!("its limit {}", limit.0)
        } else {
            format!("the limit {} that it inherits: give one here, too", limit.0)
        };
        problems.add(
            join(&format!("{pointer}/requests"), name),
            format!("{} {rule} {limit}", request.0),
        );
    }
    for name in declared.requests.keys() {
        if is_whole(name) && !merged.limits.contains_key(name) {
            problems.add(
                join(&format!("{pointer}/requests"), name),
                "needs a limit of the same amount".into(),
            );
        }
    }
    merged
}

/// A resource of Kubernetes, or one that a device plugin offers under a domain.
fn resource(name: &str) -> Result<(), String> {
    let known = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    let extended = name.split_once('/').is_some_and(|(domain, own)| {
        domain.contains('.')
            && !own.is_empty()
            && own
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
    });
    if known || extended {
        Ok(())
    } else {
        Err("is not a resource; there are cpu, memory, ephemeral-storage, and such as nvidia.com/gpu".into())
    }
}

/// Whether nobody shares it: request and limit are one number.
fn is_whole(name: &str) -> bool {
    is_extended(name) || name.starts_with("hugepages-")
}

/// Whether a device plugin offers it. What has the domain of Kubernetes itself is shared as memory is.
fn is_extended(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

fn amount_of(name: &str, text: &str) -> Result<(), String> {
    if name == "cpu" {
        quantity(text)?;
        return match unit(text) {
            "" | "m" => Ok(()),
            _ => Err(format!(
                "{text:?} is not an amount of cpu; write such as 250m, 0.5 or 2"
            )),
        };
    }
    if is_extended(name) {
        quantity(text)?;
        return match text.parse::<u64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{text:?} is not a whole number; write such as \"1\"")),
        };
    }
    size(text)?;
    // Less than any container begins with: a unit was forgotten.
    let little = |amount: Quantity| Quantity::parse("1Mi").is_some_and(|least| amount < least);
    if name == "memory" && Quantity::parse(text).is_some_and(little) {
        return Err(format!(
            "{text:?} is less than 1Mi, which nothing runs in; write such as 128Mi or 1Gi"
        ));
    }
    Ok(())
}

/// An amount of bytes.
pub fn size(text: &str) -> Result<(), String> {
    quantity(text)?;
    match unit(text) {
        "m" => Err(format!(
            "{text:?} is in thousandths of a byte; write such as 128Mi or 1Gi"
        )),
        _ => Ok(()),
    }
}

fn unit(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
}

/// A Kubernetes quantity that a machine can have: digits, at most one dot, a known unit.
fn quantity(text: &str) -> Result<(), String> {
    let error = || format!("{text:?} is not an amount; write such as 250m, 0.5, 128Mi or 1Gi");
    let number = text.strip_suffix(unit(text)).unwrap_or(text);
    let units = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    let number_ok = number.parse::<f64>().is_ok_and(|n| n > 0.0 && n < 1e13) && number.len() <= 15;
    let shape_ok = !number.starts_with('.') && !number.ends_with('.') && number.matches('.').count() <= 1;
    if number_ok && shape_ok && units.contains(&unit(text)) {
        Ok(())
    } else {
        Err(error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Resources {
        serde_yaml::from_str(yaml).unwrap()
    }

    /// What `upper` over `lower` comes to, or what is wrong with it.
    fn over(lower: &str, upper: &str) -> Result<Resources, Vec<String>> {
        let mut problems = Problems::default();
        let merged = resources("/r", Some(&of(upper)), &of(lower), &mut problems);
        problems.end(merged).map_err(|all| {
            all.iter()
                .map(|r| format!("{} {}", r.pointer, r.message))
                .collect()
        })
    }

    #[test]
    fn a_request_is_no_more_than_its_limit() {
        for (lower, upper, said) in [
            (
                "{}",
                "{requests: {memory: 2Gi}, limits: {memory: 1Gi}}",
                "/r/requests/memory 2Gi is more than its limit 1Gi",
            ),
            (
                "{}",
                "{requests: {cpu: '1'}, limits: {cpu: 999m}}",
                "/r/requests/cpu 1 is more than its limit 999m",
            ),
            (
                "{limits: {memory: 256Mi}}",
                "{requests: {memory: 1Gi}}",
                "/r/requests/memory 1Gi is more than the limit 256Mi that it inherits: give one here, too",
            ),
            (
                "{}",
                "{requests: {nvidia.com/gpu: '1'}, limits: {nvidia.com/gpu: '2'}}",
                "/r/requests/nvidia.com~1gpu 1 is not the same as its limit 2",
            ),
            (
                "{}",
                "{requests: {nvidia.com/gpu: '1'}}",
                "/r/requests/nvidia.com~1gpu needs a limit of the same amount",
            ),
        ] {
            assert_eq!(over(lower, upper), Err(vec![said.to_owned()]));
        }
        for (lower, upper) in [
            ("{}", "{requests: {memory: 1024Mi}, limits: {memory: 1Gi}}"),
            ("{}", "{requests: {cpu: 500m}, limits: {cpu: '0.5'}}"),
            (
                "{limits: {memory: 256Mi}}",
                "{requests: {memory: 1Gi}, limits: {memory: 1Gi}}",
            ),
            ("{}", "{limits: {nvidia.com/gpu: '1'}}"),
            (
                "{}",
                "{requests: {kubernetes.io/batch-memory: 1Gi}, limits: {kubernetes.io/batch-memory: 2Gi}}",
            ),
            (
                "{}",
                "{limits: {nvidia.com/gpu: '1'}, requests: {nvidia.com/gpu: '1'}}",
            ),
        ] {
            assert!(over(lower, upper).is_ok(), "{upper}");
        }
    }

    #[test]
    fn what_a_preset_requests_yields_to_a_limit() {
        let web = "{requests: {cpu: 50m, memory: 128Mi}}";
        let with = |limit: &str| over(web, &format!("{{limits: {{memory: {limit}}}}}")).unwrap();
        assert_eq!(
            with("64Mi"),
            of("{requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 64Mi}}")
        );
        assert_eq!(
            with("1Gi"),
            of("{requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 1Gi}}")
        );
    }

    #[test]
    fn each_resource_has_its_units() {
        for (name, bad, good) in [
            ("cpu", ["4Gi", "1k", "1M"], ["4", "250m", "0.5"]),
            ("memory", ["100m", "100", "1023Ki"], ["100M", "1Mi", "1.5Gi"]),
            ("ephemeral-storage", ["100m", "1Zi", ""], ["1Gi", "512", "2G"]),
            ("nvidia.com/gpu", ["500m", "0.5", "1Ki"], ["1", "2", "5000000000"]),
        ] {
            for text in bad {
                assert!(amount_of(name, text).is_err(), "{name} {text}");
            }
            for text in good {
                assert_eq!(amount_of(name, text), Ok(()), "{name} {text}");
            }
        }
        assert!(size("100m").is_err() && size("100M").is_ok());
    }
}
