//! Rules of single values, each with a sentence for the author.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use super::declare::Rejection;
use crate::{
    api::release::{EnvValue, Resources},
    names::EnvName,
};

/// Everything that is wrong so far.
#[derive(Debug, Default)]
pub struct Problems(Vec<Rejection>);

impl Problems {
    /// One more.
    pub fn add(&mut self, pointer: String, message: String) {
        self.0.push(Rejection { pointer, message });
    }

    /// One more, where a value would have been.
    pub fn none<T>(&mut self, pointer: &str, message: String) -> Option<T> {
        self.add(pointer.to_owned(), message);
        None
    }

    /// A name, or one more problem.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, pointer: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => self.none(pointer, error.to_string()),
        }
    }

    /// A number of a range, or one more problem.
    pub fn number(&mut self, pointer: &str, value: Option<i64>, default: u32, least: u32, most: u32) -> u32 {
        let Some(value) = value else { return default };
        match u32::try_from(value)
            .ok()
            .filter(|value| (least..=most).contains(value))
        {
            Some(value) => value,
            None => {
                self.add(
                    pointer.to_owned(),
                    format!("{value} is out of range; it is a number from {least} to {most}"),
                );
                default
            }
        }
    }

    /// The value, if nothing is wrong.
    pub fn end<T>(self, value: T) -> Result<T, Vec<Rejection>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// Variables whose names are taken or dangerous.
fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT" => Some("it changes what code runs"),
        _ if name.starts_with("KUBERNETES_") => Some("Kubernetes sets it"),
        _ if name.starts_with("SLIPWAY_") => Some("Slipway sets it"),
        _ => None,
    }
}

/// Variables of a map, their names checked.
pub fn variables(
    pointer: &str,
    env: &BTreeMap<String, EnvValue>,
    problems: &mut Problems,
) -> BTreeMap<EnvName, EnvValue> {
    let mut checked = BTreeMap::new();
    for (name, value) in env {
        let at = format!("{pointer}/{name}");
        if let Some(why) = reserved(name) {
            problems.add(at, format!("{name} cannot be set: {why}"));
            continue;
        }
        let text = match value {
            EnvValue::Literal(text) | EnvValue::Public(text) | EnvValue::Field(text) => text.as_str(),
            EnvValue::Secret(_) | EnvValue::Config(_) | EnvValue::Generate(_) => "",
        };
        if text.len() > 32 * 1024 || text.contains('\0') {
            problems.add(at, "the value has more than 32 KiB or a NUL character".into());
            continue;
        }
        if let EnvValue::Field(path) = value
            && !FIELDS.contains(&path.as_str())
        {
            problems.add(at, format!("{{field: …}} is one of {}", FIELDS.join(", ")));
            continue;
        }
        if let Some(name) = problems.parse::<EnvName>(&at, name) {
            checked.insert(name, value.clone());
        }
    }
    checked
}

/// Fields of a pod that a variable may have (Kubernetes downward API).
const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];

/// Words of a command: passed as they are, never through a shell.
pub fn words(pointer: &str, words: Option<&[String]>, problems: &mut Problems) {
    let Some(words) = words else { return };
    if words.iter().map(String::len).sum::<usize>() > 32 * 1024 {
        problems.add(pointer.to_owned(), "a command has at most 32 KiB".into());
    }
    if words.iter().any(|word| word.contains('\0')) {
        problems.add(pointer.to_owned(), "a command cannot hold a NUL character".into());
    }
}

/// Requests and limits, over those of a lower layer.
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
            if let Err(message) = quantity(&amount.0) {
                problems.add(format!("{pointer}/{part}/{name}"), message);
            }
        }
    }
    let mut merged = lower.clone();
    merged.requests.extend(declared.requests.clone());
    merged.limits.extend(declared.limits.clone());
    merged
}

/// A Kubernetes quantity that a machine can have: digits, at most one dot, a known unit.
pub fn quantity(text: &str) -> Result<(), String> {
    let error = || format!("{text:?} is not an amount; write such as 250m, 0.5, 128Mi or 1Gi");
    let digits = text
        .bytes()
        .take_while(|c| c.is_ascii_digit() || *c == b'.')
        .count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(error)?;
    let units = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    let number_ok = number.parse::<f64>().is_ok_and(|n| n > 0.0 && n < 1e13) && number.len() <= 15;
    let shape_ok = !number.starts_with('.') && !number.ends_with('.') && number.matches('.').count() <= 1;
    if number_ok && shape_ok && units.contains(&unit) {
        Ok(())
    } else {
        Err(error())
    }
}

/// An absolute path inside a container, not one of the system's.
pub fn path(text: &str) -> Result<(), String> {
    let parts_ok = text
        .split('/')
        .skip(1)
        .all(|part| !part.is_empty() && part != "." && part != "..");
    let system = ["/proc", "/sys", "/dev", "/etc", "/bin", "/usr", "/lib"];
    let in_system = system
        .iter()
        .any(|root| text == *root || text.starts_with(&format!("{root}/")));
    if !text.starts_with('/') || !parts_ok || text.len() > 512 || text.contains([':', '\0', '\n']) {
        return Err("an absolute path without '..', such as /app/uploads".into());
    }
    if in_system {
        Err("a path of the system cannot be made writable".into())
    } else {
        Ok(())
    }
}

/// A host name, RFC 1123, with at least one dot.
pub fn host(text: &str) -> Result<(), String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    let rest = text.strip_prefix("*.").unwrap_or(text);
    if text.len() <= 253 && rest.contains('.') && rest.split('.').all(label) {
        Ok(())
    } else {
        Err("a host name in lower case without scheme or port, such as shop.example.com".into())
    }
}
