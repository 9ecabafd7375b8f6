//! Against the registry that most others are made of: Debian's `docker-registry`.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::image::Registry;

/// Of robot:hunter2, by bcrypt.
const HTPASSWD: &str = "robot:$2b$04$Gh4PsotZUnldZ6zWyt43eek5TxamrMgtqbyYglkG.DVswuI3wcHTe\n";

/// One that wants a password, on a port of its own; it ends with the test.
struct Server {
    child: Child,
    host: String,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let host = format!("127.0.0.1:{port}");
    let (root, passwords) = (dir.path().join("data"), dir.path().join("htpasswd"));
    fs::write(&passwords, HTPASSWD).unwrap();
    let config = json!({
        "version": "0.1", "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": root}},
        "auth": {"htpasswd": {"realm": "r", "path": passwords}},
        "http": {"addr": host},
    });
    let file = dir.path().join("config.yml");
    // JSON is YAML.
    fs::write(&file, config.to_string()).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, host, dir };
    for _ in 0..100 {
        if TcpStream::connect(&server.host).is_ok() {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("docker-registry did not begin to listen");
}

#[tokio::test]
#[ignore = "needs docker-registry"]
async fn what_is_pushed_to_a_real_registry_is_what_is_pulled_from_it() {
    let server = start().await;
    let secret = push_secret(&server.host);
    let large = vec![7; 20 << 20];
    let disk = Disk::new();
    let images = [
        disk.image("linux", &[&large, b"a", b""]),
        disk.image("windows", &[&large, b"b"]),
    ];
    let [mut linux, mut windows] = images;
    linux["platform"] = json!({"os": "linux", "architecture": "amd64"});
    windows["platform"] = json!({"os": "windows", "architecture": "amd64"});
    disk.lists(&[disk.index(&[linux, windows])]);
    let to = to(&server.host);
    let pusher = Pusher::new(None, vec![server.host.clone()]).unwrap();

    let error = pusher.push(&to, None, disk.path()).await.unwrap_err();
    assert_eq!(word(&error), "PushRefused", "{error}");
    let first = pusher.push(&to, Some(&secret), disk.path()).await.unwrap();
    assert_eq!((first.blobs_sent, first.blobs_there), (6, 0));
    assert!(first.bytes_sent > 20 << 20);

    let pulled = Registry::new(None, vec![server.host.clone()])
        .unwrap()
        .resolve(&to, Some(&secret))
        .await
        .unwrap();
    assert_eq!(pulled.digest, first.digest);
    assert_eq!(pulled.platforms.len(), 2);
    let stored = digest_of(&large).replacen("sha256:", "", 1);
    let stored = server.dir.path().join(format!(
        "data/docker/registry/v2/blobs/sha256/{}/{stored}/data",
        &stored[..2]
    ));
    assert!(fs::read(stored).unwrap() == large);

    let again = pusher.push(&to, Some(&secret), disk.path()).await.unwrap();
    assert_eq!((again.bytes_sent, again.blobs_there), (0, 6));
    // Another image moves the tag, and takes what is there.
    disk.lists(&[disk.image("linux", &[&large, b"c"])]);
    let kept = pusher
        .clone()
        .keeping()
        .push(&to, Some(&secret), disk.path())
        .await;
    assert!(
        matches!(&kept, Err(PushError::Taken { found, .. }) if *found == first.digest),
        "{kept:?}"
    );
    let moved = pusher.push(&to, Some(&secret), disk.path()).await.unwrap();
    assert_eq!((moved.blobs_sent, moved.blobs_there), (1, 2));
    assert_ne!(moved.digest, first.digest);

    // What only a registry looks at it refuses in its own words.
    let config = disk.blob("application/vnd.oci.image.config.v1+json", b"{}");
    let image =
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [], "annotations": 5});
    disk.lists(&[disk.document(IMAGE, &image)]);
    let error = pusher.push(&to, Some(&secret), disk.path()).await.unwrap_err();
    assert_eq!(word(&error), "PushRejected", "{error}");
    let said = "the registry answered 400: MANIFEST_INVALID: manifest invalid";
    assert!(error.to_string().ends_with(said), "{error}");
}
