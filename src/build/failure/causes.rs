//! What messages of BuildKit, of registries and of the kernel mean.

use super::{Failure, LENGTH, Lack};
use crate::words::clean;

/// `[stage-1 4/5] COPY --from=builder /app ./` → `builder`.
pub(super) fn copied_from(name: &str) -> Option<String> {
    let (_, rest) = name.split_once("--from=")?;
    rest.split_whitespace().next().map(|from| clean(from, LENGTH))
}

pub(super) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// With the other case of the letter it is the C library's; and what the kernel says of namespaces is none.
pub(super) fn disk_full(text: &str) -> bool {
    (text.contains("no space left on device") || text.contains("No space left on device"))
        && !text.contains("/proc/self/exe")
}

/// What is wrong with a registry, or with an image in it.
pub(super) fn registry(message: &str, failed: Option<&str>) -> Option<Failure> {
    let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let pushed = between(message, "failed to push ", ": ");
    let base = between(message, "failed to resolve source metadata for ", ": ");
    // While layers are fetched, the message does not name the image any more.
    let base = base.or_else(|| failed?.split_once("] FROM ")?.1.split(['@', ' ']).next());
    let image = pushed.or(base).map(|image| clean(image, LENGTH));
    let host = || clean(&host(message, pushed.or(base)), LENGTH);
    if has(&["toomanyrequests", "429 Too Many Requests"]) {
        return Some(Failure::TooManyRequests { host: host() });
    }
    if has(&["x509: ", "tls: failed to verify certificate"]) {
        return Some(Failure::RegistryUntrusted { host: host() });
    }
    let denied = [
        "pull access denied",
        "insufficient_scope",
        "401 Unauthorized",
        "403 Forbidden",
        "access to the resource is denied",
        "no basic auth credentials",
    ];
    if let (true, Some(image)) = (has(&denied), &image) {
        let image = image.clone();
        return Some(if pushed.is_some() {
            Failure::PushDenied { image }
        } else {
            Failure::BaseDenied { image }
        });
    }
    if let (true, Some(image)) = (message.contains("no match for platform in manifest"), &image) {
        return Some(Failure::BasePlatform { image: image.clone() });
    }
    let broken = [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway",
    ];
    let silent = [
        "failed to do request",
        "dial tcp",
        "i/o timeout",
        "TLS handshake timeout",
        "connection reset by peer",
        "no such host",
    ];
    if has(&broken) || has(&silent) {
        return Some(Failure::RegistryUnreachable {
            host: host(),
            words: last_cause(message),
        });
    }
    // Last: whatever fails on the way to an image may end in it.
    let image = image.filter(|_| pushed.is_none() && message.ends_with(": not found"))?;
    Some(Failure::BaseNotFound { image })
}

/// The host of the first address in a message, or else that of the image.
fn host(message: &str, image: Option<&str>) -> String {
    let address = message
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '"', ' ', '?']).next());
    let first = image.and_then(|image| Some(image.split_once('/')?.0));
    let named = first.filter(|first| first.contains(['.', ':']) || *first == "localhost");
    address.or(named).unwrap_or("docker.io").to_owned()
}

/// What Go puts last is what happened: `failed to do request: Head "…": dial tcp: lookup r.example: no such host`.
fn last_cause(message: &str) -> String {
    let causes: Vec<&str> = message.split(": ").collect();
    let last = causes.get(causes.len().saturating_sub(2)..).unwrap_or_default();
    clean(&last.join(": "), LENGTH)
}

/// What a line says that the builder lacks.
pub(super) fn lack(line: &str) -> Option<Lack> {
    let has = |words: &[&str]| words.iter().all(|words| line.contains(words));
    let denied =
        has(&["operation not permitted"]) || has(&["permission denied"]) || has(&["Operation not permitted"]);
    if has(&["apparmor_restrict_unprivileged_userns"])
        || has(&["failed to share mount point", "permission denied"])
        || has(&["/proc/self/exe: permission denied"])
    {
        Some(Lack::AppArmor)
    } else if has(&["newuidmap", "failed"])
        || has(&["newgidmap", "failed"])
        || has(&["failed to setup UID/GID map"])
    {
        Some(Lack::IdMaps)
    } else if has(&["/proc/self/exe: operation not permitted"])
        || has(&["/proc/self/exe: no space left on device"])
        || has(&["max_user_namespaces needs to be set"])
        || (has(&["unshare"]) && denied)
    {
        Some(Lack::UserNamespaces)
    } else if denied && (has(&["mount proc:/proc"]) || has(&["mounting \"proc\" to rootfs"])) {
        Some(Lack::Proc)
    } else if (denied && (has(&["failed to mount"]) || has(&["error mounting"])))
        || (has(&["fuse"]) && (denied || has(&["device not found"])))
    {
        Some(Lack::Mounts)
    } else if has(&["buildkitd.sock: connect: "]) {
        Some(Lack::Start)
    } else if has(&["error reading from server: EOF"])
        || has(&["transport is closing"])
        || has(&["code = Unavailable"])
    {
        Some(Lack::Died)
    } else {
        None
    }
}
