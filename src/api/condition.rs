//! Conditions in the shape that kstatus, `kubectl wait`, Helm and Flux read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The statement holds.
    True,
    /// The statement does not hold.
    False,
    /// It could not be found out.
    Unknown,
}

/// One statement about an object. `lastTransitionTime` changes only when `status` does, so that writing the
/// same truth again is no write at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The statement: `Ready`, `Reconciling`, `Stalled`, …
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One `CamelCase` word for machines.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// One sentence for people.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// The generation that this was computed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// Gives `new` the transition time of the same condition among `old` where the status did not change.
    #[must_use]
    pub fn since(mut self, old: &[Condition]) -> Self {
        if let Some(before) = old
            .iter()
            .find(|c| c.type_ == self.type_ && c.status == self.status)
        {
            self.last_transition_time = before.last_transition_time.clone();
        }
        self
    }
}
