//! The process-wide options of libgit2, set once before any thread starts.
//!
//! libgit2 keeps timeouts, trusted certificates and search paths in C globals without synchronisation. Its
//! defaults wait for ever for a silent server and read `/etc/gitconfig` and `~/.gitconfig`, where one line
//! (`url.….insteadOf`) sends every fetch elsewhere. Nothing but such options may enter here.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use git2::{ConfigLevel, opts};

use super::memory;

/// A server that does not accept a connection in this time is down: a handshake round the world takes 1 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server. A large repository makes one think for long before the first byte.
pub const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// libgit2 caches 256 MiB of objects per process by default; specs are small and read once.
const CACHE_BYTES: isize = 32 << 20;
/// Packs are mapped in windows; the sum of all counts as memory of the container.
const MAPPED_BYTES: usize = 256 << 20;
const WINDOW_BYTES: usize = 16 << 20;

/// Why libgit2 could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Called for the second time, when threads may be running.
    #[error("cannot set up git twice in one process")]
    Twice,
    /// The bundle of certificate authorities is of no use.
    #[error("cannot use {path} as a bundle of certificate authorities: {why}")]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// libgit2 refused an option.
    #[error("cannot set an option of libgit2: {0}")]
    Option(#[from] git2::Error),
}

static IO_TIMEOUT_IN_USE: OnceLock<Duration> = OnceLock::new();

/// The longest silence that libgit2 waits through. Needed to tell a timeout from other errors: over TLS and
/// ssh libgit2 reports only "resource temporarily unavailable".
pub(super) fn io_timeout() -> Duration {
    IO_TIMEOUT_IN_USE.get().copied().unwrap_or(IO_TIMEOUT)
}

/// Prepares libgit2. To be called once, first thing, before any other thread runs.
///
/// `ca_bundle` is a file of PEM certificates that are trusted for https beside the system's; one bundle serves
/// all repositories, libgit2 knows no other way.
pub fn init(ca_bundle: Option<&Path>) -> Result<(), InitError> {
    init_with(ca_bundle, CONNECT_TIMEOUT, IO_TIMEOUT)
}

/// The same for a process of one repository, which may have larger objects.
///
/// # Errors
/// As [`init`].
pub fn init_alone(ca_bundle: Option<&Path>) -> Result<(), InitError> {
    memory::alone();
    init(ca_bundle)
}

fn init_with(ca_bundle: Option<&Path>, connect: Duration, io: Duration) -> Result<(), InitError> {
    if let Some(path) = ca_bundle {
        check_bundle(path)?;
    }
    IO_TIMEOUT_IN_USE.set(io).map_err(|_| InitError::Twice)?;
    set_options(connect, io)?;
    if let Some(path) = ca_bundle {
        set_ca_bundle(path)?;
    }
    Ok(())
}

fn check_bundle(path: &Path) -> Result<(), InitError> {
    let bad = |why: String| InitError::CaBundle {
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let marker = b"-----BEGIN CERTIFICATE-----";
    if text.windows(marker.len()).any(|window| window == marker) {
        Ok(())
    } else {
        Err(bad("it holds no PEM certificate".into()))
    }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[allow(unsafe_code)]
fn set_options(connect: Duration, io: Duration) -> Result<(), git2::Error> {
    // SAFETY: these write C globals that libgit2 reads without a lock. `init` runs at most once (the OnceLock
    // above) and, by its contract, before there is another thread that could read them.
    unsafe {
        memory::set();
        opts::set_server_connect_timeout_in_milliseconds(milliseconds(connect))?;
        opts::set_server_timeout_in_milliseconds(milliseconds(io))?;
        opts::set_cache_max_size(CACHE_BYTES)?;
        opts::set_mwindow_size(WINDOW_BYTES)?;
        opts::set_mwindow_mapped_limit(MAPPED_BYTES)?;
        // Only the mirror's own configuration counts.
        for level in [
            ConfigLevel::ProgramData,
            ConfigLevel::System,
            ConfigLevel::XDG,
            ConfigLevel::Global,
        ] {
            opts::set_search_path(level, "")?;
        }
    }
    opts::strict_hash_verification(true);
    Ok(())
}

#[allow(unsafe_code)]
fn set_ca_bundle(path: &Path) -> Result<(), InitError> {
    // SAFETY: as in `set_options`: before threads, once.
    unsafe { opts::set_ssl_cert_file(path) }.map_err(|error| InitError::CaBundle {
        path: path.to_owned(),
        why: error.message().to_owned(),
    })
}

/// Shorter timeouts for tests, once for the whole test process; not so short that a server is taken for silent on a busy
/// machine.
#[cfg(test)]
pub(super) fn init_for_tests() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // Tests run in threads, but every one that uses git comes through here first.
        init_with(None, Duration::from_secs(10), Duration::from_secs(20)).unwrap();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_is_refused() {
        init_for_tests();
        assert!(matches!(init(None), Err(InitError::Twice)));
    }

    #[test]
    fn a_bundle_without_a_certificate_is_refused_before_anything_is_set() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a certificate").unwrap();
        assert!(matches!(init(Some(file.path())), Err(InitError::CaBundle { .. })));
        assert!(matches!(
            init(Some(Path::new("/does/not/exist"))),
            Err(InitError::CaBundle { .. })
        ));
    }
}
