//! What befalls one release is nothing to another one: S18 and L4, judged against the same story without the fault.

use std::time::Duration;

use serde_json::json;
use slipway::trace::{Invariant, Trace};

use super::{
    api::Answer,
    inject::{Fault, Rule, writes},
    story::{SHOP, Story, migrating, plain, tell},
};

/// Where the neighbour is.
const OTHER: &str = "other";

/// A release to which nothing happens, with a database of its own.
fn settle_neighbour(story: &mut Story) {
    story.namespace(OTHER);
    story.secret(OTHER, "app-db", "url", "postgres://calm:pw@db.example.com/calm");
    story.declare_in(OTHER, "calm", &migrating("1.0.0", 7));
}

async fn neighbour_is_live(story: &Story, version: &str) {
    let what = format!("the neighbour is Live of {version}");
    story
        .wait(&what, |story| {
            let calm = story.server.get("Release", OTHER, "calm").unwrap();
            calm["status"]["phase"] == "Live" && calm["status"]["liveVersion"] == version
        })
        .await;
}

/// Both come to their first version, then the fault begins, and both are given a second one.
async fn both(story: &mut Story, begin: impl FnOnce(&mut Story)) {
    story.declare(&migrating("1.0.0", 1));
    story.live("1.0.0").await;
    settle_neighbour(story);
    neighbour_is_live(story, "1.0.0").await;
    begin(story);
    tokio::time::sleep(Duration::from_secs(90)).await;
    story.declare_in(OTHER, "calm", &migrating("1.1.0", 8));
    neighbour_is_live(story, "1.1.0").await;
}

fn without() -> Trace {
    tell(async |mut story| {
        let _process = story.start("a");
        both(&mut story, |story| story.declare(&migrating("1.1.0", 2))).await;
        story.live("1.1.0").await;
        story.end().await;
        story.trace_of(OTHER)
    })
}

#[test]
fn whatever_befalls_a_release_its_neighbour_is_written_as_without_it_and_hardly_later() {
    type Begin = fn(&mut Story);
    let faults: [(&str, bool, Begin); 5] = [
        ("a migration that fails", true, |story| {
            story.world.script().failing.insert("app".to_owned());
            story.declare(&migrating("1.1.0", 2));
        }),
        ("a version that crashes", true, |story| {
            story.world.script().crashing.insert(super::story::digest(2));
            story.declare(&plain("1.1.0", 2));
        }),
        ("a Secret that is missing", true, |story| {
            story.declare(&format!(
                "{}env: {{A: {{secret: gone/key}}}}\n",
                plain("1.1.0", 2)
            ));
        }),
        ("a server that answers 500 about it", true, |story| {
            let of = |request: &super::api::Request| {
                request.namespace == SHOP && writes(request) && request.sub != "status"
            };
            story
                .server
                .inject(Rule::on(of, Fault::Answer(Answer::broken(500))));
            story.declare(&migrating("1.1.0", 2));
        }),
        ("a server that is silent about it", false, |story| {
            story
                .server
                .inject(Rule::on(|request| request.namespace == SHOP, Fault::Silence));
            story.declare(&migrating("1.1.0", 2));
        }),
    ];
    let reference = without();
    for (what, told, begin) in faults {
        tell(async |mut story| {
            let process = story.start("a");
            both(&mut story, begin).await;
            assert_ne!(
                story.release("app")["status"]["liveVersion"],
                json!("1.1.0"),
                "{what}"
            );
            let mut trace = story.trace();
            trace = trace.compared_with(reference.clone());
            let verdict = slipway::trace::judge(&trace);
            let broken: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
            assert!(broken.is_empty(), "{what}:\n{}", broken.join("\n"));
            assert_eq!(verdict.coverage.instances(Invariant::S18), 1, "{what}");
            if told {
                assert!(verdict.coverage.instances(Invariant::L4) >= 1, "{what}");
            }
            assert!(!process.is_over(), "{what}");
        });
    }
}
