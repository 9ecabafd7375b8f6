//! What a release needs from outside: a registry, the Secret of its database, generated values, and the key of the hashes.

use std::collections::BTreeMap;

use super::super::{
    fixtures::{self, digest, id, rehash},
    observed::{DatabaseSeen, Fingerprints, ImageSeen},
};
use crate::{
    names::EnvName,
    spec::{
        Declared,
        declared::{ImagePick, ImageRequest},
    },
};

/// The version whose image is looked for by its tag. Version 3 crashes, and version 4 has no migration.
pub const TAGGED: u32 = 5;

/// Everything outside.
#[derive(Clone)]
pub struct Outside {
    /// Per tag the number of the image that it names.
    pub tags: BTreeMap<String, u32>,
    pub registry_down: bool,
    /// The password in the Secret of the database, where there is such a Secret.
    pub password: Option<u32>,
    /// The generated value, and the counter that it was made under.
    pub generated: Option<(u32, u64)>,
    /// Which key hashes are made with.
    pub hash_key: u32,
}

impl Outside {
    pub fn new() -> Self {
        Self {
            tags: BTreeMap::new(),
            registry_down: false,
            password: Some(1),
            generated: None,
            hash_key: 1,
        }
    }

    /// What the registry says of an image.
    pub fn ask(&self, image: &ImageRequest) -> ImageSeen {
        if self.registry_down {
            return unreachable_registry();
        }
        match &image.pick {
            ImagePick::Digest(_) => ImageSeen::Missing,
            ImagePick::Tag(tag) => self
                .tags
                .get(tag)
                .map_or(ImageSeen::Missing, |number| ImageSeen::Found {
                    digest: digest(*number),
                    platforms: Vec::new(),
                    obtained: "registry".into(),
                    baked: Vec::new(),
                    claims: Vec::new(),
                }),
        }
    }

    /// Makes what is missing, and all anew where the counter was raised.
    pub fn generate(&mut self, rotate: u64) {
        self.generated = Some(match self.generated {
            None => (1, rotate),
            Some((value, before)) if rotate > before => (value + 1, rotate),
            Some(same) => same,
        });
    }

    /// References that do not resolve.
    pub fn missing(&self) -> Vec<String> {
        match self.password {
            Some(_) => Vec::new(),
            None => vec!["Secret billing-db, key url".into()],
        }
    }

    /// Generated values that do not exist.
    pub fn ungenerated(&self) -> Vec<EnvName> {
        match self.generated {
            Some(_) => Vec::new(),
            None => vec!["TOKEN".parse().unwrap()],
        }
    }

    pub fn database(&self, declared: &Declared, database: &str) -> DatabaseSeen {
        match (&declared.migrate, self.password) {
            (None, _) => DatabaseSeen::NotNeeded,
            (Some(_), None) => DatabaseSeen::Unreadable,
            (Some(_), Some(_)) => DatabaseSeen::Known(database.to_owned()),
        }
    }

    /// Keyed hashes of the values that pods refer to.
    pub fn fingerprints(&self, database: &str) -> Fingerprints {
        let mut values = BTreeMap::new();
        if let Some(password) = self.password {
            values.insert("Secret billing-db/url".into(), format!("{database} {password}"));
        }
        if let Some((value, _)) = self.generated {
            let name = format!("Secret {}/TOKEN", id().name.generated());
            values.insert(name, value.to_string());
        }
        Fingerprints {
            key_id: format!("k{}", self.hash_key),
            values,
        }
    }
}

pub fn unreachable_registry() -> ImageSeen {
    ImageSeen::Failed {
        reason: "RegistryUnreachable".into(),
        message: "no answer".into(),
    }
}

/// A version as it is declared here.
pub fn declared(version: u32) -> Declared {
    let mut declared = fixtures::declared(version);
    for process in declared.processes.values_mut() {
        process.env = [("DATABASE_URL", "billing-db/url"), ("TOKEN", "hex/32")]
            .map(|(name, value)| {
                let value = match name {
                    "TOKEN" => crate::api::release::EnvValue::Generate(value.parse().unwrap()),
                    _ => crate::api::release::EnvValue::Secret(value.parse().unwrap()),
                };
                (name.parse().unwrap(), value)
            })
            .into();
    }
    if version == 4 {
        declared.migrate = None;
    }
    if version == TAGGED {
        declared.image.pick = ImagePick::Tag(declared.version.to_string());
    }
    rehash(&mut declared);
    declared
}
