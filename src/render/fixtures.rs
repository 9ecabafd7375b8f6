//! Releases to render in tests of this room.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Input, OwnerRef, Provenance};
use crate::{
    api::{
        Duration,
        release::{OnFailure, Strategy},
    },
    names::{Digest, ProcessName, ReleaseId, RevisionNumber},
    spec::declared::{
        Agreement, AttemptHash, Declared, EnvSource, Exposure, FileSource, Holder, Identity, ImagePick,
        ImageRequest, MigrateSpec, Probe, ProcessSpec, RolloutSpec,
    },
};

pub(super) struct Fixture {
    pub id: ReleaseId,
    pub declared: Declared,
    pub digest: Digest,
    pub architectures: Vec<String>,
    pub provenance: Option<Provenance>,
    pub owner: Option<OwnerRef>,
}

impl Fixture {
    /// Two replicas on port 4000 that are asked for `/health`, one writable path, a migration.
    pub fn web() -> Self {
        Self {
            id: ReleaseId {
                namespace: "shop".parse().unwrap(),
                name: "billing".parse().unwrap(),
            },
            declared: Declared {
                preset: "web@1".into(),
                version: "1.8.2".parse().unwrap(),
                image: ImageRequest {
                    repository: "ghcr.io/acme/billing".into(),
                    pick: ImagePick::Tag("1.8.2".into()),
                },
                origin: None,
                agree: Agreement::default(),
                build: None,
                repin: 0,
                pull_secret: Some("ghcr".parse().unwrap()),
                processes: [(ProcessName::web(), process(2))].into(),
                port: Some(4000),
                exposure: None,
                env_from: vec![],
                files: [].into(),
                requires: vec![],
                rotate: 0,
                writable: [("/tmp".to_owned(), "64Mi".to_owned())].into(),
                security: Identity {
                    run_as_user: Some(65534),
                    read_only_root: true,
                    service_account: None,
                },
                probe: Some(Probe {
                    path: Some("/health".into()),
                    port: 4000,
                    headers: [].into(),
                    startup: Duration::from_secs(120),
                }),
                migrate: Some(MigrateSpec {
                    command: None,
                    args: Some(vec!["/app/bin/migrate".into()]),
                    env: serde_yaml::from_str(
                        "{DATABASE_URL: {secret: billing-db/url}, SLIPWAY_TASK: migrate}",
                    )
                    .unwrap(),
                    timeout: Duration::from_secs(1800),
                    retries: 0,
                    resources: process(2).resources,
                    lock: None,
                    service_account: None,
                    proof: None,
                    database: "DATABASE_URL".parse().unwrap(),
                    compatible: None,
                    rerun: 0,
                    accept: None,
                }),
                rollout: RolloutSpec {
                    strategy: Strategy::Rolling,
                    surge: "25%".into(),
                    unavailable: "0".into(),
                    deadline: Duration::from_secs(600),
                    min_ready: Duration::from_secs(10),
                    drain: Duration::from_secs(60),
                },
                verify_window: Duration::from_secs(60),
                verify_max_restarts: 0,
                on_failure: OnFailure::Rollback,
                suspend: None,
                on_secret_change: crate::api::release::OnSecretChange::Roll,
                retain_revisions: 5,
                retain_failed_jobs: 5,
                attempt: 0,
                adopt: 0,
                attempt_hash: AttemptHash("0".repeat(64)),
            },
            digest: format!("sha256:{}", "d".repeat(64)).parse().unwrap(),
            architectures: vec![],
            provenance: Some(Provenance {
                commit: "a".repeat(40).parse().unwrap(),
                author: "Ada <ada@acme.com>".into(),
                path: "releases/production/billing.yaml".into(),
            }),
            owner: None,
        }
    }

    /// One process that serves nothing.
    pub fn worker() -> Self {
        let mut fixture = Self::web();
        fixture.declared.processes = [("worker".parse().unwrap(), process(1))].into();
        fixture.declared.port = None;
        fixture.declared.probe = None;
        fixture.declared.migrate = None;
        fixture
    }

    pub fn expose(&mut self, host: &str) {
        self.declared.exposure = Some(Exposure {
            host: host.into(),
            class: None,
            annotations: [].into(),
        });
    }

    /// A file and a whole Secret.
    pub fn given_more(&mut self) {
        let key = "billing-tls/tls.key".parse().unwrap();
        let file = FileSource {
            holder: Holder::Secret,
            key,
        };
        self.declared.files = [("/etc/billing/tls.key".to_owned(), file)].into();
        self.declared.env_from = vec![EnvSource {
            holder: Holder::Secret,
            name: "billing-env".parse().unwrap(),
            prefix: "BILLING_".into(),
        }];
    }

    pub fn owned(&mut self, uid: &str) {
        self.owner = Some(OwnerRef {
            uid: uid.to_owned().try_into().unwrap(),
            name: self.id.name.clone(),
        });
    }

    pub fn input(&self) -> Input<'_> {
        Input {
            id: &self.id,
            declared: &self.declared,
            digest: &self.digest,
            architectures: &self.architectures,
            revision: RevisionNumber(42),
            provenance: self.provenance.as_ref(),
            owner: self.owner.as_ref(),
        }
    }
}

pub(super) fn process(replicas: u32) -> ProcessSpec {
    ProcessSpec {
        command: None,
        args: None,
        replicas,
        resources: serde_yaml::from_str("{requests: {cpu: 100m, memory: 128Mi}}").unwrap(),
        env: serde_yaml::from_str("{PORT: '4000', DATABASE_URL: {secret: billing-db/url}}").unwrap(),
    }
}

/// Asserts that `value` holds nothing that the type of Kubernetes does not know, in exactly its form.
pub(super) fn exactly<T: DeserializeOwned + Serialize>(value: &Value) {
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(&serde_json::to_value(typed).unwrap(), value);
}
