//! What each resource is: the table that a real API server makes of its types and of `CustomResourceDefinition`s.

use std::cmp::Ordering;

/// One resource.
#[derive(Debug)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    /// Whether its status is a subresource, which a write of the object itself does not touch.
    pub status: bool,
    /// Whether changes of its spec are counted.
    pub generation: bool,
    /// Parts that never change.
    pub fixed: &'static [&'static str],
    /// Whether a definition makes it.
    pub custom: bool,
}

const PLAIN: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    namespaced: true,
    status: false,
    generation: false,
    fixed: &[],
    custom: false,
};

const CUSTOM: Resource = Resource {
    group: "slipway.dev",
    version: "v1alpha1",
    status: true,
    generation: true,
    custom: true,
    ..PLAIN
};

#[rustfmt::skip]
static RESOURCES: [Resource; 20] = [
    Resource { plural: "releases", kind: "Release", ..CUSTOM },
    Resource { plural: "releaserevisions", kind: "ReleaseRevision", fixed: &["/spec"], ..CUSTOM },
    Resource { plural: "releasesources", kind: "ReleaseSource", namespaced: false, ..CUSTOM },
    Resource { plural: "namespaces", kind: "Namespace", namespaced: false, status: true, ..PLAIN },
    Resource { plural: "nodes", kind: "Node", namespaced: false, status: true, ..PLAIN },
    Resource { plural: "pods", kind: "Pod", status: true, fixed: &["/spec/containers"], ..PLAIN },
    Resource { plural: "secrets", kind: "Secret", ..PLAIN },
    Resource { plural: "configmaps", kind: "ConfigMap", ..PLAIN },
    Resource { plural: "services", kind: "Service", status: true, ..PLAIN },
    Resource { plural: "serviceaccounts", kind: "ServiceAccount", ..PLAIN },
    Resource { plural: "resourcequotas", kind: "ResourceQuota", status: true, ..PLAIN },
    Resource { plural: "events", kind: "Event", ..PLAIN },
    Resource { group: "events.k8s.io", plural: "events", kind: "Event", ..PLAIN },
    Resource { group: "coordination.k8s.io", plural: "leases", kind: "Lease", ..PLAIN },
    Resource { group: "apps", plural: "deployments", kind: "Deployment", status: true, generation: true, fixed: &["/spec/selector"], ..PLAIN },
    Resource { group: "apps", plural: "replicasets", kind: "ReplicaSet", status: true, generation: true, fixed: &["/spec/selector"], ..PLAIN },
    Resource { group: "batch", plural: "jobs", kind: "Job", status: true, generation: true, fixed: &["/spec/template", "/spec/selector", "/spec/completions"], ..PLAIN },
    Resource { group: "batch", plural: "cronjobs", kind: "CronJob", status: true, generation: true, ..PLAIN },
    Resource { group: "policy", plural: "poddisruptionbudgets", kind: "PodDisruptionBudget", status: true, generation: true, ..PLAIN },
    Resource { group: "networking.k8s.io", plural: "ingresses", kind: "Ingress", status: true, generation: true, ..PLAIN },
];

impl Resource {
    /// The resource of a path.
    pub fn at(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        let is = |r: &&Self| (r.group, r.version, r.plural) == (group, version, plural);
        RESOURCES.iter().find(is)
    }

    /// The resource of a kind; of two with one kind the older.
    pub fn of(kind: &str) -> &'static Self {
        let found = RESOURCES.iter().find(|resource| resource.kind == kind);
        found.unwrap_or_else(|| panic!("no such kind: {kind}"))
    }

    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Which object.
#[derive(Debug, Clone)]
pub struct Key {
    pub resource: &'static Resource,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn of(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: Resource::of(kind),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn words(&self) -> (&str, &str, &str, &str) {
        (
            self.resource.group,
            self.resource.plural,
            &self.namespace,
            &self.name,
        )
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.resource.kind, self.namespace, self.name)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.words().cmp(&other.words())
    }
}
