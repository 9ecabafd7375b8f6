//! What is known of the builder before anything is built: it was tried when Slipway began to lead.

use serde_json::Value;

use super::support::{Case, condition, get, probe, shared, wait_telling};

/// What a source says of the builder.
fn told(case: &Case) -> Value {
    let source = get("releasesource", "", &case.source).unwrap_or_default();
    condition(&source, "BuilderReady").clone()
}

fn says(case: &Case, reason: &str, words: &str) {
    wait_telling(
        "the source says how fit the builder is",
        || told(case).to_string(),
        || {
            let told = told(case);
            let message = told["message"].as_str().unwrap_or_default();
            (told["status"] == "True" && told["reason"] == reason && message.contains(words)).then_some(())
        },
    );
}

#[test]
fn every_source_says_that_the_builder_runs_and_how_many_processes_a_build_may_have() {
    let _services = shared();
    let case = Case::new("builder-fit", &probe("builder-fit"));
    // About as many as podPidsLimit of the bed's kubelet, beside the few that a pod has.
    says(&case, "BuilderRuns", "a build may have about 10");
    case.end();
}

mod alone {
    use super::*;
    use crate::support::alone;

    #[test]
    fn where_nothing_bounds_the_processes_of_a_build_it_is_said_with_what_to_set() {
        let _services = alone();
        let case = Case::new("builder-unbounded", &probe("builder-unbounded"));
        says(&case, "ProcessesUnbounded", "podPidsLimit");
        case.end();
    }
}
