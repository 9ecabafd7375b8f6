//! Which ssh host keys are trusted: the text of a `known_hosts` file, as sshd(8) describes it. Pure.
//!
//! libgit2 looks at the home directory only, so the decision is made here, from the Secret. There is no
//! "trust on first use": a host without a line is refused.

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::sha1::hmac_sha1;

/// Why a host key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeyError {
    /// There is another key for this host, or this one is revoked: somebody may be in the middle.
    Mismatch(String),
    /// Nothing is known about the host, or only keys of other types.
    Unknown(String),
}

/// The lines of a `known_hosts` text that can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownHosts {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    revoked: bool,
    hosts: Hosts,
    key: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Reads the text; errors name the line, never its content.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |why: &str| format!("line {} of known_hosts {why}", index + 1);
            let mut words = line.split_ascii_whitespace().peekable();
            let marker = words.next_if(|word| word.starts_with('@'));
            let (Some(hosts), Some(kind), Some(key)) = (words.next(), words.next(), words.next()) else {
                return Err(at("is not `host type key`"));
            };
            let revoked = match marker {
                None => false,
                Some("@revoked") => true,
                // libssh2 does not check host certificates, so a line about them can never match.
                Some("@cert-authority") => continue,
                Some(_) => return Err(at("has an unknown marker")),
            };
            let key = STANDARD
                .decode(key)
                .map_err(|_| at("has a key that is not base64"))?;
            if key_type(&key) != Some(kind) {
                return Err(at("has a key of another type than it says"));
            }
            lines.push(Line {
                revoked,
                hosts: parse_hosts(hosts).ok_or_else(|| at("has a broken host"))?,
                key,
            });
        }
        if lines.is_empty() {
            return Err("known_hosts holds no key".into());
        }
        Ok(Self { lines })
    }

    /// Whether `key`, in ssh's wire format, is that of `host` at `port`.
    pub fn check(&self, host: &str, port: u16, key: &[u8]) -> Result<(), HostKeyError> {
        let host = host.to_ascii_lowercase();
        let name = if port == 22 {
            host
        } else {
            format!("[{host}]:{port}")
        };
        let lines: Vec<&Line> = self
            .lines
            .iter()
            .filter(|line| line.hosts.match_name(&name))
            .collect();
        let offered = format!("{} {}", key_type(key).unwrap_or("unknown"), fingerprint(key));
        if lines.iter().any(|line| line.revoked && line.key == key) {
            return Err(HostKeyError::Mismatch(format!(
                "the host key of {name} ({offered}) is revoked"
            )));
        }
        let trusted = || lines.iter().filter(|line| !line.revoked);
        if trusted().any(|line| line.key == key) {
            return Ok(());
        }
        if trusted().any(|line| key_type(&line.key) == key_type(key)) {
            return Err(HostKeyError::Mismatch(format!(
                "{name} offered the host key {offered}, known_hosts has another one: if the host's key was \
                 changed on purpose, change the line"
            )));
        }
        let mut others: Vec<&str> = trusted().filter_map(|line| key_type(&line.key)).collect();
        others.sort_unstable();
        others.dedup();
        let known = if others.is_empty() {
            format!("known_hosts has no line for {name}")
        } else {
            format!("known_hosts has only {} for {name}", others.join(", "))
        };
        Err(HostKeyError::Unknown(format!(
            "{known}; it offered {offered}: compare and add that key"
        )))
    }
}

impl Hosts {
    fn match_name(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => hmac_sha1(salt, name.as_bytes()).as_slice() == hash.as_slice(),
            Self::Patterns(patterns) => {
                let negated = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
                let mut plain = patterns.iter().filter(|pattern| !pattern.starts_with('!'));
                !negated
                    .into_iter()
                    .any(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
                    && plain.any(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
            }
        }
    }
}

fn parse_hosts(text: &str) -> Option<Hosts> {
    if let Some(rest) = text.strip_prefix("|1|") {
        let (salt, hash) = rest.split_once('|')?;
        let decode = |text: &str| {
            STANDARD
                .decode(text)
                .or_else(|_| STANDARD_NO_PAD.decode(text))
                .ok()
        };
        let (salt, hash) = (decode(salt)?, decode(hash)?);
        return (hash.len() == 20).then_some(Hosts::Hashed { salt, hash });
    }
    if text.starts_with('|') {
        return None;
    }
    Some(Hosts::Patterns(
        text.split(',').map(str::to_ascii_lowercase).collect(),
    ))
}

/// `*` and `?` as in ssh; iterative, so no pattern can cost more than the product of both lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, star_from)) => {
                    star = Some((star_at, star_from + 1));
                    at = star_at + 1;
                    from = star_from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

/// The type that a key in wire format names itself.
fn key_type(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let name = rest.get(..usize::try_from(length).ok()?)?;
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic()))
}

/// As `ssh-keygen -l` shows it.
fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, seed: u8) -> Vec<u8> {
        let mut key = u32::try_from(kind.len()).unwrap().to_be_bytes().to_vec();
        key.extend_from_slice(kind.as_bytes());
        key.extend_from_slice(&[seed; 32]);
        key
    }

    fn line(hosts: &str, kind: &str, seed: u8) -> String {
        format!("{hosts} {kind} {} a comment", STANDARD.encode(key(kind, seed)))
    }

    fn check(text: &str, host: &str, port: u16, kind: &str, seed: u8) -> Result<(), HostKeyError> {
        KnownHosts::parse(text)
            .unwrap()
            .check(host, port, &key(kind, seed))
    }

    #[test]
    fn the_key_of_a_listed_host_is_accepted() {
        let text = format!(
            "# comment\n\n{}",
            line("github.com,140.82.121.3", "ssh-ed25519", 1)
        );
        assert_eq!(check(&text, "GitHub.com", 22, "ssh-ed25519", 1), Ok(()));
        assert_eq!(check(&text, "140.82.121.3", 22, "ssh-ed25519", 1), Ok(()));
    }

    #[test]
    fn another_key_of_the_same_type_is_a_mismatch() {
        let text = line("h", "ssh-ed25519", 1);
        assert!(matches!(
            check(&text, "h", 22, "ssh-ed25519", 2),
            Err(HostKeyError::Mismatch(_))
        ));
    }

    #[test]
    fn an_unlisted_host_and_an_unlisted_type_are_unknown_and_say_what_was_offered() {
        let text = line("h", "ssh-rsa", 1);
        let Err(HostKeyError::Unknown(message)) = check(&text, "h", 22, "ssh-ed25519", 1) else {
            panic!()
        };
        assert!(
            message.contains("only ssh-rsa") && message.contains("SHA256:"),
            "{message}"
        );
        assert!(matches!(
            check(&text, "other", 22, "ssh-rsa", 1),
            Err(HostKeyError::Unknown(_))
        ));
    }

    #[test]
    fn a_port_is_part_of_the_name() {
        let text = line("[h]:2222", "ssh-rsa", 1);
        assert_eq!(check(&text, "h", 2222, "ssh-rsa", 1), Ok(()));
        assert!(check(&text, "h", 22, "ssh-rsa", 1).is_err());
        assert!(check(&line("h", "ssh-rsa", 1), "h", 2222, "ssh-rsa", 1).is_err());
    }

    #[test]
    fn hashed_names_match_their_host_only() {
        let hashed = |name: &str| {
            let salt = [7_u8; 20];
            let hash = hmac_sha1(&salt, name.as_bytes());
            format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash))
        };
        let text = format!(
            "{}\n{}",
            line(&hashed("h"), "ssh-rsa", 1),
            line(&hashed("[h]:2222"), "ssh-rsa", 2)
        );
        assert_eq!(check(&text, "h", 22, "ssh-rsa", 1), Ok(()));
        assert_eq!(check(&text, "h", 2222, "ssh-rsa", 2), Ok(()));
        assert!(check(&text, "g", 22, "ssh-rsa", 1).is_err());
    }

    #[test]
    fn the_hash_agrees_with_what_openssh_writes() {
        // Written by `ssh-keygen -H` for the name git.example.com.
        let text = include_str!("testdata/known_hosts.hashed");
        let known = KnownHosts::parse(text).unwrap();
        let wire = known.lines.first().unwrap().key.clone();
        assert_eq!(known.check("git.example.com", 22, &wire), Ok(()));
        assert!(known.check("git.example.org", 22, &wire).is_err());
    }

    #[test]
    fn revoked_keys_are_refused_and_authorities_do_not_count() {
        let text = format!(
            "{}\n@revoked {}",
            line("*", "ssh-rsa", 1),
            line("h", "ssh-rsa", 1)
        );
        assert!(matches!(
            check(&text, "h", 22, "ssh-rsa", 1),
            Err(HostKeyError::Mismatch(_))
        ));
        assert_eq!(check(&text, "g", 22, "ssh-rsa", 1), Ok(()));
        assert!(KnownHosts::parse(&format!("@cert-authority {}", line("h", "ssh-rsa", 1))).is_err());
    }

    #[test]
    fn patterns_and_their_negation_work_as_in_ssh() {
        let text = line("*.acme.com,!old.acme.com,h?", "ssh-rsa", 1);
        assert_eq!(check(&text, "git.acme.com", 22, "ssh-rsa", 1), Ok(()));
        assert_eq!(check(&text, "h1", 22, "ssh-rsa", 1), Ok(()));
        assert!(check(&text, "old.acme.com", 22, "ssh-rsa", 1).is_err());
        assert!(check(&text, "acme.com", 22, "ssh-rsa", 1).is_err());
    }

    #[test]
    fn broken_lines_are_errors_with_their_number() {
        for bad in [
            "h ssh-rsa",
            "h ssh-rsa !!!",
            "@odd h ssh-rsa AAAA",
            "|1|x|y ssh-rsa AAAA",
            "|2|a|b ssh-rsa AAAA",
            "",
        ] {
            assert!(KnownHosts::parse(bad).is_err(), "{bad:?}");
        }
        let text = format!("{}\nbroken", line("h", "ssh-rsa", 1));
        assert!(KnownHosts::parse(&text).unwrap_err().contains("line 2"));
        let lying = format!("h ssh-ed25519 {}", STANDARD.encode(key("ssh-rsa", 1)));
        assert!(KnownHosts::parse(&lying).is_err());
    }
}
