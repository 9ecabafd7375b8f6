//! The key of the fingerprints: made once, kept in a Secret of Slipway's namespace. Losing it loses nothing but the
//! memory of which values are which; no release is rolled because of that.

use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

use super::{
    error::ClusterError,
    objects::{found, within},
};
use crate::{
    hex::hex,
    names::{Namespace, ReleaseId},
};

const NAME: &str = "slipway-hash-key";
const FIELD: &str = "key";
const LENGTH: usize = 32;

/// A key that values are hashed with. Its `Debug` shows its id alone.
#[derive(Clone)]
pub struct HashKey {
    id: String,
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl HashKey {
    pub(super) fn new(key: &[u8]) -> Result<Self, ClusterError> {
        let mac = Hmac::new_from_slice(key)
            .map_err(|error| ClusterError::Unreadable(format!("Secret {NAME}: {error}")))?;
        let id = hex(&Sha256::digest([b"slipway hash key ", key].concat()));
        Ok(Self {
            id: id.get(..16).unwrap_or(&id).to_owned(),
            mac,
        })
    }

    /// Names the key, and tells nothing of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The fingerprint of a value that `reference` of a release stands for: 32 hex digits. The release is part of it,
    /// so that nobody sees which releases share a value.
    #[must_use]
    pub fn fingerprint(&self, id: &ReleaseId, reference: &str, value: &[u8]) -> String {
        let mut mac = self.mac.clone();
        for part in [id.to_string().as_bytes(), reference.as_bytes()] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.update(value);
        let text = hex(&mac.finalize().into_bytes());
        text.get(..32).unwrap_or(&text).to_owned()
    }
}

/// Reads the key, and makes one where there is none.
pub async fn load(client: &Client, own: &Namespace) -> Result<HashKey, ClusterError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), own.as_str());
    let read = || within(|| format!("get Secret {NAME} in {own}"), api.get(NAME));
    if let Some(secret) = found(read().await)? {
        return key_of(&secret);
    }
    let mut key = vec![0; LENGTH];
    rand::rng().fill_bytes(&mut key);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([(FIELD.to_owned(), ByteString(key))].into()),
        ..Secret::default()
    };
    let made = within(
        || format!("create Secret {NAME} in {own}"),
        api.create(&PostParams::default(), &secret),
    )
    .await;
    match made {
        Ok(secret) => key_of(&secret),
        // Another controller was quicker.
        Err(error) if error.is_conflict() => key_of(&read().await?),
        Err(error) => Err(error),
    }
}

fn key_of(secret: &Secret) -> Result<HashKey, ClusterError> {
    let key = secret.data.as_ref().and_then(|data| data.get(FIELD));
    match key {
        Some(key) if key.0.len() >= LENGTH => HashKey::new(&key.0),
        _ => Err(ClusterError::Unreadable(format!(
            "Secret {NAME} has no field {FIELD} of {LENGTH} bytes; delete it, and it is made again"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ReleaseId {
        ReleaseId {
            namespace: text.parse().unwrap(),
            name: "shop".parse().unwrap(),
        }
    }

    #[test]
    fn equal_values_are_equal_only_under_one_key_one_release_and_one_reference() {
        let (key, other) = (HashKey::new(&[1; 32]).unwrap(), HashKey::new(&[2; 32]).unwrap());
        let print = key.fingerprint(&id("a"), "Secret app-db/url", b"value");
        assert_eq!(print, key.fingerprint(&id("a"), "Secret app-db/url", b"value"));
        assert_eq!(print.len(), 32);
        for different in [
            key.fingerprint(&id("a"), "Secret app-db/url", b"valu"),
            key.fingerprint(&id("b"), "Secret app-db/url", b"value"),
            key.fingerprint(&id("a"), "Secret app-db/urlv", b"alue"),
            other.fingerprint(&id("a"), "Secret app-db/url", b"value"),
        ] {
            assert_ne!(print, different);
        }
        assert_ne!(key.id(), other.id());
    }

    #[test]
    fn the_key_is_in_no_debug_text() {
        let text = format!("{:?}", HashKey::new(&[65; 32]).unwrap());
        assert!(!text.contains("AAAA") && !text.contains("65"), "{text}");
    }
}
