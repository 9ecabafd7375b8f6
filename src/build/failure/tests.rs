use super::*;

/// A build that failed in a command, as BuildKit 0.33 tells it.
fn failed(header: &str, printed: &str, how: &str) -> String {
    let lines = |prefix: &str| -> String {
        let number = |(index, line): (usize, &str)| format!("{prefix}0.{index:03} {line}\n");
        printed.lines().enumerate().map(number).collect()
    };
    let error = format!("process \"/bin/sh -c x\" did not complete successfully: {how}");
    format!(
        "\
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 1.05kB done
#1 DONE 0.0s

#5 [builder 1/9] FROM docker.io/library/elixir:1.18@sha256:0123
#5 CACHED

#12 {header}
{}#12 ERROR: {error}

#9 [stage-1 2/4] RUN apt-get update
#9 0.100 Get:1 http://deb.debian.org/debian bookworm InRelease
#9 CANCELED
------
 > {header}:
{}------
Dockerfile:12
--------------------
  10 |     COPY mix.exs mix.lock ./
  11 |     
  12 | >>> RUN x
  13 |     FROM node:22
--------------------
error: failed to solve: {error}
",
        lines("#12 "),
        lines(""),
    )
}

/// A build that failed before a command was run.
fn unsolved(message: &str) -> String {
    format!(
        "\
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#2 [internal] load metadata for docker.io/library/elixir:9.99
#2 ERROR: {message}
------
 > [internal] load metadata for docker.io/library/elixir:9.99:
------
Dockerfile:3
--------------------
   3 | >>> FROM elixir:9.99
--------------------
error: failed to solve: elixir:9.99: failed to resolve source metadata for docker.io/library/elixir:9.99: {message}
"
    )
}

fn of(log: &str) -> Failure {
    failure(log, Some(1), Some("Error"))
}

fn place() -> Place {
    Place {
        stage: Some("builder".into()),
        number: 5,
        of: 9,
        words: "RUN mix compile".into(),
        line: Some(12),
    }
}

#[test]
fn a_compile_error_is_told_with_its_place_and_its_last_lines_and_never_tried_again() {
    let printed = "Compiling 40 files (.ex)\n\n== Compilation error in file lib/shop.ex ==\n** (SyntaxError) invalid syntax";
    let failure = of(&failed("[builder 5/9] RUN mix compile", printed, "exit code: 1"));
    let tail: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert_eq!(
        failure,
        Failure::Step {
            at: place(),
            exit_code: Some(1),
            tail
        }
    );
    assert_eq!(
        failure.sentence(),
        "`RUN mix compile` ended with exit code 1 (builder 5/9, line 12 of the Dockerfile)"
    );
    assert_eq!(failure.again(), Again::No);
    assert_eq!(failure.tail().len(), 4);
}

#[test]
fn buildx_and_older_forms_of_the_last_line_are_known() {
    let log = failed("[builder 5/9] RUN mix compile", "no", "exit code: 2");
    let expected = of(&log);
    for start in [
        "ERROR: failed to build: failed to solve: ",
        "ERROR: failed to solve: ",
        "error: failed to solve: rpc error: code = Unknown desc = ",
    ] {
        assert_eq!(
            of(&log.replace("error: failed to solve: ", start)),
            expected,
            "{start}"
        );
    }
}

#[test]
fn thirty_lines_are_kept_and_the_beginning_of_the_log_may_be_missing() {
    let printed: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
    let log = failed(
        "[builder 5/9] RUN mix compile",
        &printed.join("\n"),
        "exit code: 1",
    );
    let whole = of(&log);
    assert_eq!((whole.tail().len(), whole.tail()[29].as_str()), (30, "line 99"));
    let from = log.find("#12 0.090").unwrap();
    let Failure::Step { at, tail, .. } = of(&log[from..]) else {
        panic!()
    };
    assert_eq!((at, tail.len()), (place(), 10));
    // Of the end alone the excerpt is left.
    let from = log.find("------").unwrap();
    let Failure::Step { at, exit_code, tail } = of(&log[from..]) else {
        panic!()
    };
    assert_eq!((at, exit_code, tail.len()), (place(), Some(1), 100));
}

#[test]
fn the_step_that_failed_is_told_and_not_the_ones_that_were_ended_with_it() {
    let log = failed("[builder 5/9] RUN mix compile", "no", "exit code: 1");
    let log = log.replace("#9 CANCELED", "#9 ERROR: context canceled: context canceled");
    assert!(matches!(of(&log), Failure::Step { at, .. } if at == place()));
}

#[test]
fn a_log_that_ends_with_the_step_tells_it_as_well() {
    let log = failed("[builder 5/9] RUN mix compile", "no", "exit code: 1");
    let (log, _) = log.split_once("\n#9").unwrap();
    let Failure::Step { at, exit_code, .. } = of(log) else {
        panic!()
    };
    assert_eq!(
        (at.words.as_str(), at.line, exit_code),
        ("RUN mix compile", None, Some(1))
    );
}

#[test]
fn want_of_memory_is_known_by_the_kubelet_by_the_signal_and_by_what_programs_say() {
    let log = failed("[builder 5/9] RUN mix compile", "Compiling", "exit code: 137");
    let expected = Failure::OutOfMemory {
        at: Some(place()),
        heap: false,
    };
    assert_eq!(of(&log), expected);
    let log = failed(
        "[builder 5/9] RUN mix compile",
        "Compiling",
        "cannot allocate memory",
    );
    assert_eq!(of(&log), expected);
    let killed = "c++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.\nmake: *** [Makefile:4] Error 1";
    assert_eq!(
        of(&failed("[builder 5/9] RUN mix compile", killed, "exit code: 2")),
        expected
    );
    assert_eq!(expected.again(), Again::WithMoreMemory);
    assert_eq!(
        expected.sentence(),
        "the build ran out of memory in `RUN mix compile` (builder 5/9, line 12 of the Dockerfile)"
    );
    // The whole container is ended, and its log stops anywhere.
    let log = "#8 [builder 7/9] RUN npm run build\n#8 1.2 Creating an optimized production build ...\n";
    let Failure::OutOfMemory { at: Some(at), .. } = failure(log, Some(137), Some("OOMKilled")) else {
        panic!()
    };
    assert_eq!(at.words, "RUN npm run build");
    let at = failure("", Some(137), Some("OOMKilled"));
    assert_eq!(
        at,
        Failure::OutOfMemory {
            at: None,
            heap: false
        }
    );
}

#[test]
fn the_heap_of_node_is_another_limit_than_that_of_the_pod() {
    let printed = "<--- Last few GCs --->\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\nAborted (core dumped)";
    let failure = of(&failed(
        "[builder 5/9] RUN mix compile",
        printed,
        "exit code: 134",
    ));
    assert_eq!(
        failure,
        Failure::OutOfMemory {
            at: Some(place()),
            heap: true
        }
    );
    assert!(failure.sentence().starts_with("the heap of Node was too small"));
}

#[test]
fn a_step_that_could_not_download_is_tried_again_unless_it_went_on() {
    let printed = "Err:1 http://deb.debian.org/debian bookworm InRelease\n  Temporary failure resolving 'deb.debian.org'\nE: Unable to locate package git";
    let passed = of(&failed(
        "[builder 5/9] RUN mix compile",
        printed,
        "exit code: 100",
    ));
    assert!(matches!(passed, Failure::Network { .. }));
    assert_eq!(passed.again(), Again::AfterPause);
    let survived = format!(
        "{printed}\n{}** (CompileError) lib/shop.ex:1",
        "Compiling\n".repeat(12)
    );
    let failure = of(&failed(
        "[builder 5/9] RUN mix compile",
        &survived,
        "exit code: 1",
    ));
    assert!(matches!(failure, Failure::Step { .. }));
    // Something else that is known came after it.
    let other = format!("{printed}\nnpm error code E404");
    let failure = of(&failed("[builder 5/9] RUN mix compile", &other, "exit code: 1"));
    assert!(matches!(failure, Failure::Step { .. }));
}

#[test]
fn a_full_disk_is_told_from_a_limit_of_namespaces() {
    let failure = of(&failed(
        "[builder 5/9] RUN mix compile",
        "cp: error writing '/app/x': No space left on device",
        "exit code: 1",
    ));
    assert_eq!(failure, Failure::DiskFull { at: Some(place()) });
    assert_eq!(failure.again(), Again::AfterPause);
    let exporting = "#20 exporting to image\n#20 ERROR: failed to copy: write /x: no space left on device\nerror: failed to solve: failed to copy: write /x: no space left on device\n";
    assert_eq!(of(exporting), Failure::DiskFull { at: None });
    let namespaces = "[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: no space left on device\n";
    assert!(matches!(
        of(namespaces),
        Failure::Builder {
            lack: Lack::UserNamespaces,
            ..
        }
    ));
}

#[test]
fn what_a_registry_says_of_a_base_image_is_told_apart() {
    let image = || "docker.io/library/elixir:9.99".to_owned();
    let host = || "registry-1.docker.io".to_owned();
    let address = "https://registry-1.docker.io/v2/library/elixir/manifests/9.99";
    for (message, expected, again) in [
        (
            "docker.io/library/elixir:9.99: not found".to_owned(),
            Failure::BaseNotFound { image: image() },
            Again::No,
        ),
        (
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed".to_owned(),
            Failure::BaseDenied { image: image() },
            Again::No,
        ),
        (
            "no match for platform in manifest: not found".to_owned(),
            Failure::BasePlatform { image: image() },
            Again::No,
        ),
        (
            format!("failed to copy: httpReadSeeker: failed open: unexpected status code {address}: 429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"),
            Failure::TooManyRequests { host: host() },
            Again::AfterPause,
        ),
        (
            format!("failed to do request: Head \"{address}\": tls: failed to verify certificate: x509: certificate signed by unknown authority"),
            Failure::RegistryUntrusted { host: host() },
            Again::No,
        ),
        (
            format!("failed to do request: Head \"{address}\": dial tcp: lookup registry-1.docker.io on 10.96.0.10:53: no such host"),
            Failure::RegistryUnreachable {
                host: host(),
                words: "lookup registry-1.docker.io on 10.96.0.10:53: no such host".to_owned(),
            },
            Again::AfterPause,
        ),
        (
            format!("unexpected status from HEAD request to {address}: 503 Service Unavailable"),
            Failure::RegistryUnreachable {
                host: host(),
                words: format!("unexpected status from HEAD request to {address}: 503 Service Unavailable"),
            },
            Again::AfterPause,
        ),
    ] {
        let failure = of(&unsolved(&message));
        assert_eq!(failure, expected, "{message}");
        assert_eq!(failure.again(), again, "{message}");
    }
    let sentence = of(&unsolved("docker.io/library/elixir:9.99: not found")).sentence();
    assert_eq!(
        sentence,
        "there is no base image docker.io/library/elixir:9.99: correct FROM in the Dockerfile"
    );
}

#[test]
fn an_image_whose_layers_are_refused_is_named_by_its_instruction() {
    let log = "\
#5 [builder 1/9] FROM r.example/base:1@sha256:0123
#5 ERROR: failed to copy: httpReadSeeker: failed open: unexpected status code https://r.example/v2/base/blobs/sha256:4567: 403 Forbidden
error: failed to solve: failed to copy: httpReadSeeker: failed open: unexpected status code https://r.example/v2/base/blobs/sha256:4567: 403 Forbidden
";
    let image = "r.example/base:1".to_owned();
    assert_eq!(of(log), Failure::BaseDenied { image });
}

#[test]
fn a_push_that_is_refused_is_no_matter_of_the_base_image() {
    let push =
        |why: &str| format!("#20 exporting to image\n#20 ERROR: {why}\nerror: failed to solve: {why}\n");
    let denied = push(
        "failed to push r.example:5000/shop:1: unexpected status from POST request to http://r.example:5000/v2/shop/blobs/uploads/: 401 Unauthorized",
    );
    let image = "r.example:5000/shop:1".to_owned();
    assert_eq!(of(&denied), Failure::PushDenied { image });
    let down = push(
        "failed to push r.example:5000/shop:1: failed to do request: Head \"http://r.example:5000/v2/shop/blobs/sha256:0\": dial tcp 10.0.0.9:5000: connect: connection refused",
    );
    let Failure::RegistryUnreachable { host, words } = of(&down) else {
        panic!()
    };
    assert_eq!(
        (host.as_str(), words.as_str()),
        ("r.example:5000", "connect: connection refused")
    );
}

#[test]
fn a_file_that_is_not_in_the_context_is_told_from_one_that_a_stage_did_not_write() {
    let copy = |instruction: &str, path: &str| {
        let why = format!("failed to calculate checksum of ref pzhz5wx::uydm9wx: {path}: not found");
        format!(
            "\
#9 [stage-1 4/5] {instruction}
#9 ERROR: {why}
------
 > [stage-1 4/5] {instruction}:
------
Dockerfile:30
--------------------
  30 | >>> {instruction}
--------------------
error: failed to solve: failed to compute cache key: {why}
"
        )
    };
    let failure = of(&copy("COPY mix.exs mix.lock ./", "\"/mix.lock\""));
    assert_eq!(
        failure,
        Failure::MissingInContext {
            path: "mix.lock".into(),
            from: None,
            line: Some(30)
        }
    );
    assert_eq!(
        failure.sentence(),
        "mix.lock is not in the build context: it is not committed, or .dockerignore holds it back (line 30 of the Dockerfile)"
    );
    let failure = of(&copy("COPY --from=builder /app/rel ./", "\"/app/rel\""));
    assert_eq!(
        failure.sentence(),
        "app/rel is not in what is copied from builder (line 30 of the Dockerfile)"
    );
    let walked = "error: failed to solve: failed to compute cache key: failed to calculate checksum of ref a::b: failed to walk /tmp/buildkit-mount3059587245/config: lstat /tmp/buildkit-mount3059587245/config: no such file or directory\n";
    assert!(matches!(of(walked), Failure::MissingInContext { path, .. } if path == "config"));
}

#[test]
fn a_dockerfile_that_cannot_be_read_is_told_by_its_line() {
    let failure = of(
        "error: failed to solve: dockerfile parse error on line 3: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)\n",
    );
    assert_eq!(
        failure.sentence(),
        "line 3 of the Dockerfile: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)"
    );
    let failure =
        of("error: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory\n");
    assert_eq!(
        failure,
        Failure::NoDockerfile {
            path: "Dockerfile".into()
        }
    );
    let pointed = "docker/web.Dockerfile:7\n--------------------\n   7 | >>> FROM ${BASE}\n--------------------\nerror: failed to solve: base name (${BASE}) should not be blank\n";
    let failure = of(pointed);
    assert_eq!(
        failure,
        Failure::Dockerfile {
            line: Some(7),
            words: "base name (${BASE}) should not be blank".into()
        }
    );
    assert_eq!(failure.again(), Again::No);
    let failure =
        of("error: failed to solve: target stage \"bulid\" could not be found (did you mean build?)\n");
    assert_eq!(
        failure,
        Failure::NoTarget {
            target: "bulid".into()
        }
    );
    let failure = of(
        "#9 [2/2] RUN x\n#9 ERROR: secret npmrc: not found\nerror: failed to solve: secret npmrc: not found\n",
    );
    assert_eq!(failure, Failure::MissingSecret { id: "npmrc".into() });
}

#[test]
fn an_instruction_that_is_no_command_is_told_with_what_was_wrong() {
    let log = "#9 [2/3] COPY a b/\n#9 ERROR: cannot copy to non-directory: /b\nDockerfile:4\n--------------------\n   4 | >>> COPY a b/\n--------------------\nerror: failed to solve: cannot copy to non-directory: /b\n";
    let failure = of(log);
    assert_eq!(
        failure.sentence(),
        "`COPY a b/` could not be carried out (2/3, line 4 of the Dockerfile)"
    );
    assert_eq!(failure.tail(), ["cannot copy to non-directory: /b"]);
}

#[test]
fn a_node_that_cannot_run_the_builder_is_told_with_what_it_lacks() {
    let daemonless = |log: &str| {
        format!(
            "could not connect to unix:///run/user/1000/buildkit/buildkitd.sock after 10 trials\n========== log ==========\n{log}\nsh: can't kill pid 8: No such process\n"
        )
    };
    for (log, expected) in [
        (
            "[rootlesskit:parent] error: failed to setup UID/GID map: newuidmap 11 [0 1000 1 1 100000 65536] failed: newuidmap: write to uid_map failed: Operation not permitted\n: exit status 1",
            Lack::IdMaps,
        ),
        (
            "[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: operation not permitted",
            Lack::UserNamespaces,
        ),
        (
            "time=\"x\" level=warning msg=\"/proc/sys/user/max_user_namespaces needs to be set to non-zero.\"",
            Lack::UserNamespaces,
        ),
        (
            "WARN[0000] [rootlesskit:parent] This error might have happened because /proc/sys/kernel/apparmor_restrict_unprivileged_userns is set to 1",
            Lack::AppArmor,
        ),
        (
            "[rootlesskit:child ] error: failed to share mount point: /: permission denied\n[rootlesskit:parent] error: child exited: exit status 1",
            Lack::AppArmor,
        ),
        ("buildkitd: something new", Lack::Start),
    ] {
        let Failure::Builder { lack, words } = of(&daemonless(log)) else {
            panic!("{log}")
        };
        assert_eq!(lack, expected, "{log}");
        assert!(lack == Lack::Start || log.contains(&words), "{words}");
    }
    assert_eq!(of(&daemonless("x")).again(), Again::AfterPause);
    let failure = of(&daemonless(
        "[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: operation not permitted",
    ));
    assert_eq!(failure.again(), Again::No);
    assert!(failure.sentence().contains("user.max_user_namespaces"));
}

#[test]
fn a_mount_that_the_pod_may_not_do_is_a_matter_of_the_builder() {
    let why = "failed to read dockerfile: failed to mount /tmp/buildkit-mount183503081: [{Type:bind Source:/x Options:[rbind ro]}]: operation not permitted";
    let failure = of(&format!("error: failed to solve: {why}\n"));
    assert!(matches!(
        failure,
        Failure::Builder {
            lack: Lack::Mounts,
            ..
        }
    ));
    let runc = "runc run failed: unable to start container process: error during container init: error mounting \"proc\" to rootfs at \"/proc\": mount proc:/proc (via /proc/self/fd/6), flags: 0xe: operation not permitted";
    let failure = of(&failed("[builder 5/9] RUN mix compile", runc, "exit code: 1"));
    assert!(matches!(failure, Failure::Builder { lack: Lack::Proc, .. }));
    let died = of(
        "#8 [1/2] RUN x\n#8 0.1 y\nerror: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF\n",
    );
    assert!(matches!(died, Failure::Builder { lack: Lack::Died, .. }));
    assert_eq!(died.again(), Again::AfterPause);
}

#[test]
fn what_a_step_prints_is_never_taken_for_a_failure_of_the_builder_or_a_registry() {
    let printed = "error: failed to solve: docker.io/x: not found\nfailed to setup UID/GID map\npull access denied\nDockerfile:99\n--------------------\n------";
    let failure = of(&failed("[builder 5/9] RUN mix compile", printed, "exit code: 1"));
    assert!(matches!(failure, Failure::Step { at, .. } if at == place()));
}

#[test]
fn a_pod_that_was_ended_from_outside_is_tried_again_and_one_that_took_too_long_is_not() {
    let running = "#8 [builder 7/9] RUN npm run build\n#8 1.2 Creating an optimized production build ...\n";
    let evicted = failure(running, None, Some("Evicted"));
    assert_eq!(
        evicted.sentence(),
        "the pod of the build was ended from outside: Evicted"
    );
    assert_eq!(evicted.again(), Again::AfterPause);
    assert_eq!(
        failure(running, Some(143), Some("Error")).again(),
        Again::AfterPause
    );
    let late = failure(running, None, Some("DeadlineExceeded"));
    assert_eq!(late.again(), Again::No);
    assert_eq!(
        late.sentence(),
        "the build took longer than it may in `RUN npm run build` (builder 7/9)"
    );
}

#[test]
fn what_is_not_known_is_told_as_it_was_said_and_not_tried_again() {
    let unknown = of("fetching\nsomething new happened\n\n");
    assert_eq!(unknown.sentence(), "the build failed: something new happened");
    assert_eq!(unknown.again(), Again::No);
    assert_eq!(of("").sentence(), "the build failed and said nothing");
    let said = of("error: failed to solve: something new\n");
    assert_eq!(said.sentence(), "the build failed: something new");
}

#[test]
fn a_sentence_is_one_short_harmless_line_whatever_the_log_says() {
    let long = "\u{1b}[31mä\r\u{202e}".repeat(1 << 16);
    let logs = [
        failed(&format!("[builder 5/9] RUN {long}"), &long, "exit code: 1"),
        unsolved(&format!("{long}: not found")),
        unsolved(&format!("failed to do request: Head \"https://{long}\": {long}")),
        format!("error: failed to solve: {long}\n"),
        format!(
            "error: failed to solve: failed to read dockerfile: open {long}: no such file or directory\n"
        ),
        format!("[rootlesskit:parent] error: failed to setup UID/GID map: {long}\n"),
        format!("error: failed to solve: secret {long}: not found\n"),
        format!("error: failed to solve: failed to push {long}: 401 Unauthorized\n"),
        long.clone(),
    ];
    for log in &logs {
        for reason in [None, Some("OOMKilled"), Some("DeadlineExceeded")] {
            let failure = failure(log, Some(1), reason);
            let sentence = failure.sentence();
            assert!(sentence.chars().count() <= SENTENCE, "{sentence}");
            assert!(!sentence.chars().any(char::is_control), "{sentence}");
            assert!(failure.tail().iter().all(|line| line.chars().count() <= LENGTH));
        }
    }
}

#[test]
fn hostile_logs_are_read_quickly() {
    let logs = [
        "a\n".repeat(5 << 20),
        "#1 ".repeat(3 << 20),
        "------\n > :\n0.1 x\n".repeat(1 << 19),
    ];
    for log in &logs {
        let begun = std::time::Instant::now();
        assert!(!failure(log, Some(1), None).sentence().is_empty());
        assert!(crate::build::progress::current(log).is_none_or(|step| step.of == 0));
        // On a busy machine and without optimisation; it is a question of linear or not.
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}

#[test]
fn every_failure_begins_its_sentence_amid_one() {
    let at = place;
    let text = String::new;
    let all = [
        Failure::Step {
            at: at(),
            exit_code: None,
            tail: vec![],
        },
        Failure::OutOfMemory {
            at: None,
            heap: false,
        },
        Failure::Network {
            at: at(),
            tail: vec![],
        },
        Failure::DiskFull { at: None },
        Failure::BaseNotFound { image: text() },
        Failure::BaseDenied { image: text() },
        Failure::BasePlatform { image: text() },
        Failure::PushDenied { image: text() },
        Failure::RegistryUnreachable {
            host: text(),
            words: text(),
        },
        Failure::RegistryUntrusted { host: text() },
        Failure::TooManyRequests { host: text() },
        Failure::Dockerfile {
            line: None,
            words: text(),
        },
        Failure::NoDockerfile { path: text() },
        Failure::MissingInContext {
            path: text(),
            from: None,
            line: None,
        },
        Failure::MissingSecret { id: text() },
        Failure::NoTarget { target: text() },
        Failure::Builder {
            lack: Lack::Start,
            words: text(),
        },
        Failure::Ended { reason: text() },
        Failure::TimedOut { at: None },
        Failure::Other { words: text() },
    ];
    let kinds: std::collections::HashSet<_> = all.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), all.len());
    for failure in &all {
        let sentence = failure.sentence();
        assert!(
            sentence.starts_with(|c: char| c.is_lowercase() || c == '`' || c == ' ')
                || sentence.starts_with("Dockerfile"),
            "{sentence}"
        );
    }
}
