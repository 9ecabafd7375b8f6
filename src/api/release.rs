//! `Release`: the declared state of one application in one cluster.
//!
//! Every field is optional here, since a spec in git is spread over layers and the preset fills in the rest;
//! [`crate::spec`] says what the whole must be.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Condition, Duration};
use crate::names::ObjectName;

/// What one application should be in this cluster.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    doc = "The declared state of one application in this cluster.",
    namespaced,
    status = "ReleaseStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Declared","type":"string","jsonPath":".status.declaredVersion"}"#,
    printcolumn = r#"{"name":"Live","type":"string","jsonPath":".status.liveVersion"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = ("size(self.metadata.name) <= 40", "a release name has at most 40 characters"),
    validation = (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "a release name consists of lower-case letters, digits and '-', begins with a letter and has no dots: it is the name of a Service"
    ),
)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseSpec {
    /// The kind of application: `web`, `worker`, `phoenix` or `nextjs`; `web` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub preset: Option<String>,
    /// The declared version. Without one the release is not deployed in this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// A repository (its tag is the version), `repository:tag`, or `repository@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// A `kubernetes.io/dockerconfigjson` Secret of the namespace, for pulling the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pull_secret: Option<String>,
    /// Replaces the image's ENTRYPOINT, as in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD, as in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// The one number for container, Service and probe; also in the variable `PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// The host name that the release is reached by, through an Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub host: Option<String>,
    /// How the Ingress of `host` is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// How many pods of `web` run; 2 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i64>,
    /// Requests and limits of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Environment variables: a string, or one of `{secret: name/key}`, `{config: name/key}`,
    /// `{generate: base64/64}`, `{field: status.podIP}`, `{value: …, public: true}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub env: BTreeMap<String, EnvValue>,
    /// Paths that the application may write, each an emptyDir, with its size limit: `{/tmp: 64Mi}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub writable: BTreeMap<String, ShortText>,
    /// Who the application runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// How readiness is asked: a path, or `{path, port, headers, startup}`; TCP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Further processes of the same image, by name; the top-level fields describe `web`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 10))]
    pub processes: BTreeMap<String, Process>,
    /// How the database is migrated: a command list, an object, or `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// How new pods replace old ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// What must hold after the rollout before the release counts as Live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// What happens when rollout or verification fails; `rollback` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What happens when a value changes that a process refers to; `roll` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_secret_change: Option<OnSecretChange>,
    /// What is kept of the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<Retain>,
    /// What runs is kept, and nothing new goes out, until a commit removes this or its time has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
    /// Raise it to try a failed version again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub attempt: Option<i64>,
}

/// A text of at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ShortText(#[schemars(length(max = 64))] pub String);

/// A text of at most 4096 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(#[schemars(length(max = 4096))] pub String);

/// How the Ingress of `host` is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// `ingressClassName`; the cluster's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// Annotations for the ingress controller.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub annotations: BTreeMap<String, Text>,
}

/// Requests and limits, as in a Pod: `{requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What the scheduler reserves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, ShortText>,
    /// What the container may not exceed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, ShortText>,
}

/// Who the application runs as. Everything else is hardened and has no switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    /// A numeric user other than 0; from the preset or the image when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Whether the root file system is read-only; `true` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root: Option<bool>,
    /// An existing ServiceAccount of the namespace instead of the release's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
}

/// A further process of the same image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Replaces the image's ENTRYPOINT.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// How many pods run; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i64>,
    /// Requests and limits; those of the release when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Variables of this process alone, over those of the release.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub env: BTreeMap<String, EnvValue>,
}

/// How new pods replace old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// How pods are replaced; `rolling` when absent. `recreate` is for an application that cannot run twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How many pods may be added: a number or a percentage; `25%` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^[0-9]{1,4}%?$"))]
    pub surge: Option<String>,
    /// How many pods may be missing: a number or a percentage; `0` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^[0-9]{1,4}%?$"))]
    pub unavailable: Option<String>,
    /// How long a rollout may take before it counts as failed; `10m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How long a pod must be ready before it counts; `10s` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<Duration>,
    /// How long an old pod may finish its requests; `60s` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
}

/// How pods are replaced; `rolling` when absent. `recreate` is for an application that cannot run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// New pods come before old ones go.
    Rolling,
    /// Old pods go before new ones come.
    Recreate,
}

/// What must hold after the rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Verify {
    /// How long it is watched; `1m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// How many restarts of new pods are forgiven in that time; 0 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_restarts: Option<i64>,
}

/// What happens when rollout or verification fails; `rollback` when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The objects of the last Live revision are applied again.
    Rollback,
    /// Everything stays as it is until a commit.
    Hold,
}

/// What happens when a value changes that a process refers to; `roll` when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnSecretChange {
    /// Pods are rolled, as by a new version.
    Roll,
    /// Pods get the new value when they start for another reason.
    Ignore,
}

/// Why nothing new goes out, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Suspend {
    /// One sentence for those who look at the status.
    #[schemars(length(max = 400))]
    pub reason: String,
    /// When it ends by itself, such as `2026-12-01T08:00:00Z`; with a commit alone when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub until: Option<String>,
}

/// What is kept of the past. The running and the last Live revision always stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retain {
    /// How many revisions; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub revisions: Option<i64>,
    /// How many failed Jobs; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub failed_jobs: Option<i64>,
}

// === impl KeyRef ===

/// A key of a Secret or ConfigMap of the same namespace, written `name/key`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyRef {
    /// The object's name.
    pub name: ObjectName,
    /// The key in its data.
    pub key: String,
}

impl FromStr for KeyRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text
            .split_once('/')
            .ok_or_else(|| "must be written name/key, such as billing-db/url".to_owned())?;
        let name = name.parse().map_err(|e| format!("the name before '/' {e}"))?;
        let ok = !key.is_empty()
            && key.len() <= 253
            && key
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
        if !ok {
            return Err("the key after '/' must be letters, digits, '-', '_' or '.'".to_owned());
        }
        Ok(Self {
            name,
            key: key.to_owned(),
        })
    }
}

impl TryFrom<String> for KeyRef {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyRef> for String {
    fn from(key: KeyRef) -> String {
        key.to_string()
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.key)
    }
}

// === impl EnvValue ===

/// Where the value of a variable comes from. Values of Secrets exist only at run time: this holds references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// A plain text.
    Literal(String),
    /// A plain text that its author declared to be no secret.
    Public(String),
    /// A key of a Secret.
    Secret(KeyRef),
    /// A key of a ConfigMap.
    Config(KeyRef),
    /// Made once by Slipway and kept in `<release>-generated`.
    Generate(Generate),
    /// A field of the pod, such as `status.podIP`.
    Field(String),
}

/// How a generated value is made: so many random bytes, encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generate {
    /// How the bytes are written.
    pub encoding: Encoding,
    /// How many characters the result has, 16 to 1024.
    pub length: u16,
}

/// How random bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Standard base64, as `mix phx.gen.secret` makes it.
    Base64,
    /// Lower-case hex.
    Hex,
}

impl FromStr for Generate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            "must be base64/LENGTH or hex/LENGTH with a length of 16 to 1024, such as base64/64".to_owned()
        };
        let (encoding, length) = text.split_once('/').ok_or_else(error)?;
        let encoding = match encoding {
            "base64" => Encoding::Base64,
            "hex" => Encoding::Hex,
            _ => return Err(error()),
        };
        let length = length
            .parse()
            .ok()
            .filter(|n| (16..=1024).contains(n))
            .ok_or_else(error)?;
        Ok(Self { encoding, length })
    }
}

impl fmt::Display for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = match self.encoding {
            Encoding::Base64 => "base64",
            Encoding::Hex => "hex",
        };
        write!(f, "{encoding}/{}", self.length)
    }
}

/// The object form of [`EnvValue`], as it is written.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct EnvObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<KeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<KeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<bool>,
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let form = "must be a string or one of {secret: name/key}, {config: name/key}, {generate: base64/64}, \
                    {field: status.podIP}, {value: text, public: true}";
        let object = match value {
            serde_json::Value::String(text) => return Ok(Self::Literal(text)),
            serde_json::Value::Object(_) => serde_json::from_value::<EnvObject>(value)
                .map_err(|e| D::Error::custom(format!("{form}: {e}")))?,
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => {
                return Err(D::Error::custom(format!(
                    "{form}; put numbers and true/false in quotes"
                )));
            }
            _ => return Err(D::Error::custom(form)),
        };
        match object {
            EnvObject {
                secret: Some(key),
                config: None,
                generate: None,
                field: None,
                value: None,
                public: None,
            } => Ok(Self::Secret(key)),
            EnvObject {
                secret: None,
                config: Some(key),
                generate: None,
                field: None,
                value: None,
                public: None,
            } => Ok(Self::Config(key)),
            EnvObject {
                secret: None,
                config: None,
                generate: Some(how),
                field: None,
                value: None,
                public: None,
            } => how
                .parse()
                .map(Self::Generate)
                .map_err(|e| D::Error::custom(format!("generate {e}"))),
            EnvObject {
                secret: None,
                config: None,
                generate: None,
                field: Some(path),
                value: None,
                public: None,
            } => Ok(Self::Field(path)),
            EnvObject {
                secret: None,
                config: None,
                generate: None,
                field: None,
                value: Some(text),
                public,
            } => Ok(if public == Some(true) {
                Self::Public(text)
            } else {
                Self::Literal(text)
            }),
            _ => Err(D::Error::custom(form)),
        }
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = match self.clone() {
            Self::Literal(text) => return serializer.serialize_str(&text),
            Self::Public(text) => EnvObject {
                value: Some(text),
                public: Some(true),
                ..EnvObject::default()
            },
            Self::Secret(key) => EnvObject {
                secret: Some(key),
                ..EnvObject::default()
            },
            Self::Config(key) => EnvObject {
                config: Some(key),
                ..EnvObject::default()
            },
            Self::Generate(how) => EnvObject {
                generate: Some(how.to_string()),
                ..EnvObject::default()
            },
            Self::Field(path) => EnvObject {
                field: Some(path),
                ..EnvObject::default()
            },
        };
        object.serialize(serializer)
    }
}

impl JsonSchema for EnvValue {
    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A string or an object: a structural schema has no other word for that.
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true, "maxLength": 32768, "maxProperties": 2, "maxItems": 0
        })
    }
}

// === impl Health ===

/// How readiness is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", into = "HealthObject")]
pub struct Health {
    /// The path of a GET that answers 2xx; TCP alone when absent.
    pub path: Option<String>,
    /// Another port than the release's.
    pub port: Option<u16>,
    /// Headers of the request. `X-Forwarded-Proto: https` is sent unless given here.
    pub headers: BTreeMap<String, String>,
    /// How long a start may take; `2m` when absent.
    pub startup: Option<Duration>,
}

/// The object form of [`Health`], as it is written.
#[derive(Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct HealthObject {
    /// The path that answers 200 when a pod can serve; TCP alone when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Another port than `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Headers of the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// How long a pod may take until it listens; `2m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    startup: Option<Duration>,
}

/// The object forms that a structural schema cannot hold beside their short forms, by field, for the reference.
#[must_use]
pub fn long_forms() -> [(&'static str, Schema); 2] {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let generator = settings.into_generator();
    [
        ("health", generator.clone().into_root_schema_for::<HealthObject>()),
        ("migrate", generator.into_root_schema_for::<MigrateOptions>()),
    ]
}

impl From<Health> for HealthObject {
    fn from(
        Health {
            path,
            port,
            headers,
            startup,
        }: Health,
    ) -> Self {
        Self {
            path,
            port,
            headers,
            startup,
        }
    }
}

impl<'de> Deserialize<'de> for Health {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match value {
            serde_json::Value::String(path) => Ok(Self {
                path: Some(path),
                ..Self::default()
            }),
            serde_json::Value::Object(_) => {
                let HealthObject {
                    path,
                    port,
                    headers,
                    startup,
                } = serde_json::from_value(value).map_err(D::Error::custom)?;
                Ok(Self {
                    path,
                    port,
                    headers,
                    startup,
                })
            }
            _ => Err(D::Error::custom(
                "must be a path such as /health, or {path, port, headers, startup}",
            )),
        }
    }
}

impl JsonSchema for Health {
    fn schema_name() -> Cow<'static, str> {
        "Health".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true, "maxLength": 1024, "maxProperties": 4, "maxItems": 0
        })
    }
}

// === impl Migrate ===

/// How the database is migrated before new code runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Migrate {
    /// `false`: never, whatever the preset says.
    Never,
    /// A bare list: a command, or arguments where the preset says that the image has an ENTRYPOINT.
    Command(Vec<String>),
    /// The whole form.
    Options(Box<MigrateOptions>),
}

/// The object form of [`Migrate`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MigrateOptions {
    /// Replaces the image's ENTRYPOINT; the preset's command when neither this nor `args` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Variables of the migration alone, over those of `web`: a direct `DATABASE_URL`, for instance.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// How long it may run, from the start of the container; `30m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many times one that ended with an exit code other than 0 is run again by itself; 0 when absent. An unknown
    /// outcome is never run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// A name that migrations share which must not run beside each other; the database when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// An existing ServiceAccount for the Job alone; that of the release when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// A text that must be in the log of a migration that counts as done, whatever its exit code says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The variable that names the database; `DATABASE_URL` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Raise it to run a migration again that has run already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun: Option<u32>,
    /// The key of a migration whose outcome is unknown and that a person found to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
}

impl<'de> Deserialize<'de> for Migrate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match value {
            serde_json::Value::Bool(false) => Ok(Self::Never),
            serde_json::Value::Array(_) => serde_json::from_value(value)
                .map(Self::Command)
                .map_err(D::Error::custom),
            serde_json::Value::Object(_) => serde_json::from_value(value)
                .map(Self::Options)
                .map_err(D::Error::custom),
            _ => Err(D::Error::custom(
                "must be a command list, an object {command, args, env, timeout, retries, lock, serviceAccount, database, proof, rerun, accept}, or false",
            )),
        }
    }
}

impl Serialize for Migrate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_bool(false),
            Self::Command(words) => words.serialize(serializer),
            Self::Options(options) => options.serialize(serializer),
        }
    }
}

impl JsonSchema for Migrate {
    fn schema_name() -> Cow<'static, str> {
        "Migrate".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true, "maxLength": 0, "maxProperties": 16, "maxItems": 64
        })
    }
}

/// What became of the declared state. Output only: no decision reads it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseStatus {
    /// The generation that this was computed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people: `Live`, `Migrating`, `Waiting`, …
    #[schemars(length(max = 64))]
    pub phase: String,
    /// One sentence that answers "why is my service not deployed?".
    #[schemars(length(max = 2048))]
    pub message: String,
    /// The version that git declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub declared_version: Option<String>,
    /// The version that was last verified here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub live_version: Option<String>,
    /// The revision that is being brought about, or that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub current_revision: Option<String>,
    /// The revision that was last verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub live_revision: Option<String>,
    /// How often something that others changed was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled` for kstatus, and the details.
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
