//! Fields that have a short and a long form: `health` and `migrate`.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{super::Duration, EnvValue, Resources};

// === impl Health ===

/// How readiness is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", into = "HealthObject")]
pub struct Health {
    /// The path of a GET that answers 2xx; TCP alone when absent.
    pub path: Option<String>,
    /// Another port than the release's.
    pub port: Option<u16>,
    /// Headers of the request. `X-Forwarded-Proto: https`, and `Host` where there is one, are sent unless given here.
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
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
    /// Headers of the request. `X-Forwarded-Proto: https`, and `Host` where there is one, are sent unless given here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    headers: BTreeMap<String, String>,
    /// How long a pod may take until it listens; `2m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    startup: Option<Duration>,
}

/// The object forms that a structural schema cannot hold beside their short forms, by field: for the reference, and for the
/// bounds that the API server cannot know.
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
    /// A bare list: a command, or arguments where it begins with what only a release script understands (`eval`).
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
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// Variables of the migration alone, over those of `web`: a direct `DATABASE_URL`, for instance.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub env: BTreeMap<String, EnvValue>,
    /// How long it may run, from the start of the container; `30m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How many times one that ended with an exit code other than 0 is run again by itself; 0 when absent. An unknown
    /// outcome is never run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: Option<u32>,
    /// Requests and limits of the Job alone, over those of the release: `{limits: {memory: 2Gi}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// A name that migrations share which must not run beside each other; the database when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// An existing ServiceAccount for the Job alone; that of the release when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// A text that must be in the log of a migration that counts as done, within its last 2,000 lines, whatever its exit code
    /// says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The variable that names the database; `DATABASE_URL` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// `false`: no code from before this version can run on the schema that its migration leaves. A rollout that fails is
    /// then held instead of gone back from, and a commit that declares an earlier version is refused. `true` takes that
    /// back for the version that is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatible: Option<bool>,
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
                "must be a command list, an object {command, args, env, timeout, retries, resources, lock, serviceAccount, database, proof, compatible, rerun, accept}, or false",
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
