//! What runs, as it was before something was broken.

use serde_json::Value;

use super::{Case, list, writes};

/// What must not change while something is broken.
pub struct Before {
    pods: Vec<(String, i64)>,
    controllers: Vec<(String, i64)>,
    writes: usize,
}

impl Before {
    pub fn of(case: &Case) -> Self {
        Self {
            pods: case.pod_identities(),
            controllers: controllers(),
            writes: writes(&case.ns, "deployments").len(),
        }
    }

    pub fn holds(&self, case: &Case) {
        self.leaves_alone(case);
        self.same_controllers();
    }

    /// The application alone: for a time in which Slipway itself may go.
    pub fn leaves_alone(&self, case: &Case) {
        assert_eq!(
            case.pod_identities(),
            self.pods,
            "pods and restart counts are the same"
        );
        assert_eq!(
            writes(&case.ns, "deployments").len(),
            self.writes,
            "no Deployment was written"
        );
    }

    /// When all is well again: it took no restart, neither of Slipway nor of a pod, be it an old or a new one.
    pub fn mended_without_restart(&self, case: &Case) {
        self.same_controllers();
        for pod in case.pod_identities() {
            let (uid, restarts) = &pod;
            assert!(
                self.pods.contains(&pod) || *restarts == 0,
                "pod {uid} was restarted {restarts} times, before: {:?}",
                self.pods
            );
        }
    }

    fn same_controllers(&self) {
        assert_eq!(
            controllers(),
            self.controllers,
            "the controller is the same and was not restarted"
        );
    }
}

/// UID and restart count of each pod that is not on its way out.
pub(super) fn identities(mut pods: Vec<Value>) -> Vec<(String, i64)> {
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let mut found: Vec<(String, i64)> = pods
        .iter()
        .map(|pod| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"]
                .as_i64()
                .unwrap_or(0);
            (pod["metadata"]["uid"].as_str().unwrap_or("").to_owned(), restarts)
        })
        .collect();
    found.sort();
    found
}

fn controllers() -> Vec<(String, i64)> {
    let found = identities(list("pod", "slipway-system", "app.kubernetes.io/name=slipway"));
    assert!(!found.is_empty(), "Slipway runs in the cluster");
    found
}
