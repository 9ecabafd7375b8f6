//! What the audit says, and where it says that it does not know.

use serde_json::Value;

use super::{super::fixtures::*, *};
use crate::words::utc;

fn id(name: &str) -> ReleaseId {
    ReleaseId {
        namespace: "shop".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn commit(n: u32) -> CommitId {
    format!("{n:040x}").parse().unwrap()
}

fn version(text: &str) -> Version {
    Version {
        version: text.into(),
        image: format!("ghcr.io/acme/billing:{text}"),
        image_from: None,
        path: "production/billing.yaml".into(),
    }
}

/// The tip `n`, a minute after the one before.
fn tip(n: u32, releases: &[(&str, &str)], held: &[&str]) -> Tip {
    let reading = Reading {
        releases: releases
            .iter()
            .map(|(name, text)| (id(name), version(text)))
            .collect(),
        held: held
            .iter()
            .map(|name| (id(name), "a.yaml:1:1: broken".to_owned()))
            .collect(),
    };
    Tip {
        commit: commit(n),
        at: at(i64::from(n) * 60),
        read: Some(Ok(reading)),
    }
}

fn versions(spans: &[Span]) -> Vec<(String, Option<i64>, Option<i64>)> {
    let seconds = |time: Option<Timestamp>| time.map(|time| time.as_second() - at(0).as_second());
    let mut all: Vec<_> = spans
        .iter()
        .map(|span| {
            let declared = span
                .declared
                .as_ref()
                .map_or("none", |declared| declared.version.as_str());
            (
                format!("{} {declared}", span.release.name),
                seconds(span.from),
                seconds(span.until),
            )
        })
        .collect();
    all.sort_by_key(|(name, from, _)| (name.split(' ').next().unwrap().to_owned(), *from));
    all
}

#[test]
fn each_version_has_the_time_in_which_the_branch_declared_it() {
    let tips = [
        tip(0, &[("a", "1"), ("b", "1")], &[]),
        tip(1, &[("a", "1"), ("b", "2")], &[]),
        tip(2, &[("a", "2")], &[]),
        tip(3, &[("a", "2"), ("c", "1")], &[]),
    ];
    assert_eq!(
        versions(&spans(&tips)),
        [
            ("a 1".into(), None, Some(120)),
            ("a 2".into(), Some(120), None),
            ("b 1".into(), None, Some(60)),
            ("b 2".into(), Some(60), Some(120)),
            ("b none".into(), Some(120), None),
            ("c 1".into(), Some(180), None),
        ]
    );
}

#[test]
fn a_commit_that_cannot_be_read_changes_nothing_and_is_named() {
    let mut tips = vec![
        tip(0, &[("a", "1")], &[]),
        tip(1, &[], &["a"]),
        tip(2, &[("a", "3")], &[]),
    ];
    let held = spans(&tips[..2]);
    assert_eq!(versions(&held), [("a 1".into(), None, None)]);
    let named = |spans: &[Span]| {
        spans[0]
            .held
            .as_ref()
            .map(|held| (held.commit.clone(), held.why.clone()))
    };
    assert_eq!(named(&held), Some((commit(1), "a.yaml:1:1: broken".into())));
    assert_eq!(
        versions(&spans(&tips))[0].2,
        Some(120),
        "until the next that can be read"
    );
    tips[1].read = Some(Err("no such directory".into()));
    let held = spans(&tips[..2]);
    assert_eq!(
        (held.len(), named(&held)),
        (1, Some((commit(1), "no such directory".into())))
    );
    tips[1].read = None;
    assert_eq!(
        named(&spans(&tips[..2])),
        None,
        "a commit that touches no spec is like none"
    );
}

#[test]
fn a_commit_that_was_mended_is_named_in_a_range_and_at_a_moment_before_the_mend() {
    let tips = [
        tip(0, &[("a", "1")], &[]),
        tip(10, &[], &["a"]),
        tip(20, &[("a", "1")], &[]),
        tip(30, &[("a", "1"), ("b", "1")], &[]),
    ];
    let note = |asked: Asked| {
        let until = asked.ends().1;
        let tips: Vec<Tip> = tips.iter().filter(|tip| tip.at <= until).cloned().collect();
        let spans = spans(&tips).into_iter().map(|span| (span, None)).collect();
        json(&rows(spans, asked, None), asked, &[])["rows"][0]["note"].clone()
    };
    let named = "in commit 000000000000 its files cannot be used, so what was declared before stayed: a.yaml:1:1: broken";
    for asked in [
        Asked::Between(at(0), at(900)),
        Asked::Between(at(0), at(1800)),
        Asked::Between(at(700), at(1800)),
        Asked::At(at(600)),
        Asked::At(at(1199)),
    ] {
        assert_eq!(note(asked), named, "{asked:?}");
    }
    for asked in [Asked::At(at(1200)), Asked::Between(at(1200), at(1800))] {
        assert_eq!(note(asked), "", "{asked:?}");
    }
}

#[test]
fn where_the_version_stayed_and_the_image_moved_the_rows_say_which_image() {
    let mut tips = [
        tip(0, &[("a", "1")], &[]),
        tip(10, &[("a", "2")], &[]),
        tip(20, &[("a", "2")], &[]),
        tip(30, &[("a", "3")], &[]),
    ];
    if let Some(Ok(reading)) = &mut tips[2].read {
        reading.releases.get_mut(&id("a")).unwrap().image = "ghcr.io/evil/billing:2".into();
    }
    let asked = Asked::Between(at(0), at(9000));
    let spans = spans(&tips).into_iter().map(|span| (span, None)).collect();
    let text = table(&rows(spans, asked, None), asked, &[]);
    let notes: Vec<&str> = text
        .lines()
        .skip(2)
        .map(|line| line.rsplit("  ").next().unwrap())
        .collect();
    assert_eq!(
        notes,
        [
            "",
            "image ghcr.io/acme/billing:2",
            "image ghcr.io/evil/billing:2",
            ""
        ]
        .map(|note| if note.is_empty() { "-" } else { note }),
        "{text}"
    );
}

#[test]
fn a_span_of_no_length_is_told_at_its_beginning() {
    let mut tips = [
        tip(0, &[("a", "1")], &[]),
        tip(10, &[("a", "2")], &[]),
        tip(11, &[("a", "3")], &[]),
    ];
    tips[2].at = tips[1].at;
    let asked = Asked::Between(at(0), at(9000));
    let moments: Vec<_> = spans(&tips)
        .iter()
        .map(|span| moment(span, asked).unwrap())
        .collect();
    assert!(moments.contains(&at(600)), "{moments:?}");
}

#[test]
fn a_span_is_an_answer_only_if_it_touches_the_time_asked_for() {
    let tips = [
        tip(0, &[("a", "1")], &[]),
        tip(10, &[("a", "2")], &[]),
        tip(20, &[("a", "3")], &[]),
    ];
    let at_moment = |asked: Asked| -> Vec<String> {
        let spans = spans(&tips).into_iter().map(|span| (span, None)).collect();
        rows(spans, asked, None)
            .into_iter()
            .map(|row| row.span.declared.unwrap().version)
            .collect()
    };
    assert_eq!(at_moment(Asked::At(at(599))), ["1"]);
    assert_eq!(at_moment(Asked::At(at(600))), ["2"]);
    assert_eq!(at_moment(Asked::Between(at(600), at(1199))), ["2"]);
    assert_eq!(at_moment(Asked::Between(at(10), at(2000))), ["1", "2", "3"]);
}

fn record(revisions: Vec<crate::api::ReleaseRevision>) -> Record {
    Record {
        revisions,
        ..Record::default()
    }
}

#[test]
fn what_was_live_is_known_where_no_revision_is_missing() {
    // Each is made at 100 n and live a minute later; v3 fails.
    let mut record = record(vec![
        revision(1, "1.0.0", 100, Some("Live")),
        revision(2, "1.1.0", 200, Some("Live")),
        revision(3, "1.2.0", 300, Some("RolloutFailed")),
        revision(4, "1.3.0", 400, None),
    ]);
    record.since = Some(at(40));
    let at_moment = |second: i64| match ran(&record, at(second)) {
        Ran::Was(run) => format!("v{} {} {:?}", run.revision, run.migration, run.coming),
        Ran::Nothing { coming } => format!("nothing {coming:?}"),
        other => format!("{other:?}"),
    };
    assert_eq!(at_moment(50), "nothing None");
    assert_eq!(at_moment(120), "nothing Some(\"1.0.0 (v1)\")");
    assert_eq!(at_moment(170), "v1 succeeded None");
    assert_eq!(at_moment(230), "v1 succeeded Some(\"1.1.0 (v2)\")");
    assert_eq!(at_moment(370), "v2 succeeded None", "v3 failed, so v2 ran on");
    assert_eq!(at_moment(9000), "v2 succeeded Some(\"1.3.0 (v4)\")");
}

#[test]
fn of_the_time_before_the_cluster_had_the_release_nothing_is_known() {
    let mut record = record(vec![revision(1, "1.0.0", 100, Some("Live"))]);
    let begins = |record: &Record, second: i64| match ran(record, at(second)) {
        Ran::NotKnown(why) => why,
        other => format!("{other:?}"),
    };
    let at_100 = format!("the records of this cluster begin at {}", utc(at(100)));
    assert_eq!(
        begins(&record, 50),
        at_100,
        "v1 may be the first one of a cluster that was built anew"
    );
    assert!(begins(&record, 120).starts_with("Nothing"));
    record.since = Some(at(40));
    assert!(
        begins(&record, 50).starts_with("Nothing"),
        "it was declared here, and waited"
    );
    assert!(begins(&record, 30).contains("begin at"));
    record.since = Some(at(5000));
    assert_eq!(
        begins(&record, 50),
        at_100,
        "an object that was deleted and written again is younger than its revisions"
    );
}

#[test]
fn where_a_revision_is_no_longer_kept_nobody_guesses() {
    // v1 and v2 are gone; v3 was live before v4 failed; v5 is gone; v6 is live.
    let record = record(vec![
        revision(3, "1.2.0", 300, Some("Live")),
        revision(4, "1.3.0", 400, Some("RolloutFailed")),
        revision(6, "1.5.0", 600, Some("Live")),
    ]);
    let known = |second: i64| match ran(&record, at(second)) {
        Ran::Was(run) => format!("v{}", run.revision),
        Ran::NotKnown(why) => why,
        other => format!("{other:?}"),
    };
    assert_eq!(known(200), "v1 to v2 may have run, and is no longer kept");
    assert_eq!(
        known(310),
        "v1 to v2 may have run, and is no longer kept",
        "v3 is only on its way"
    );
    assert_eq!(known(370), "v3", "those before v3 were over when it became live");
    assert_eq!(known(470), "v5 may have run, and is no longer kept");
    assert_eq!(known(670), "v6");
    assert!(matches!(ran(&Record::default(), at(0)), Ran::NotKnown(_)));
}

#[test]
fn of_a_version_that_came_back_and_may_run_nobody_says_that_nothing_became_of_it() {
    // v16, which was 2.1.0, is no longer kept; v17 failed, and its commit was taken back.
    let record = record(vec![
        revision(17, "2.2.0", 1000, Some("MigrationFailed")),
        revision(18, "2.3.0", 2000, Some("Live")),
    ]);
    let ran = ran(&record, at(1500));
    assert!(matches!(ran, Ran::NotKnown(_)), "{ran:?}");
    let became = became(&record, &version("2.1.0"), Some(at(1200)), at(1500), &ran);
    assert!(matches!(became, Became::NotKnown(_)), "{became:?}");
}

#[test]
fn of_the_time_before_the_records_were_lost_nothing_is_told() {
    let mut first = revision(1, "1.0.0", 5000, Some("Live"));
    first.spec.cause = "record lost: what runs, as it was found".to_owned();
    let record = record(vec![first, revision(2, "1.1.0", 9000, Some("Live"))]);
    for second in [0, 4999] {
        let Ran::NotKnown(why) = ran(&record, at(second)) else {
            panic!("{second}")
        };
        assert!(why.contains("were lost"), "{why}");
        let became = became(&record, &version("1.0.0"), None, at(second), &Ran::NotKnown(why));
        assert!(matches!(became, Became::NotKnown(_)), "{became:?}");
    }
    assert!(matches!(ran(&record, at(6000)), Ran::Was(run) if run.revision == 1));
}

#[test]
fn what_ran_before_a_removal_is_not_told_of_the_time_after_it() {
    let again = |second| Record {
        again: vec![at(second)],
        ..record(vec![
            revision(1, "1.0.0", 100, Some("Live")),
            revision(2, "1.1.0", 600, Some("Live")),
        ])
    };
    let known = |record: &Record, second: i64| match ran(record, at(second)) {
        Ran::Was(run) => format!("v{}", run.revision),
        Ran::NotKnown(why) => why,
        other => format!("{other:?}"),
    };
    let removed = again(590);
    assert_eq!(
        known(&removed, 300),
        "v1",
        "before it was declared again nothing is in doubt"
    );
    let why = known(&removed, 620);
    assert!(
        why.contains("was not declared until 2026-05-03T09:29:50Z"),
        "{why}"
    );
    assert_eq!(known(&removed, 670), "v2");
    assert_eq!(known(&again(50), 120), "Nothing { coming: Some(\"1.0.0 (v1)\") }");
    let gaps = [
        tip(0, &[("a", "1"), ("b", "1")], &[]),
        tip(1, &[("b", "1")], &[]),
        tip(2, &[("a", "1"), ("b", "1"), ("c", "1")], &[]),
    ];
    assert_eq!(declared_again(&spans(&gaps)), [(id("a"), at(120))]);
}

#[test]
fn what_became_of_what_was_declared_is_told_where_something_else_ran() {
    // Each is made at 100 n and ends a minute later.
    let mut failed = revision(3, "1.2.0", 300, Some("MigrationFailed"));
    failed.status.as_mut().unwrap().migration.as_mut().unwrap().state = "failed".into();
    let mut record = record(vec![
        revision(1, "1.0.0", 100, Some("Live")),
        revision(2, "1.1.0", 200, Some("Live")),
        failed,
        revision(4, "1.3.0", 400, Some("Live")),
        revision(6, "1.2.0", 600, Some("Live")),
        revision(7, "1.1.0", 700, Some("RolloutFailed")),
    ]);
    let told = |record: &Record, text: &str, from: Option<i64>, second: i64| {
        let moment = at(second);
        match became(record, &version(text), from.map(at), moment, &ran(record, moment)) {
            Became::Was(was) => format!("v{} {} {}", was.revision, was.outcome, was.migration),
            Became::NotKnown(why) => why,
            other => format!("{other:?}"),
        }
    };
    assert_eq!(
        told(&record, "1.1.0", Some(190), 270),
        "v2 Live succeeded",
        "it ran"
    );
    assert_eq!(
        told(&record, "1.2.0", Some(290), 370),
        "v3 MigrationFailed failed"
    );
    assert_eq!(told(&record, "1.2.0", Some(290), 295), "Nothing", "not yet");
    assert_eq!(
        told(&record, "1.1.0", Some(690), 770),
        "v7 RolloutFailed succeeded"
    );
    let lost = "v5 may have been made of it, and is no longer kept";
    assert_eq!(told(&record, "1.9.0", Some(490), 570), lost);
    assert_eq!(
        told(&record, "1.3.0", Some(390), 570),
        lost,
        "it may have been tried again"
    );
    record.revisions.retain(|revision| revision.spec.number > 3);
    let lost = "v1 to v3 may have been made of it, and is no longer kept";
    assert_eq!(told(&record, "1.0.0", None, 170), lost);
}

#[test]
fn an_earlier_revision_of_a_version_that_came_back_is_not_what_became_of_it() {
    let record = record(vec![
        revision(1, "1.0.0", 100, Some("Live")),
        revision(2, "1.1.0", 200, Some("Live")),
    ]);
    let records = [(id("a"), Ok(record))].into();
    // Only the commit that is in force at the moment is read, and it was said at 300.
    let by = Author {
        commit: COMMIT.into(),
        author: "Ada <ada@acme.com>".into(),
        committed: at(300),
        subject: "back".into(),
    };
    let spans = spans(&[tip(5, &[("a", "1.0.0")], &[])]);
    let spans = spans.into_iter().map(|span| (span, Some(by.clone()))).collect();
    let rows = rows(spans, Asked::At(at(310)), Some(&records));
    assert_eq!(rows[0].became, Became::Nothing);
    assert!(matches!(&rows[0].ran, Ran::Was(run) if run.version == "1.1.0"));
}

fn answer(ran: Ran, became: Became) -> Vec<Row> {
    let tips = [tip(0, &[("a", "1")], &[]), tip(10, &[("a", "2")], &[])];
    let by = Author {
        commit: COMMIT.into(),
        author: "=cmd, \"Ada\" <ada@acme.com>".into(),
        committed: at(0),
        subject: "a\nb".into(),
    };
    let mut rows = rows(
        spans(&tips)
            .into_iter()
            .map(|span| (span, Some(by.clone())))
            .collect(),
        Asked::At(at(10)),
        None,
    );
    (rows[0].ran, rows[0].became) = (ran, became);
    rows
}

#[test]
fn the_three_forms_say_the_same() {
    let Ran::Was(run) = ran(&record(vec![revision(1, "1.0.0", -100, Some("Live"))]), at(10)) else {
        unreachable!()
    };
    let failed = Attempt {
        revision: 2,
        outcome: "MigrationFailed".into(),
        migration: "failed".into(),
    };
    let rows = answer(Ran::Was(run), Became::Was(failed));
    let asked = Asked::At(at(10));
    let text = table(&rows, asked, &[]);
    for words in [
        "at 2026-05-03T09:20:10Z (UTC)",
        "shop/a",
        "1.0.0 (v1)",
        "sha256:111111111111",
        "MigrationFailed (v2)  failed",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(text.contains("another version ran than was declared"));
    let value = json(&rows, asked, &["the future".to_owned()]);
    assert_eq!(value["notes"], serde_json::json!(["the future"]));
    let row = &value["rows"][0];
    assert_eq!((&row["ran"], &row["revision"]), (&"known".into(), &1.into()));
    assert_eq!(row["migration"], "succeeded", "of what ran");
    assert_eq!(
        (&row["became"], &row["becameRevision"], &row["becameMigration"]),
        (&"MigrationFailed".into(), &2.into(), &"failed".into())
    );
    let csv = csv(&rows);
    let mut lines = csv.split("\r\n");
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(
        head.iter().collect::<BTreeSet<_>>().len(),
        names.len(),
        "the head names each fact"
    );
    assert!(names.iter().all(|name| head.contains(&name.as_str())), "{head:?}");
    let line = lines.next().unwrap();
    assert!(line.contains("\"'=cmd, \"\"Ada\"\" <ada@acme.com>\""), "{line}");
    assert!(line.contains(",a b,"), "{line}");
}

#[test]
fn without_a_record_every_form_says_not_known() {
    let why = "v1 to v2 may have run, and is no longer kept";
    let rows = answer(Ran::NotKnown(why.into()), Became::NotKnown("the same".into()));
    let text = table(&rows, Asked::At(at(10)), &["b\nc".to_owned()]);
    assert!(
        text.contains("not known  not known  not known  not known  v1 to v2"),
        "{text}"
    );
    assert!(text.ends_with("\nnote: b c\n"), "{text}");
    assert!(table(&[], Asked::At(at(10)), &["d".to_owned()]).ends_with("\nnote: d\n"));
    let row = &json(&rows, Asked::At(at(10)), &[])["rows"][0];
    assert_eq!((&row["ran"], &row["digest"]), (&"not known".into(), &Value::Null));
    assert_eq!(
        (&row["became"], &row["becameMigration"]),
        (&"not known".into(), &Value::Null)
    );
    assert_eq!(csv(&rows).matches(",not known,").count(), 2);
}
