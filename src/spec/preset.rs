//! Presets: the lowest layer of every spec, as data. `phoenix` means `phoenix@1` for ever, so that an upgrade of
//! Slipway restarts nothing; other words are another version.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::release::{EnvValue, Resources};

/// What a kind of application needs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preset {
    /// The version of these words.
    pub version: u32,
    /// Whether it answers requests: it has a port, a Service and a probe.
    pub serves: bool,
    /// The port, where the spec gives none.
    #[serde(default)]
    pub port: Option<u16>,
    /// The variable that is told the host name.
    #[serde(default)]
    pub host: Option<String>,
    /// Variables.
    pub env: PresetEnv,
    /// Names of variables that make no sense at run time.
    #[serde(default)]
    pub build_time_only: Vec<String>,
    /// Variables that must be declared.
    pub requires: Vec<String>,
    /// The command of the migration.
    #[serde(default)]
    pub migrate: Option<Vec<String>>,
    /// What a release script that is the image's ENTRYPOINT is told to do, and what is no program of any image: a bare list that
    /// begins so holds arguments.
    #[serde(default)]
    pub subcommands: Vec<String>,
    /// The user, where the spec gives none; the image's own must be numeric otherwise.
    #[serde(default)]
    pub user: Option<i64>,
    /// Requests and limits.
    pub resources: Resources,
    /// Paths that may be written.
    pub writable: BTreeMap<String, String>,
}

/// Variables of a preset.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PresetEnv {
    /// For every process, migration and task.
    pub all: BTreeMap<String, EnvValue>,
    /// For the process that serves alone.
    pub serving: BTreeMap<String, EnvValue>,
}

/// The names of all presets.
pub const NAMES: [&str; 4] = ["nextjs", "phoenix", "web", "worker"];

/// The preset of a name, `phoenix` or `phoenix@1`, with its full name.
///
/// # Errors
/// A sentence for the author when there is no such preset.
pub fn find(name: &str) -> Result<(String, Preset), String> {
    let (base, version) = match name.split_once('@') {
        Some((base, version)) => (base, version),
        None => (name, "1"),
    };
    let text = match (base, version) {
        ("web", "1") => include_str!("presets/web.yaml"),
        ("worker", "1") => include_str!("presets/worker.yaml"),
        ("phoenix", "1") => include_str!("presets/phoenix.yaml"),
        ("nextjs", "1") => include_str!("presets/nextjs.yaml"),
        _ => {
            let near = NAMES
                .into_iter()
                .map(|known| (strsim::damerau_levenshtein(known, &base.to_lowercase()), known))
                .min()
                .filter(|(distance, known)| *distance <= 2 && *known != base);
            return Err(match near {
                Some((_, known)) => format!("there is no preset {name:?}: did you mean `{known}`?"),
                None => format!("there is no preset {name:?}; there are {}", NAMES.join(", ")),
            });
        }
    };
    let preset = serde_yaml::from_str(text).map_err(|e| format!("preset {name}: {}", e.without_snippet()))?;
    Ok((format!("{base}@{version}"), preset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_that_is_compiled_in_can_be_read() {
        for name in NAMES {
            let (full, preset) = find(name).unwrap();
            assert_eq!(full, format!("{name}@{}", preset.version));
        }
        let said = |name: &str| find(name).unwrap_err();
        assert!(said("pheonix").ends_with("did you mean `phoenix`?"));
        assert!(said("Web").ends_with("did you mean `web`?"));
        assert!(said("rails").ends_with("there are nextjs, phoenix, web, worker"));
        assert!(find("web@2").is_err());
    }
}
