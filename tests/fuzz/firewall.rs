//! The firewall: a secret is found wherever it stands, in whatever order, and is told by its place alone.

use serde_json::Value;
use slipway::spec::{file::File, firewall, mask, redact::redact};

use super::{
    engine::{kind_of, run},
    parser::{self, TOKEN},
    written,
};

#[test]
fn secrets_are_found_wherever_they_stand_and_never_repeated() {
    run("firewall", check);
}

fn check(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    lines(&text);
    let Ok(document) = serde_yaml::from_str::<Value>(&text) else {
        return 0;
    };
    let spec = document.get("spec").unwrap_or(&document);
    let findings = firewall::scan_value(spec);
    for finding in &findings {
        let found = spec.pointer(&finding.pointer);
        assert!(found.is_some(), "{} is nowhere", finding.pointer);
        // A variable with its value is found as a whole.
        let values = [found, found.and_then(|found| found.get("value"))];
        let texts = values.into_iter().flatten().filter_map(Value::as_str);
        for text in texts.filter(|text| text.len() >= 12) {
            assert!(!finding.message.contains(text), "{}", finding.message);
        }
        parser::silent(&finding.message, input);
    }
    planted(spec);
    ordered(spec);
    kind_of(findings.iter().map(|finding| finding.message.as_str()))
}

/// A token in place of any text is found, unless its author declared it public.
fn planted(spec: &Value) {
    let mut places = Vec::new();
    texts(spec, String::new(), &mut places);
    for place in places.iter().take(50) {
        let mut spec = spec.clone();
        *spec.pointer_mut(place).unwrap() = TOKEN.into();
        let found = firewall::scan_value(&spec);
        let above = |pointer: &str| {
            let rest = place.strip_prefix(pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        assert!(
            found.iter().any(|finding| above(&finding.pointer)),
            "{place} of {spec}"
        );
        assert!(found.iter().all(|finding| !finding.message.contains(TOKEN)));
    }
}

/// The places of all texts that are not below `public: true`.
fn texts(value: &Value, pointer: String, places: &mut Vec<String>) {
    match value {
        Value::String(_) => places.push(pointer),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(item, format!("{pointer}/{index}"), places);
            }
        }
        Value::Object(fields) if value.get("public") != Some(&Value::Bool(true)) => {
            for (name, item) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                texts(item, format!("{pointer}/{name}"), places);
            }
        }
        _ => {}
    }
}

/// The order in which a file has its keys changes no verdict.
fn ordered(spec: &Value) {
    let told = |spec: &str| {
        let file = File::read("a.yaml", written::file("shop", "app", spec).as_bytes());
        let mut told: Vec<String> = file.problems.into_iter().map(|problem| problem.message).collect();
        told.sort();
        (file.documents.len(), told)
    };
    assert_eq!(
        told(&written::text(spec)),
        told(&written::backwards(spec)),
        "{spec}"
    );
}

/// What judges lines: excerpts, and logs.
fn lines(text: &str) {
    for (index, line) in text.lines().enumerate() {
        assert!(
            !firewall::has_secret(line) || mask::hides(text, index + 1),
            "{line:?} would be shown"
        );
    }
    let clean = redact(&format!("{text}\nusing {TOKEN}"), &[]);
    assert!(!clean.ends_with(TOKEN), "{clean}");
    // Any line may be a value that a program prints.
    for value in text.lines().map(str::trim).take(20) {
        let odd = value.len() < 6
            || value.chars().count() < 6
            || value.contains(['[', ']'])
            || "redacted".contains(value);
        if !odd {
            let clean = redact(text, &[value]);
            assert!(!clean.contains(value), "{value:?} is left in {clean:?}");
        }
    }
}
