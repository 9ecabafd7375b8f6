//! Where a variable gets its value from: a text, or one of the objects that stand for it.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::names::ObjectName;

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
