//! What `status` says, as claims.

use super::{super::fixtures::*, *};

fn seen(releases: Vec<Release>, sources: Vec<ReleaseSource>) -> Seen {
    Seen {
        releases,
        sources,
        unread: Vec::new(),
    }
}

#[test]
fn problems_come_first_and_each_release_has_one_line() {
    let releases = vec![
        release("a-live", "Live", "1.9.0 is live (v5)"),
        with_detail(
            release("b-pods", "Live", "1.9.0 is live (v5)"),
            "Degraded",
            "pod x: OOMKilled",
        ),
        release("c-moving", "RollingOut", "1.9.0 (v5) is being rolled out"),
        release(
            "d-waits",
            "Waiting(SecretMissing)",
            "Secret db with key url does not exist",
        ),
        release(
            "e-failed",
            "Failed(Migrating)",
            "migration abababab failed: exit code 1",
        ),
        with_detail(
            release("f-tag", "Live", "1.9.0 is live (v5)"),
            "TagMoved",
            "the tag now has another digest",
        ),
        release("g-back", "RolledBack", "1.9.0 failed"),
    ];
    let text = text(&seen(releases, vec![]), "in namespace shop", at(200));
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "shop/e-failed",
            "shop/g-back",
            "shop/b-pods",
            "shop/d-waits",
            "shop/c-moving",
            "shop/f-tag",
            "shop/a-live"
        ]
    );
    let waits = text.lines().find(|line| line.contains("d-waits")).unwrap();
    for words in [
        "Waiting(SecretMissing)",
        "1.8.2 live, 1.9.0 declared",
        "for 3m",
        "Secret db with key url does not exist",
    ] {
        assert!(waits.contains(words), "{words} in {waits}");
    }
    assert!(text.contains("pod x: OOMKilled") && text.contains("the tag now has another digest"));
}

#[test]
fn a_builder_that_cannot_run_is_told_once_and_one_that_runs_not_at_all() {
    let with = |status: &str| {
        let mut source = source("Applied", "…", &[]);
        let condition = serde_json::json!({
            "type": "BuilderReady", "status": status, "reason": "BuilderCannotRun",
            "message": "the builder cannot run here: user namespaces are off", "lastTransitionTime": "1970-01-01T00:00:00Z",
        });
        let conditions = &mut source.status.as_mut().unwrap().conditions;
        conditions.push(serde_json::from_value(condition).unwrap());
        source
    };
    let said = |status: &str| text(&seen(vec![], vec![with(status), with(status)]), "", at(60));
    let lines = said("False");
    assert_eq!(lines.matches("user namespaces are off").count(), 1, "{lines}");
    assert!(!said("True").contains("builder"));
}

#[test]
fn a_source_with_problems_comes_before_all_releases_with_place_and_sentence() {
    let problems = [
        ("production/a.yaml:3:5", "unknown field `replcias`"),
        ("b.yaml:1:1", "no"),
    ];
    let sources = vec![source("Problems", "…", &problems)];
    let text = text(
        &seen(vec![release("a", "Failed(RollingOut)", "no")], sources),
        "",
        at(60),
    );
    let first = text.lines().next().unwrap();
    for words in [
        "source releases",
        "2 problems, the first: production/a.yaml:3:5 unknown field `replcias`",
        "commit 0123456789ab in force",
    ] {
        assert!(first.contains(words), "{words} in {first}");
    }
}

#[test]
fn a_source_that_cannot_be_fetched_says_that_and_not_the_problems_of_the_commit_before() {
    let text = text(
        &seen(
            vec![],
            vec![source(
                "Unreachable",
                "cannot fetch branch main",
                &[("a.yaml:1:1", "old problem")],
            )],
        ),
        "in namespace shop",
        at(60),
    );
    assert!(
        text.contains("cannot fetch branch main") && !text.contains("old problem"),
        "{text}"
    );
    assert!(text.ends_with("no release in namespace shop\n"), "{text}");
}

#[test]
fn a_source_in_order_is_not_a_line_and_is_in_the_json() {
    let seen = seen(vec![], vec![source("Applied", "commit is applied", &[])]);
    assert!(!text(&seen, "", at(1)).contains("releases "));
    assert_eq!(json(&seen)["sources"][0]["ready"], true);
}

#[test]
fn a_spec_that_nobody_has_looked_at_is_not_told_as_live() {
    let mut release = release("a", "Live", "1.9.0 is live (v5)");
    release.metadata.generation = Some(3);
    let row = row(&release);
    assert_eq!(row.weight, Weight::Moving);
    assert!(row.message.contains("not looked at"), "{row:?}");
}

#[test]
fn what_could_not_be_read_is_said() {
    let mut seen = seen(vec![], vec![]);
    seen.unread
        .push("failed to list ReleaseSources: forbidden".into());
    assert!(text(&seen, "", at(1)).contains("not shown: failed to list ReleaseSources"));
}

#[test]
fn the_json_has_every_fact_of_the_line() {
    let value = json(&seen(vec![release("a", "Waiting(Quota)", "no room")], vec![]));
    let row = &value["releases"][0];
    assert_eq!(row["release"], "shop/a");
    assert_eq!(
        (&row["declared"], &row["live"]),
        (&"1.9.0".into(), &"1.8.2".into())
    );
    assert_eq!(row["since"], "2026-05-03T09:20:00Z");
    assert_eq!((&row["problem"], &row["commit"]), (&true.into(), &COMMIT.into()));
}
