//! What Slipway has on record is lost, and the database is another one: what has run is known, or it is asked.

use serde_json::Value;

use super::support::{self, Before, Case, Mark, get, kubectl, migrating, script, shared, wait_telling};

/// A release whose second version is live, too; both have migrated.
fn migrated_twice(name: &str) -> Case {
    let base = migrating(name, &format!(", RELEASE: {name}")) + "  replicas: 1\n";
    let case = Case::new(name, &base);
    for version in ["1.0.0", "1.1.0"] {
        case.declare(version, &format!("version: {version}"));
        case.live(version);
    }
    case
}

/// How often migrations of a version began and ended.
fn runs(case: &Case, version: &str) -> String {
    let count = |event: &str| {
        let query =
            format!("select count(*) from slipway_runs where version = '{version}' and event = '{event}'");
        case.sql(&query).trim().to_owned()
    };
    format!("{} begun, {} ended", count("start"), count("end"))
}

/// State and Job of each key on record; nothing while there is no ledger.
fn ledger(case: &Case) -> Option<Vec<(String, Value, Value)>> {
    let ledger = get("configmap", &case.ns, "app-ledger")?;
    let entries = ledger["data"].as_object()?.iter();
    Some(
        entries
            .map(|(key, entry)| {
                let entry: Value = serde_json::from_str(entry.as_str().unwrap()).unwrap();
                (key.clone(), entry["state"].clone(), entry["uid"].clone())
            })
            .collect(),
    )
}

#[test]
fn a_ledger_that_is_deleted_is_made_anew_from_the_revisions_and_nothing_runs_again() {
    let _services = shared();
    let case = migrated_twice("rec-ledger");
    let (before, entries) = (Before::of(&case), ledger(&case).unwrap());
    assert_eq!(entries.len(), 2);
    kubectl(&["-n", &case.ns, "delete", "configmap", "app-ledger"]);
    wait_telling(
        "the ledger is there again",
        || case.state(),
        || (ledger(&case)? == entries).then_some(()),
    );
    // Only what does not happen can be told here: it would happen within two looks of ten seconds.
    case.looked_at(2);
    before.holds(&case);
    assert_eq!(case.phase(), "Live");
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(runs(&case, version), "1 begun, 1 ended", "{version}");
    }
    case.end();
}

#[test]
fn another_database_is_migrated_and_said_to_be_another() {
    let _services = shared();
    let case = migrated_twice("rec-moved");
    assert_eq!(runs(&case, "1.1.0"), "1 begun, 1 ended");
    let since = Mark::now();
    let url = script("db-new", &["db_rec_moved_on"]);
    support::set(&case.ns, "app-db", "url", url.trim());
    wait_telling(
        "it is live on the other database",
        || case.state(),
        || {
            let newest = case.revisions().pop()?;
            let moved = newest["spec"]["cause"].as_str()?.contains("database");
            let live = case.release()["status"]["liveRevision"] == newest["metadata"]["name"];
            (moved && live && case.phase() == "Live").then_some(())
        },
    );
    // Those of the database that the Secret names by now.
    assert_eq!(runs(&case, "1.1.0"), "1 begun, 1 ended");
    assert_eq!(runs(&case, "1.0.0"), "0 begun, 0 ended");
    assert_eq!(
        since.created(&case.ns, "jobs").len(),
        1,
        "it has a Job of its own"
    );
    case.end();
}

/// What stops Slipway: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{
        super::support::{Aside, alone},
        *,
    };

    #[test]
    fn a_ledger_and_revisions_that_are_deleted_are_unknown_until_a_commit_accepts() {
        let _services = alone();
        let case = migrated_twice("rec-both");
        let before = Before::of(&case);
        {
            // While it is up, one is made anew from the other as soon as it is gone.
            let _down = Aside::new();
            kubectl(&["-n", &case.ns, "delete", "configmap", "app-ledger"]);
            kubectl(&["-n", &case.ns, "delete", "releaserevisions", "--all"]);
        }
        wait_telling(
            "it is unknown",
            || case.state(),
            || case.message().contains("LedgerMissing").then_some(()),
        );
        case.explained(&["LedgerMissing"], "commit migrate.accept: \"");
        case.looked_at(2);
        before.leaves_alone(&case);
        let message = case.message();
        let (_, after) = message.split_once("migrate.accept: ").expect("it names the key");
        let key = after.split([' ', ',', ';']).next().unwrap().trim_matches('"');
        case.declare(
            "it is done",
            &format!("version: 1.1.0\nmigrate: {{command: [/app/bin/migrate], accept: '{key}'}}"),
        );
        case.live("1.1.0");
        for version in ["1.0.0", "1.1.0"] {
            assert_eq!(runs(&case, version), "1 begun, 1 ended", "{version}");
        }
        case.end();
    }
}
