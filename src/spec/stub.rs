//! temporary
use std::collections::BTreeMap;
use sha2::{Digest as _, Sha256};
use super::declared::*;
use crate::{api::{ReleaseSpec, Duration, release::*}, names::*};
pub struct Rejection { pub pointer: String, pub message: String }
impl std::fmt::Display for Rejection { fn fmt(&self, f:&mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}: {}", self.pointer, self.message) } }
pub fn declare(_n: &ReleaseName, s: &ReleaseSpec) -> Result<Option<Declared>, Vec<Rejection>> {
    let bad = |m: String| vec![Rejection{pointer:String::new(), message:m}];
    let Some(version) = &s.version else { return Ok(None) };
    let version: Version = version.parse().map_err(|e: NameError| bad(e.to_string()))?;
    let image = s.image.clone().ok_or_else(|| bad("image is required".into()))?;
    let image = match image.rsplit_once('/').map(|(_, t)| t).unwrap_or(&image).split_once(':') {
        Some((_, tag)) => ImageRequest { repository: image.trim_end_matches(&format!(":{tag}")).to_owned(), pick: ImagePick::Tag(tag.to_owned()) },
        None => ImageRequest { repository: image.clone(), pick: ImagePick::Tag(version.to_string()) },
    };
    let preset = s.preset.clone().unwrap_or("web".into());
    let phoenix = preset == "phoenix";
    let port = s.port.unwrap_or(if phoenix {4000} else {8080}) as u16;
    let mut env: BTreeMap<EnvName, EnvValue> = BTreeMap::new();
    let mut put = |n: &str, v: EnvValue| { env.insert(n.parse().unwrap_or_else(|_| unreachable!()), v); };
    put("PORT", EnvValue::Literal(port.to_string()));
    if phoenix {
        let g = EnvValue::Generate(Generate{encoding: Encoding::Base64, length: 64});
        put("PHX_SERVER", EnvValue::Literal("true".into())); put("RELEASE_TMP", EnvValue::Literal("/tmp".into())); put("LANG", EnvValue::Literal("C.UTF-8".into()));
        put("RELEASE_COOKIE", g.clone()); put("SECRET_KEY_BASE", g);
    }
    for (k, v) in &s.env { put(k, v.clone()); }
    let mut menv = env.clone();
    for n in ["PORT", "PHX_SERVER"] { if let Ok(n) = n.parse::<EnvName>() { menv.remove(&n); } }
    if let Ok(n) = "SLIPWAY_TASK".parse() { menv.insert(n, EnvValue::Literal("migrate".into())); }
    let mk = |command, args, m: Option<&MigrateOptions>| -> Option<MigrateSpec> {
        let mut e = menv.clone();
        for (k, v) in m.iter().flat_map(|m| m.env.iter()) { if let Ok(k) = k.parse() { e.insert(k, v.clone()); } }
        Some(MigrateSpec { command, args, env: e, timeout: m.and_then(|m| m.timeout).unwrap_or(Duration::from_secs(1800)), database: m.and_then(|m| m.database.clone()).unwrap_or("DATABASE_URL".into()).parse().ok()?, rerun: m.and_then(|m| m.rerun).unwrap_or(0), accept: m.and_then(|m| m.accept.clone()) })
    };
    let default = phoenix.then(|| vec!["/app/bin/migrate".to_owned()]);
    let migrate = match &s.migrate {
        None => default.and_then(|c| mk(Some(c), None, None)),
        Some(Migrate::Never) => None,
        Some(Migrate::Command(c)) => mk(Some(c.clone()), None, None),
        Some(Migrate::Options(o)) => mk(o.command.clone().or(default), o.args.clone(), Some(o)),
    };
    let resources = s.resources.clone().unwrap_or(Resources { requests: [("cpu".to_owned(), ShortText("20m".into())), ("memory".to_owned(), ShortText("64Mi".into()))].into(), limits: BTreeMap::new() });
    let r = s.rollout.clone().unwrap_or_default();
    let v = s.verify.clone().unwrap_or_default();
    let h = s.health.clone().unwrap_or_default();
    let mut json = serde_json::to_value(s).unwrap_or_default();
    if let Some(o) = json.as_object_mut() { for k in ["replicas","ingress","rollout","verify","onFailure","retain"] { o.remove(k); } }
    Ok(Some(Declared {
        preset: format!("{preset}@1"), version, image,
        pull_secret: s.pull_secret.as_ref().and_then(|p| p.parse().ok()),
        processes: [(ProcessName::web(), ProcessSpec { command: s.command.clone(), args: s.args.clone(), replicas: s.replicas.unwrap_or(2) as u32, resources, env })].into(),
        port: Some(port), exposure: None, writable: [("/tmp".to_owned(), "64Mi".to_owned())].into(),
        security: Identity { run_as_user: s.security.as_ref().and_then(|s| s.run_as_user).or(Some(65534)), read_only_root: true, service_account: None },
        probe: Some(Probe { path: h.path, port: h.port.unwrap_or(port), headers: [("X-Forwarded-Proto".to_owned(), "https".to_owned())].into(), startup: h.startup.unwrap_or(Duration::from_secs(120)) }),
        migrate,
        rollout: RolloutSpec { strategy: Strategy::Rolling, surge: r.surge.unwrap_or("25%".into()), unavailable: "0".into(), deadline: r.deadline.unwrap_or(Duration::from_secs(600)), min_ready: r.min_ready.unwrap_or(Duration::from_secs(10)), drain: r.drain.unwrap_or(Duration::from_secs(60)) },
        verify_window: v.window.unwrap_or(Duration::from_secs(60)), verify_max_restarts: 0, on_failure: s.on_failure.unwrap_or(OnFailure::Rollback),
        retain_revisions: 5, retain_failed_jobs: 5, attempt: s.attempt.unwrap_or(0) as u64,
        attempt_hash: AttemptHash(crate::plan::ledger::hex(&Sha256::digest(json.to_string().as_bytes()))), requires: Vec::new(),
    }))
}
pub fn firewall_spec(_: &ReleaseSpec) -> Vec<String> { Vec::new() }
pub fn spec_hash(s: &ReleaseSpec) -> String { crate::plan::ledger::hex(&Sha256::digest(serde_json::to_value(s).unwrap_or_default().to_string().as_bytes())) }
