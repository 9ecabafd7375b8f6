//! What fetching over ssh and TLS promises, against the real servers where the machine has them.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
};

use super::*;
use crate::source::{error::Intent, test_support::Upstream};

const SSHD: &str = "/usr/sbin/sshd";

fn have(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn make_key(path: &Path, kind: &str) -> String {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(path.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

/// An sshd for one connection after the other, started as from inetd. `None` where there is none.
fn serve_ssh(directory: &Path) -> Option<u16> {
    if !Path::new(SSHD).exists() || !have("ssh-keygen", "-?") || !Path::new("/run/sshd").exists() {
        return None;
    }
    make_key(&directory.join("host"), "ed25519");
    let client = make_key(&directory.join("client"), "ed25519");
    std::fs::write(directory.join("authorized_keys"), client).unwrap();
    let config = directory.join("sshd_config");
    let lines = [
        format!("HostKey {}", directory.join("host").display()),
        format!(
            "AuthorizedKeysFile {}",
            directory.join("authorized_keys").display()
        ),
        "PermitRootLogin yes\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
            .to_owned(),
    ];
    std::fs::write(&config, lines.join("\n")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let input: OwnedFd = stream.try_clone().unwrap().into();
            let output: OwnedFd = stream.into();
            let server = Command::new(SSHD)
                .args(["-i", "-e", "-f"])
                .arg(&config)
                .stdin(input)
                .stdout(output)
                .stderr(Stdio::null())
                .spawn();
            thread::spawn(move || server.map(|mut server| server.wait()));
        }
    });
    Some(port)
}

fn secret(directory: &Path, known_hosts: &str) -> Credentials {
    let identity = std::fs::read(directory.join("client")).unwrap();
    let data = [
        ("identity", identity),
        ("known_hosts", known_hosts.as_bytes().to_vec()),
    ];
    Credentials::from_secret(data.iter().map(|(key, value)| (*key, value))).unwrap()
}

#[test]
fn ssh_needs_the_right_host_key_and_the_right_client_key() {
    let (upstream, root, keys) = (
        Upstream::new(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let head = upstream.commit(&[("a.yaml", "1")]);
    let (Some(port), Ok(user)) = (
        serve_ssh(keys.path()),
        std::env::var("USER").or_else(|_| whoami()),
    ) else {
        eprintln!("no sshd on this machine: not tested");
        return;
    };
    let url = GitUrl::parse(
        &format!("ssh://{user}@127.0.0.1:{port}{}", upstream.path().display()),
        false,
    )
    .unwrap();
    let mirror = Mirror::open(root.path(), &url).unwrap();
    let host = std::fs::read_to_string(keys.path().join("host.pub")).unwrap();
    let other = make_key(&keys.path().join("other"), "ed25519");
    let fetch = |known_hosts: &str| {
        let limits = FetchLimits {
            wall_clock: Duration::from_secs(20),
            bytes: 1 << 20,
            shallow: false,
        };
        mirror.fetch(
            &GitRef::branch("main").unwrap(),
            &secret(keys.path(), known_hosts),
            limits,
        )
    };

    let fetched = fetch(&format!("[127.0.0.1]:{port} {host}"));
    assert_eq!(fetched.map(|fetched| fetched.commit), Ok(head));

    let error = fetch(&format!("[127.0.0.1]:{port} {other}")).unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("HostKeyMismatch", Intent::Stall),
        "{error}"
    );

    let error = fetch(&format!("127.0.0.1 {host}")).unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("HostKeyUnknown", Intent::Stall),
        "{error}"
    );

    std::fs::write(keys.path().join("authorized_keys"), other).unwrap();
    let error = fetch(&format!("[127.0.0.1]:{port} {host}")).unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("AuthFailed", Intent::Stall),
        "{error}"
    );
}

fn whoami() -> Result<String, std::env::VarError> {
    let output = Command::new("id")
        .arg("-un")
        .output()
        .map_err(|_| std::env::VarError::NotPresent)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_certificate_of_nobody_we_know_is_refused() {
    super::super::init::init_for_tests();
    let (root, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if !have("openssl", "version") {
        eprintln!("no openssl on this machine: not tested");
        return;
    }
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=127.0.0.1",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(keys.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut server = Command::new("openssl")
        .args([
            "s_server", "-quiet", "-www", "-key", "key.pem", "-cert", "cert.pem", "-accept",
        ])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(keys.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..50 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let url = GitUrl::parse(&format!("https://127.0.0.1:{port}/r.git"), false).unwrap();
    let limits = FetchLimits {
        wall_clock: Duration::from_secs(10),
        bytes: 1 << 20,
        shallow: false,
    };
    let result = Mirror::open(root.path(), &url).unwrap().fetch(
        &GitRef::branch("main").unwrap(),
        &Credentials::anonymous(),
        limits,
    );
    server.kill().unwrap();
    server.wait().unwrap();
    let error = result.unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("CertificateUnknown", Intent::Stall),
        "{error}"
    );
}

#[test]
fn a_silent_peer_is_a_timeout_over_tls_and_ssh_too() {
    super::super::init::init_for_tests();
    let (root, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Connections are accepted by the kernel and never answered.
    let limits = FetchLimits {
        wall_clock: Duration::from_secs(10),
        bytes: 1 << 20,
        shallow: false,
    };
    let branch = GitRef::branch("main").unwrap();
    let https = GitUrl::parse(&format!("https://127.0.0.1:{port}/r.git"), false).unwrap();
    let error = Mirror::open(root.path(), &https)
        .unwrap()
        .fetch(&branch, &Credentials::anonymous(), limits);
    assert_eq!(error.unwrap_err().reason(), "TimedOut");
    if have("ssh-keygen", "-?") {
        let public = make_key(&keys.path().join("client"), "ed25519");
        let ssh = GitUrl::parse(&format!("ssh://git@127.0.0.1:{port}/r.git"), false).unwrap();
        let credentials = secret(keys.path(), &format!("h {public}"));
        let error = Mirror::open(root.path(), &ssh)
            .unwrap()
            .fetch(&branch, &credentials, limits);
        assert_eq!(error.unwrap_err().reason(), "TimedOut");
    }
}
