//! Layouts that are well, broken and hostile.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    test_support::{CONFIG, Disk, IMAGE, INDEX, LAYER, digest_of},
    *,
};

fn digest(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap()
}

fn blobs(layout: &Layout) -> Vec<&str> {
    layout.blobs.iter().map(|blob| blob.digest.as_str()).collect()
}

fn children(layout: &Layout) -> Vec<&str> {
    layout
        .children
        .iter()
        .map(|child| child.digest.as_str())
        .collect()
}

/// Why a layout is not taken, which is always for somebody to look into.
fn refusal(disk: &Disk) -> String {
    let error = Layout::read(disk.path()).unwrap_err();
    assert_eq!(error.intent(), Intent::Stall, "{error}");
    error.to_string()
}

/// Why a layout with this as `index.json` is not taken.
fn refusal_of(disk: &Disk, index: impl AsRef<[u8]>) -> String {
    fs::write(disk.path().join("index.json"), index).unwrap();
    refusal(disk)
}

#[test]
fn a_single_image_is_its_config_and_its_layers_in_their_order() {
    let disk = Disk::with_image(&[b"one", b"two", b"one"]);
    let layout = Layout::read(disk.path()).unwrap();
    let config = json!({"os": "linux", "architecture": "amd64"}).to_string();
    assert_eq!(
        blobs(&layout),
        [digest_of(config.as_bytes()), digest_of(b"one"), digest_of(b"two")]
    );
    assert!(layout.children.is_empty());
    assert_eq!(layout.top.media_type, IMAGE);
    assert_eq!(layout.top.digest.as_str(), digest_of(&layout.top.bytes));
    let layer = layout.open(&layout.blobs[1]).unwrap().whole().unwrap();
    assert_eq!(layer, b"one");
}

#[test]
fn an_index_comes_after_its_images_and_what_they_share_is_pushed_once() {
    let disk = Disk::new();
    let images = [
        disk.image("linux", &[b"shared", b"a"]),
        disk.image("windows", &[b"shared", b"b"]),
    ];
    let inner = disk.index(&images);
    let top = disk.index(&[inner.clone(), images[0].clone()]);
    disk.lists(std::slice::from_ref(&top));
    let layout = Layout::read(disk.path()).unwrap();
    assert_eq!(
        children(&layout),
        [digest(&images[0]), digest(&images[1]), digest(&inner)]
    );
    assert_eq!(layout.top.digest.as_str(), digest(&top));
    assert_eq!(layout.blobs.len(), 5);
}

#[test]
fn several_names_of_one_image_are_one_image_and_several_images_are_none() {
    let disk = Disk::new();
    let image = disk.image("linux", &[b"a"]);
    let mut named = image.clone();
    named["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    disk.lists(&[image.clone(), named]);
    assert!(Layout::read(disk.path()).is_ok());
    disk.lists(&[image, disk.image("windows", &[b"a"])]);
    assert_eq!(refusal(&disk), "index.json lists more than one image");
    disk.lists(&[]);
    assert_eq!(refusal(&disk), "index.json lists no image");
    disk.lists(&[disk.blob(LAYER, b"a")]);
    assert!(refusal(&disk).contains("neither an image nor an index"));
}

#[test]
fn an_index_may_name_blobs_as_old_caches_do() {
    let disk = Disk::new();
    let (layer, config) = (
        disk.blob(LAYER, b"a"),
        disk.blob("application/vnd.buildkit.cacheconfig.v0", b"{}"),
    );
    let top = disk.index(&[layer.clone(), config.clone()]);
    disk.lists(&[top]);
    let layout = Layout::read(disk.path()).unwrap();
    assert_eq!(blobs(&layout), [digest(&layer), digest(&config)]);
}

#[test]
fn docker_s_own_media_types_are_as_good() {
    let disk = Disk::new();
    let config = disk.blob("application/vnd.docker.container.image.v1+json", b"{}");
    let image = disk.document(
        "application/vnd.docker.distribution.manifest.v2+json",
        &json!({"schemaVersion": 2, "config": config, "layers": [
            disk.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", b"a")]}),
    );
    let list = disk.document(
        "application/vnd.docker.distribution.manifest.list.v2+json",
        &json!({"schemaVersion": 2, "manifests": [image]}),
    );
    disk.lists(&[list]);
    let layout = Layout::read(disk.path()).unwrap();
    assert_eq!(layout.children.len(), 1);
    assert!(layout.top.media_type.contains("manifest.list"));
}

#[test]
fn what_nothing_names_is_not_looked_at() {
    let disk = Disk::with_image(&[b"a"]);
    symlink("/etc/passwd", disk.path().join("blobs/sha256/evil")).unwrap();
    fs::write(disk.path().join("ingest"), "x").unwrap();
    assert!(Layout::read(disk.path()).is_ok());
}

#[test]
fn no_symbolic_link_is_followed_wherever_it_stands() {
    let other = Disk::with_image(&[b"a"]);
    for (at, said) in [
        ("oci-layout", "oci-layout is a symbolic link"),
        ("index.json", "index.json is a symbolic link"),
        ("blobs", "blobs is not a directory"),
        ("blobs/sha256", "blobs/sha256 is not a directory"),
    ] {
        let disk = Disk::with_image(&[b"a"]);
        let path = disk.path().join(at);
        fs::rename(&path, disk.path().join("moved")).unwrap();
        symlink(other.path().join(at), &path).unwrap();
        assert_eq!(refusal(&disk), said);
    }
    // A blob, be the bytes there the right ones.
    for bytes in [b"a".as_slice(), b"{}"] {
        let disk = Disk::with_image(&[b"a"]);
        let file = disk.file(&digest_of(b"a"));
        fs::remove_file(&file).unwrap();
        let secret = disk.path().join("secret");
        fs::write(&secret, bytes).unwrap();
        symlink(&secret, &file).unwrap();
        assert!(refusal(&disk).ends_with("is a symbolic link"));
    }
    let link = other.path().join("link");
    symlink(other.path(), &link).unwrap();
    let error = Layout::read(&link).unwrap_err();
    assert_eq!(error.to_string(), "the image layout is not a directory");
}

#[test]
fn a_link_that_takes_a_blob_s_place_after_the_look_is_not_followed_either() {
    let disk = Disk::with_image(&[b"a"]);
    let layout = Layout::read(disk.path()).unwrap();
    let moved = disk.path().join("moved");
    fs::rename(disk.path().join("blobs"), &moved).unwrap();
    symlink("/etc", disk.path().join("blobs")).unwrap();
    let layer = layout.blobs.last().unwrap();
    assert_eq!(
        layout.open(layer).unwrap().whole().unwrap(),
        b"a",
        "it is held open"
    );
    let file = moved.join(layer.digest.as_str().replace(':', "/"));
    fs::remove_file(&file).unwrap();
    symlink("/etc/passwd", file).unwrap();
    let error = layout.open(layer).unwrap_err();
    assert!(error.to_string().ends_with("is a symbolic link"), "{error}");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let disk = Disk::with_image(&[b"a"]);
    let file = disk.file(&digest_of(b"a"));
    fs::remove_file(&file).unwrap();
    assert!(refusal(&disk).ends_with("is not there"));
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert!(refusal(&disk).ends_with("is not a file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(refusal(&disk).ends_with("is not a file"));
}

#[test]
fn the_last_piece_of_other_bytes_is_never_given_out() {
    // Three pieces, and the last byte is another.
    let mut bytes = vec![7; 600 << 10];
    let disk = Disk::with_image(&[&bytes]);
    let digest = digest_of(&bytes);
    *bytes.last_mut().unwrap() = 8;
    fs::write(disk.file(&digest), &bytes).unwrap();
    let layout = Layout::read(disk.path()).unwrap();
    let mut blob = layout.open(layout.blobs.last().unwrap()).unwrap();
    assert!(blob.piece().unwrap().is_some() && blob.piece().unwrap().is_some());
    let error = blob.piece().unwrap_err();
    assert_eq!(error.intent(), Intent::Stall);
    assert_eq!(
        error.to_string(),
        format!(
            "blobs/{} holds other bytes than its name says",
            digest.replace(':', "/")
        )
    );
}

#[test]
fn a_manifest_of_other_bytes_and_an_empty_blob_that_should_not_be_are_refused() {
    let disk = Disk::new();
    let image = disk.image("linux", &[b"a"]);
    disk.lists(std::slice::from_ref(&image));
    let file = disk.file(digest(&image));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"schemaVersion\":2", "\"schemaVersion\":3")).unwrap();
    assert!(refusal(&disk).contains("other bytes"));

    let disk = Disk::with_image(&[b""]);
    let layout = Layout::read(disk.path()).unwrap();
    let empty = layout.open(layout.blobs.last().unwrap()).unwrap();
    assert!(empty.whole().unwrap().is_empty());
    let disk = Disk::new();
    let mut layer = disk.blob(LAYER, b"a");
    layer["size"] = json!(0);
    fs::write(disk.file(digest(&layer)), "").unwrap();
    let image = json!({"schemaVersion": 2, "config": disk.blob(CONFIG, b"{}"), "layers": [layer]});
    disk.lists(&[disk.document(IMAGE, &image)]);
    assert!(refusal(&disk).contains("other bytes"));
}

#[test]
fn a_blob_of_another_size_than_declared_is_refused_before_anything_is_sent() {
    let disk = Disk::with_image(&[b"abc"]);
    let file = disk.file(&digest_of(b"abc"));
    fs::write(&file, "abcd").unwrap();
    assert!(refusal(&disk).ends_with("has 4 bytes, and 3 are declared"));
    fs::write(&file, "abc").unwrap();
    let layout = Layout::read(disk.path()).unwrap();
    let mut blob = layout.open(layout.blobs.last().unwrap()).unwrap();
    fs::write(&file, "a").unwrap();
    let error = blob.piece().unwrap_err();
    assert!(
        error.to_string().ends_with("became shorter while it was read"),
        "{error}"
    );
}

#[test]
fn sizes_that_no_image_has_are_refused_be_they_declared_or_real() {
    let disk = Disk::new();
    let image = disk.image("linux", &[b"a"]);
    for (size, said) in [
        (json!((4 << 20) + 1), "more than 4 MiB"),
        (json!(u64::MAX), "more than 4 MiB"),
        (json!(-1), "is not what it should be"),
        (json!(1.5), "is not what it should be"),
        (json!("12"), "is not what it should be"),
        (json!(1), "are declared"),
    ] {
        let mut image = image.clone();
        image["size"] = size;
        disk.lists(&[image]);
        assert!(refusal(&disk).contains(said), "{said}");
    }
    // A hole of 65 GiB costs no disk.
    let mut layer = disk.blob(LAYER, b"a");
    let file = OpenOptions::new()
        .write(true)
        .open(disk.file(digest(&layer)))
        .unwrap();
    file.set_len(65 << 30).unwrap();
    layer["size"] = json!(65_u64 << 30);
    let image = json!({"schemaVersion": 2, "config": disk.blob(CONFIG, b"{}"), "layers": [layer]});
    disk.lists(&[disk.document(IMAGE, &image)]);
    assert!(refusal(&disk).contains("64 GiB"));
    assert!(refusal_of(&disk, vec![b' '; (4 << 20) + 1]).contains("more than 4096 KiB"));
    fs::write(disk.path().join("oci-layout"), vec![b' '; 1 << 20]).unwrap();
    assert!(refusal(&disk).contains("oci-layout has more than 4 KiB"));
}

#[test]
fn more_manifests_or_blobs_than_any_image_has_are_refused() {
    let disk = Disk::new();
    let many = |count: u16| (0..count).map(|n| disk.blob(LAYER, &n.to_be_bytes()));
    let layers: Vec<Value> = many(4096).collect();
    let image = json!({"schemaVersion": 2, "config": disk.blob(CONFIG, b"{}"), "layers": layers});
    disk.lists(&[disk.document(IMAGE, &image)]);
    assert!(refusal(&disk).contains("more than 4096 blobs"));
    let images: Vec<Value> = (0..256).map(|n| disk.image(&format!("os{n}"), &[b"a"])).collect();
    disk.lists(&[disk.index(&images)]);
    assert!(refusal(&disk).contains("more than 256 manifests"));
}

#[test]
fn texts_that_are_nested_without_end_are_refused() {
    let disk = Disk::with_image(&[b"a"]);
    for deep in ["[".repeat(2 << 20), "{\"a\":".repeat(500_000)] {
        assert!(refusal_of(&disk, &deep).contains("is not what it should be"));
        let hidden = format!(r#"{{"schemaVersion":2,"annotations":{deep}"#);
        assert!(refusal_of(&disk, hidden).contains("is not what it should be"));
    }
    assert!(refusal_of(&disk, b"\xff\xfe").contains("line 1"));
    assert!(refusal_of(&disk, b"").contains("index.json is not what"));
}

#[test]
fn indexes_are_followed_through_a_few_levels_and_each_once() {
    let disk = Disk::new();
    let mut at = disk.image("linux", &[b"a"]);
    for _ in 1..MAX_DEPTH {
        // Without a memory these would be 16 to the power of the levels.
        at = disk.index(&vec![at; 16]);
    }
    disk.lists(&[at.clone()]);
    let began = Instant::now();
    assert_eq!(Layout::read(disk.path()).unwrap().children.len(), MAX_DEPTH - 1);
    assert!(began.elapsed() < Duration::from_secs(10));
    disk.lists(&[disk.index(&[at])]);
    assert!(refusal(&disk).contains("more than 8 levels"));
}

#[test]
fn an_index_that_names_itself_ends_at_once() {
    let disk = Disk::new();
    // Of a circle at least one digest is wrong.
    let itself = format!("sha256:{}", "a".repeat(64));
    let index = |size: usize| {
        json!({"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": itself, "size": size}]})
            .to_string()
    };
    let text = index(index(100).len());
    fs::write(disk.file(&itself), &text).unwrap();
    assert!(refusal_of(&disk, &text).contains("holds other bytes"));
}

#[test]
fn a_document_that_is_two_things_is_neither() {
    let disk = Disk::new();
    let config = disk.blob(CONFIG, b"{}");
    let image = disk.image("linux", &[b"a"]);
    for (media_type, document) in [
        (
            IMAGE,
            json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []}),
        ),
        (
            INDEX,
            json!({"schemaVersion": 2, "manifests": [image], "config": config}),
        ),
        (
            INDEX,
            json!({"schemaVersion": 2, "manifests": [image], "layers": []}),
        ),
        (INDEX, json!({"schemaVersion": 2, "config": config, "layers": []})),
        (IMAGE, json!({"schemaVersion": 2, "manifests": [image]})),
        (IMAGE, json!({"schemaVersion": 2, "layers": []})),
        (
            IMAGE,
            json!({"schemaVersion": 2, "mediaType": INDEX, "config": config, "layers": []}),
        ),
        (IMAGE, json!({"schemaVersion": 1, "config": config, "layers": []})),
        (IMAGE, json!([])),
    ] {
        disk.lists(&[disk.document(media_type, &document)]);
        let said = refusal(&disk);
        assert!(said.starts_with("blobs/sha256/"), "{document}: {said}");
    }
    // Under two media types it would be pushed as one of them.
    let mut other = image.clone();
    other["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
    disk.lists(&[disk.index(&[image, other])]);
    assert!(refusal(&disk).contains("two things"));
}

#[test]
fn names_that_are_no_digests_reach_no_file() {
    let disk = Disk::new();
    for name in [
        "sha256:../../../../etc/passwd",
        "sha256:/etc/passwd",
        "../../etc/passwd",
        "sha512:0000",
        "",
        "sha256:\u{1b}[2J",
        &format!("sha256:{}", "A".repeat(64)),
        &format!("sha256:{}/../x", "a".repeat(64)),
    ] {
        disk.lists(&[json!({"mediaType": IMAGE, "digest": name, "size": 1})]);
        let said = refusal(&disk);
        assert_eq!(
            said,
            "index.json names something by a digest that must be sha256: and 64 lower-case hex digits"
        );
    }
}

#[test]
fn one_blob_has_one_size() {
    let disk = Disk::new();
    let layer = disk.blob(LAYER, b"a");
    let mut other = layer.clone();
    other["size"] = json!(2);
    let image = json!({"schemaVersion": 2, "config": disk.blob(CONFIG, b"{}"), "layers": [layer, other]});
    disk.lists(&[disk.document(IMAGE, &image)]);
    assert!(refusal(&disk).contains("another size than before"));
}

#[test]
fn what_is_no_layout_says_so() {
    let disk = Disk::with_image(&[b"a"]);
    let marker = disk.path().join("oci-layout");
    fs::write(&marker, r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert_eq!(refusal(&disk), "oci-layout does not have the version 1.0.0");
    fs::remove_file(&marker).unwrap();
    assert_eq!(refusal(&disk), "oci-layout is not there");
    let error = Layout::read(&disk.path().join("none")).unwrap_err();
    assert_eq!(error.to_string(), "the image layout is not there");
}
