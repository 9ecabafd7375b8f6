//! Every word that the code has for a state has a remedy.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    Place::{Detail, Source},
    *,
};

/// The rooms that make words for states.
const ROOMS: [&str; 7] = [
    "plan",
    "controller",
    "status.rs",
    "image/error.rs",
    "source/error.rs",
    "source/tree.rs",
    "cluster/facts.rs",
];

/// Words in capitals that are no state of ours: kinds and fields of Kubernetes, and parts of words.
const OTHERS: &[&str] = &[
    // kinds, verbs, and words of events
    "Release",
    "ReleaseSource",
    "Reconcile",
    "Phase",
    "Secret",
    // what Kubernetes says of Jobs and pods
    "Complete",
    "ContainerStatusUnknown",
    "ReplicaFailure",
    "PreferNoSchedule",
    "Unknown",
    "Failed",
    "Succeeded",
    "DeadlineExceeded",
    "ContainerCreating",
    "PodScheduled",
    "DisruptionTarget",
    "Evicted",
    "Killing",
    "Preempting",
    "True",
    "False",
    "Image",
    // conditions that every release has, with their two reasons
    "Ready",
    // the condition that carries the end of a build's log
    "BuildLog",
    // the condition that carries what was found in a source and let pass: what to do stands in each sentence
    "SourceWarned",
    "Reconciling",
    "Stalled",
    "Resolved",
    "Prepared",
    "Migrated",
    "RolledOut",
    "Verified",
    "Done",
    "Edited",
    // the parts of `Waiting(…)` and `Failed(…)`
    "Waiting",
    // the metric of a fetch that went well
    "Fetched",
    // the metric of a revision that ended; its release has a phase
    "MigrationFailed",
    "RolloutFailed",
    "Superseded",
    // the condition of a source, whose message says what to do
    "BuilderReady",
    // the Debug form of a type
    "Reader",
];

fn files(path: &Path, out: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), out);
        }
        return;
    }
    let name = path.display().to_string();
    let tests = ["tests.rs", "fixtures.rs", "effects.rs", "mutant.rs"]
        .iter()
        .any(|end| name.ends_with(end))
        || name.contains("/tests/");
    if path.extension().is_some_and(|end| end == "rs") && !tests && !name.contains("/plan/model/") {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        out.push((name, code.to_owned()));
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    for room in ROOMS {
        files(&root.join(room), &mut out);
    }
    assert!(out.len() > 20, "the rooms are where this test looks for them");
    out
}

/// The literals of a text that are one word in `CamelCase`.
fn camel(text: &str) -> BTreeSet<String> {
    let comment = |line: &&str| !line.trim_start().starts_with("//");
    let text: String = text.lines().filter(comment).collect::<Vec<_>>().join("\n");
    // Quotation marks that neither begin nor end a literal.
    let text = text.replace("\\\"", "").replace("'\"'", "");
    text.split('"')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.len() > 3
                && word.chars().all(|c| c.is_ascii_alphanumeric())
                && word.chars().any(|c| c.is_ascii_lowercase())
        })
        .map(str::to_owned)
        .collect()
}

/// The words that follow `before`, up to the next quotation mark.
fn after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

#[test]
fn every_word_for_a_state_has_a_remedy() {
    let known: BTreeSet<&str> = REMEDIES.iter().map(|(_, word, _)| *word).collect();
    let missing: Vec<String> = sources()
        .iter()
        .flat_map(|(file, text)| {
            let words = camel(text).into_iter();
            let new = words.filter(|word| !known.contains(word.as_str()) && !OTHERS.contains(&word.as_str()));
            new.map(move |word| format!("{file}: {word}")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "say what to do about each in words/remedy/table.rs, or name it in OTHERS if it is no state"
    );
}

#[test]
fn every_word_has_a_remedy_in_the_place_where_it_stands() {
    let mut missing = Vec::new();
    for (file, text) in sources() {
        let places = [
            ("Phase::Waiting(", Waiting),
            ("Phase::Failed(", Failed),
            ("Failure::new(", Source),
            ("details.push((", Detail),
        ];
        for (before, place) in places {
            for word in after(&text, before) {
                if remedy(place, word).is_none() {
                    missing.push(format!("{file}: {place:?} {word}"));
                }
            }
        }
        if file.contains("plan/migration") {
            for word in after(&text, "reason:") {
                if remedy(Waiting, word).is_none() {
                    missing.push(format!("{file}: {word}"));
                }
            }
        }
        let place = match file.rsplit_once("src/").map(|(_, file)| file) {
            Some("source/error.rs" | "source/tree.rs") => Source,
            Some("image/error.rs") => Waiting,
            _ => continue,
        };
        let body = text.split("pub fn reason(&self)").nth(1).unwrap();
        for word in camel(body.split("\n    }\n").next().unwrap()) {
            if remedy(place, &word).is_none() {
                missing.push(format!("{file}: {place:?} {word}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_phase_has_a_remedy() {
    let decision =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/decision.rs")).unwrap();
    let body = decision.split("pub enum Phase {").nth(1).unwrap();
    let body = body.split("\n}").next().unwrap();
    let variants: Vec<&str> = body
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split(['(', ',']).next().unwrap())
        .collect();
    assert!(variants.len() >= 12, "{variants:?}");
    for variant in variants {
        let inner = ["Waiting", "Failed"].contains(&variant);
        assert!(inner || remedy(Phase, variant).is_some(), "{variant}");
    }
}

/// Words that nobody is shown: these are told as `Migrating` and as `WaitingForImage`.
const NOT_SHOWN: [(Place, &str); 5] = [
    (Waiting, "Running"),
    (Waiting, "Starting"),
    (Waiting, "Suspending"),
    (Waiting, "JobDeleting"),
    (Waiting, "ImageNotFound"),
];

#[test]
fn every_word_that_asks_for_something_stands_in_the_page_on_troubleshooting() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md"));
    let page = page.unwrap();
    let missing: Vec<String> = REMEDIES
        .iter()
        .filter(|(place, word, remedy)| *remedy != "nothing" && !NOT_SHOWN.contains(&(*place, *word)))
        .map(|(place, word, _)| match place {
            Waiting => format!("`Waiting({word})`"),
            Failed => format!("`Failed({word})`"),
            _ => format!("`{word}`"),
        })
        .filter(|shown| !page.contains(shown.as_str()))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn no_word_stands_twice_and_each_remedy_is_one_line() {
    for (index, (place, word, text)) in REMEDIES.iter().enumerate() {
        let twice = REMEDIES
            .iter()
            .skip(index + 1)
            .any(|(p, w, _)| p == place && w == word);
        assert!(!twice, "{place:?} {word}");
        assert!(
            !text.contains('\n') && !text.ends_with('.') && text.len() > 6,
            "{word}"
        );
    }
}

#[test]
fn phases_are_taken_apart() {
    assert_eq!(phase("Waiting(SecretMissing)"), (Waiting, "SecretMissing"));
    assert_eq!(phase("Failed(Migrating)"), (Failed, "Migrating"));
    assert_eq!(phase("Live"), (Phase, "Live"));
}

#[test]
fn the_search_finds_words_of_every_form() {
    let text = "// \"NotThis\"\nlet a = [\"ImagePull\", \"Quota\"]; e(\"\\\"\"); f(\"a sentence\"); g(\"env\"); h(\n    \"Odd\")";
    assert_eq!(Vec::from_iter(camel(text)), ["ImagePull", "Quota"]);
    assert_eq!(
        after("x(\n  \"A\") x(b) x(\"C\")", "x(").collect::<Vec<_>>(),
        ["A", "C"]
    );
}

#[test]
fn every_condition_beside_the_phase_stands_in_the_page_on_concepts() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/concepts.md")).unwrap();
    let conditions = REMEDIES.iter().filter(|(place, ..)| *place == Detail);
    let missing: Vec<&str> = conditions
        .map(|(_, word, _)| *word)
        .filter(|word| !page.contains(&format!("\n| `{word}` | ")))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// A text whose literals are whole, though they go over several lines.
fn unbroken(text: &str) -> String {
    let mut lines = text.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        if let Some(length) = out.strip_suffix('\\').map(str::len) {
            out.truncate(length);
            out.push_str(line.trim_start());
        } else {
            out.push('\n');
            out.push_str(line);
        }
    }
    out
}

#[test]
fn the_words_of_problems_that_have_a_remedy_of_their_own_are_those_that_the_code_says() {
    let mut all = sources();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec"), &mut all);
    let all: String = all.iter().map(|(_, text)| unbroken(text)).collect();
    for (words, remedy) in PROBLEMS {
        assert!(all.contains(words), "nothing says {words:?}");
        assert!(!remedy.contains('\n') && !remedy.ends_with('.'), "{remedy}");
        assert_eq!(of_problem(&format!("a.yaml:1:1 {words} shop/billing")), *remedy);
    }
    assert!(of_problem("unknown field `replcias`").starts_with("mend the file"));
    assert_eq!(unbroken("a \\\n   b\nc"), "a b\nc");
}

#[test]
fn a_release_that_is_live_is_told_of_each_detail_that_has_a_remedy() {
    let with_remedy: BTreeSet<&str> = REMEDIES
        .iter()
        .filter(|(place, ..)| *place == Detail)
        .map(|(_, word, _)| *word)
        .collect();
    assert_eq!(with_remedy, crate::words::status::DETAILS.into_iter().collect());
}

#[test]
fn what_a_hint_says_is_not_taken_for_what_was_seen_of_pods() {
    let seen = "not complete within 10m: Deployment shop: 0 of 2 pods available";
    let hinted = format!("{seen}. Hint: a pod that cannot be scheduled is not restarted.");
    assert_eq!(of_pods(&hinted), of_pods(seen));
}
