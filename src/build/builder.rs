//! What builds images here: as whoever installed Slipway says by the chart's `builds`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{Namespace, ObjectName};

/// The way in which Jobs build: what changes the images that they make of the same source changes this, too.
const WAY: u32 = 1;

/// What builds images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Builder {
    /// The namespace of the Jobs.
    pub namespace: Namespace,
    /// The image of `BuildKit`, best by digest.
    pub image: String,
    /// Slipway's own image, which fetches the source and pushes what was built.
    pub own_image: String,
    /// What the builder is allowed to do on its node.
    #[serde(default)]
    pub isolation: Isolation,
    /// The Secret that images are pushed with, of type `kubernetes.io/dockerconfigjson`. No Dockerfile comes near it.
    #[serde(default)]
    pub push_secret: Option<ObjectName>,
    /// Which repositories images may be pushed to, by the namespace of the release; `*` is for every namespace. Each is a
    /// repository, or with a `/` at its end all below it. Nothing else is pushed.
    #[serde(default)]
    pub repositories: BTreeMap<String, Vec<String>>,
    /// The Secret that the builder itself has, for base images and the cache. A Dockerfile may be able to read it.
    #[serde(default)]
    pub secret: Option<ObjectName>,
    /// Where layers are kept between builds; `None` keeps none.
    #[serde(default)]
    pub cache: Option<Cache>,
    /// The `ConfigMap` of `buildkitd.toml`.
    #[serde(default)]
    pub config: Option<ObjectName>,
    /// The `ConfigMap` of CAs in PEM, under `ca.crt`, that are trusted beside the system's.
    #[serde(default)]
    pub ca_bundle: Option<ObjectName>,
    /// Registries that are spoken to without TLS.
    #[serde(default)]
    pub plain_http: Vec<String>,
    /// The `ServiceAccount` of the pods; none of them has its token.
    pub service_account: ObjectName,
    /// Variables of all containers of a build, such as those of a proxy. No secret: whoever may read the pod can read them.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Requests and limits of the builder.
    #[serde(default)]
    pub resources: Amounts,
    /// How much a build may write: source, layers, image and logs together.
    pub disk: String,
    /// Nodes that are for builds.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of such nodes, as in a Pod.
    #[serde(default)]
    pub tolerations: Vec<serde_json::Value>,
    /// Whether what is built says how it was built.
    #[serde(default)]
    pub provenance: Provenance,
}

/// Requests and limits, as in a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// What is kept free for it.
    #[serde(default)]
    pub requests: BTreeMap<String, String>,
    /// What it may not exceed.
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
}

/// What a builder is allowed to do on its node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Isolation {
    /// An ordinary user, in a user namespace that `BuildKit` makes: needs nodes that allow it, and neither seccomp nor AppArmor.
    #[default]
    Rootless,
    /// Root of a user namespace that Kubernetes makes (`hostUsers: false`).
    Userns,
    /// Root of the node.
    Privileged,
}

/// Where layers are kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// The repository; that of the image when absent. Each source has a tag of its own in it.
    #[serde(default)]
    pub repository: Option<String>,
}

/// How much an image says of how it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Provenance {
    /// From what, and by what.
    #[default]
    Min,
    /// The Dockerfile and the values of all arguments, too.
    Max,
    /// Nothing.
    Off,
}

impl Builder {
    /// Whether a release of this namespace may have an image built and pushed to a repository.
    #[must_use]
    pub fn may_push(&self, namespace: &Namespace, repository: &str) -> bool {
        let of = |name: &str| self.repositories.get(name).into_iter().flatten();
        of(namespace.as_str()).chain(of("*")).any(|allowed| {
            repository == allowed || (allowed.ends_with('/') && repository.starts_with(allowed.as_str()))
        })
    }

    /// What makes the images, in one text: another one makes others of the same source.
    #[must_use]
    pub fn version(&self) -> String {
        format!("{WAY} {} {:?} {:?}", self.image, self.isolation, self.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pushed_only_where_the_namespace_may() {
        let builder: Builder = serde_json::from_value(serde_json::json!({
            "namespace": "slipway-builds", "image": "b", "ownImage": "s", "serviceAccount": "build", "disk": "1Gi",
            "repositories": {"*": ["r.test/open/"], "shop": ["r.test/shop", "r.test/acme/"]},
        }))
        .unwrap();
        for (namespace, repository, may) in [
            ("shop", "r.test/shop", true),
            ("shop", "r.test/shop2", false),
            ("shop", "r.test/shop/other", false),
            ("shop", "r.test/acme/a/b", true),
            ("other", "r.test/acme/a", false),
            ("other", "r.test/open/a", true),
            ("other", "r.test/opening", false),
        ] {
            let namespace = namespace.parse().unwrap();
            assert_eq!(
                builder.may_push(&namespace, repository),
                may,
                "{namespace} {repository}"
            );
        }
    }
}
