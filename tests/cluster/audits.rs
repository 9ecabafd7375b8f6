//! What people are told of the past: fifty commits, of which the script keeps the truth as it goes; then an auditor's
//! questions about every moment, from git alone and joined with what the cluster still keeps, in every form.
//!
//! What was declared? Who declared it? What ran? Which digest? Did the migration run, and how did it end? No answer may differ
//! from the truth; where the cluster keeps no record, the answer is "not known".

mod questions;
mod script;
mod truth;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
    time::Instant,
};

use jiff::Timestamp;
use serde_json::Value;

use self::{
    questions::{Auditor, alone_as_in_a_range, declared_is_told, forms_agree, row, what_ran_is_told},
    script::SCRIPT,
    truth::Told,
};
use super::support::{list, shared, slipway};

const NS: &str = "audits";

#[test]
fn an_audit_of_fifty_commits_answers_five_questions_as_they_happened_and_else_that_it_is_not_known() {
    let _services = shared();
    let start = Instant::now();
    let mut told = Told::new();
    for (who, does, comes) in SCRIPT {
        told.step(who, does, comes);
    }
    assert_eq!(told.commits, 50);
    println!("50 commits took {} s", start.elapsed().as_secs());
    // What the database saw: each migration that was declared ran once, however often its version came back.
    let runs = told
        .case
        .sql("select release, event, count(*) from slipway_runs group by 1, 2 order by 1, 2");
    let runs: Vec<&str> = runs.lines().collect();
    let once: Vec<String> = (1..=6)
        .flat_map(|n| ["end", "start"].map(|event| format!("m{n}|{event}|1")))
        .collect();
    assert_eq!(runs, once);

    let auditor = Auditor {
        clone: told.case.repo.cloned(),
    };
    git_alone_knows_what_was_declared(&told, &auditor);
    the_cluster_knows_what_it_keeps(&told, &auditor);
    history_has_what_is_kept(&told);
    println!("with all questions {} s", start.elapsed().as_secs());
    told.case.end();
}

fn ends(told: &Told) -> [String; 4] {
    let (first, last) = (told.moments[0].0, told.moments.last().unwrap().0);
    ["--since", &first.to_string(), "--until", &last.to_string()].map(str::to_owned)
}

fn git_alone_knows_what_was_declared(told: &Told, auditor: &Auditor) {
    let when = ends(told);
    let when: Vec<&str> = when.iter().map(String::as_str).collect();
    let all = auditor.answer(false, &when);
    for (at, truths) in &told.moments {
        for (name, truth) in truths {
            declared_is_told(row(&all, name, *at), truth, &format!("git alone, {name} at {at}"));
        }
    }
    for (at, truths) in told.moments.iter().step_by(7) {
        let answer = auditor.answer(false, &["--at", &at.to_string()]);
        for (name, truth) in truths {
            let row = row(&answer, name, *at);
            let what = format!("git alone, {name} at {at} alone");
            declared_is_told(row, truth, &what);
            alone_as_in_a_range(row, self::row(&all, name, *at), &what);
            assert!(row.is_none_or(|row| row["ran"] == "not asked" && row["became"].is_null()));
        }
    }
    let [csv, table] = ["csv", "table"].map(|format| auditor.asks(false, &when, format));
    forms_agree(&all, &csv, &table);
}

fn the_cluster_knows_what_it_keeps(told: &Told, auditor: &Auditor) {
    let kept: BTreeMap<&str, BTreeSet<i64>> = ["app", "second"]
        .into_iter()
        .map(|name| {
            let revisions = list("releaserevision", NS, &format!("slipway.dev/release={name}"));
            let numbers = revisions
                .iter()
                .map(|revision| revision["spec"]["number"].as_i64().unwrap());
            (name, numbers.collect())
        })
        .collect();
    // What `retain` is when no spec says it: five, and what runs.
    assert!((5..=7).contains(&kept["app"].len()), "{kept:?}");
    let counts: Mutex<BTreeMap<(&str, bool), usize>> = Mutex::default();
    thread::scope(|scope| {
        for part in told.moments.chunks(told.moments.len().div_ceil(4)) {
            let (kept, counts) = (&kept, &counts);
            scope.spawn(move || {
                for (at, truths) in part {
                    let answer = auditor.answer(true, &["--at", &at.to_string()]);
                    for (name, truth) in truths {
                        let what = format!("{name} at {at}");
                        let row = row(&answer, name, *at);
                        declared_is_told(row, truth, &what);
                        let Some(row) = row else { continue };
                        let known = what_ran_is_told(row, truth, &kept[name], &what);
                        *counts.lock().unwrap().entry((*name, known)).or_default() += 1;
                    }
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    let count = |name, known| counts.get(&(name, known)).copied().unwrap_or(0);
    println!(
        "{} moments: what ran is known of app for {} and not for {}, of second for {} and not for {}",
        told.moments.len(),
        count("app", true),
        count("app", false),
        count("second", true),
        count("second", false),
    );
    assert!(count("app", true) >= 8 && count("app", false) >= 30, "{counts:?}");
    assert!(
        count("second", true) >= 30 && count("second", false) >= 3,
        "{counts:?}"
    );
    let when = ends(told);
    let when: Vec<&str> = when.iter().map(String::as_str).collect();
    let all = auditor.answer(true, &when);
    // The last second of each span: nothing has changed since the truth was noted.
    for row in all["rows"].as_array().unwrap() {
        let moment: Timestamp = row["moment"].as_str().unwrap().parse().unwrap();
        let (at, truths) = told.moments.iter().rfind(|(at, _)| *at <= moment).unwrap();
        let name = row["release"].as_str().unwrap().rsplit('/').next().unwrap();
        let truth = &truths[name];
        let what = format!("{name} at the end of its span, {moment}, noted at {at}");
        declared_is_told(Some(row), truth, &what);
        // Of one that was overtaken nobody noted what came of it.
        what_ran_is_told(row, truth, &kept[name], &what);
    }
    let [csv, table] = ["csv", "table"].map(|format| auditor.asks(true, &when, format));
    forms_agree(&all, &csv, &table);
}

fn history_has_what_is_kept(told: &Told) {
    let text = slipway(&["history", "app", "-n", NS]);
    assert!(text.contains("older revisions are not kept"), "{text}");
    let answer: Value =
        serde_json::from_str(&slipway(&["history", "app", "-n", NS, "--format", "json"])).unwrap();
    let rows = answer["revisions"].as_array().unwrap();
    let numbers: Vec<i64> = rows.iter().map(|row| row["revision"].as_i64().unwrap()).collect();
    let mut kept: Vec<i64> = told
        .case
        .revisions()
        .iter()
        .map(|revision| revision["spec"]["number"].as_i64().unwrap())
        .collect();
    kept.reverse();
    assert_eq!(numbers, kept, "newest first");
    for row in rows {
        let Some((version, attempt)) = told.attempts.get(&row["revision"].as_i64().unwrap()) else {
            assert_eq!(row["outcome"], "Superseded", "{row}");
            continue;
        };
        let told = [&row["version"], &row["outcome"], &row["migration"]];
        assert_eq!(
            told,
            [version.as_str(), attempt.outcome, attempt.migration],
            "{row}"
        );
        let short = row["digest"].as_str().unwrap().get(..19).unwrap();
        assert!(text.contains(short), "{short}: {text}");
    }
}
