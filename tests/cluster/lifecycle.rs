//! Slipway itself comes and goes: a replica takes over from another, an uninstall leaves everything as it is, and a new
//! install goes on with it.

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use std::{fs, path::Path};

    use super::super::support::{
        Before, Case, Mark, Metrics, alone, get, kubectl, list, migrating, processes, signal, try_exec, wait,
    };

    const SYSTEM: &str = "slipway-system";

    fn controllers() -> Vec<serde_json::Value> {
        list("pod", SYSTEM, "app.kubernetes.io/name=slipway")
    }

    fn rows(case: &Case, release: &str, event: &str) -> usize {
        let query =
            format!("select count(*) from slipway_runs where release = '{release}' and event = '{event}'");
        case.sql(&query).trim().parse().unwrap()
    }

    fn live_revision(case: &Case, name: &str) {
        wait(&format!("{name} is live"), || {
            (case.release()["status"]["liveRevision"] == name && case.phase() == "Live").then_some(())
        });
    }

    // === replicas ===

    /// The pod that holds the lease, once another one stands by.
    fn leader_with_a_standby() -> String {
        wait("one leads and one stands by", || {
            let deployment = get("deployment", SYSTEM, "slipway").expect("Slipway is installed");
            let lease = get("lease", SYSTEM, "slipway-controller")?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or("").to_owned();
            let names: Vec<_> = controllers()
                .iter()
                .map(|pod| pod["metadata"]["name"].clone())
                .collect();
            let both = names.len() == 2 && deployment["status"]["availableReplicas"] == 2;
            (both && names.iter().any(|name| *name == holder.as_str())).then_some(holder)
        })
    }

    /// Ends a pod as a drained node would.
    fn stop(pod: &str) {
        kubectl(&["-n", SYSTEM, "delete", "pod", pod, "--wait=false"]);
    }

    /// Ends a pod as a lost node would: frozen first, so that it hears no request to end.
    fn kill(pod: &str) {
        let processes = processes(SYSTEM, pod);
        signal("STOP", &processes);
        kubectl(&["-n", SYSTEM, "delete", "pod", pod, "--grace-period=0", "--force"]);
        signal("KILL", &processes);
    }

    /// Begins a migration of the release, ends the leader while it runs, and waits until all is live under another one:
    /// how many seconds passed from the last sign of the old one, and whether that gave the lease back.
    fn taken_over(case: &Case, round: &str, revision: &str, end: fn(&str)) -> (f64, bool) {
        let old = leader_with_a_standby();
        let since = Mark::now();
        case.declare(
            round,
            &format!(
                "version: 1.1.0\nenv: {{MIGRATE_SLEEP: '15', RELEASE: {round}}}\nmigrate: {{args: [/app/bin/migrate, {round}]}}"
            ),
        );
        wait(&format!("the migration of {round} runs"), || {
            (rows(case, round, "start") == 1).then_some(())
        });
        end(&old);
        assert_eq!(
            rows(case, round, "end"),
            0,
            "{round}: it ended while the migration ran"
        );
        let holders = wait(&format!("{round}: another one leads"), || {
            let holders = since.holders();
            let new = holders
                .iter()
                .position(|(_, holder)| !holder.is_empty() && *holder != old)?;
            Some(holders[..=new].to_vec())
        });
        live_revision(case, revision);
        let jobs = since.created(&case.ns, "jobs");
        assert_eq!(jobs.len(), 1, "{round}: no second Job: {jobs:?}");
        let ran = (rows(case, round, "start"), rows(case, round, "end"));
        assert_eq!(ran, (1, 1), "{round}: it ran once");
        let [.., (before, last), (after, new)] = &holders[..] else {
            panic!("{round}: nobody held the lease before: {holders:?}")
        };
        let gap = after.duration_since(*before).as_secs_f64();
        println!("{round}: {new} leads {gap:.1} s after the last word of {old}");
        (gap, last.is_empty())
    }

    #[test]
    fn another_replica_goes_on_where_the_leader_is_stopped_or_killed_and_no_migration_runs_twice() {
        let _services = alone();
        let base = migrating("life-lead", "") + "  replicas: 1\n";
        let case = Case::new("life-lead", &base);
        case.declare("probe 1.0.0", "version: 1.0.0");
        case.live("1.0.0");

        let (gap, given_back) = taken_over(&case, "stopped", "app-v2", stop);
        assert!(given_back, "who is stopped gives the lease back");
        assert!(gap < 10.0, "what was given back is not held for 15 s: {gap} s");

        let (gap, given_back) = taken_over(&case, "killed", "app-v3", kill);
        assert!(!given_back, "who is killed gives nothing back");
        // Clocks are read at the API server, a moment after they are read by who waits.
        assert!(
            (14.5..40.0).contains(&gap),
            "a lease lasts 15 s, and was taken after {gap} s"
        );

        let since = Mark::now();
        case.declare(
            "the new one leads",
            "version: 1.1.0\nenv: {GREETING: hello}\nmigrate: {args: [/app/bin/migrate, killed]}",
        );
        live_revision(&case, "app-v4");
        assert!(case.ask("/").contains("env=hello"));
        let jobs = since.created(&case.ns, "jobs");
        assert!(jobs.is_empty(), "the migration is the same: {jobs:?}");
        leader_with_a_standby();
        counted_since_the_kill();
        case.end();
    }

    /// What the one that leads counted: the revision that it found half done, and the next one.
    fn counted_since_the_kill() {
        let phases = kubectl(&["get", "releases", "-A", "-o", "jsonpath={.items[*].status.phase}"]);
        let live = phases.split_whitespace().filter(|phase| *phase == "Live").count();
        let leader = Metrics::of_the_leader();
        let count = |metric, labels| leader.sum::<usize>(metric, labels);
        assert_eq!(count("slipway_releases", "phase=\"Live\""), live);
        assert_eq!(count("slipway_deployments_total", "outcome=\"Live\""), 2);
        assert_eq!(count("slipway_deployments_total", ""), 2, "and no other outcome");
        assert_eq!(count("slipway_lead_time_seconds_count", ""), 2);
        let seconds: f64 = leader.sum("slipway_lead_time_seconds_sum", "");
        assert!(
            (15.0..600.0).contains(&seconds),
            "a migration of 15 s is among them: {seconds}"
        );
        assert!(count("slipway_source_fetches_total", "reason=\"Fetched\"") >= 2);
        assert!(count("slipway_reconciles_total", "kind=\"release\",outcome=\"ok\"") >= 2);

        let standby = Metrics::of_a_standby();
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        for replica in [&leader, &standby] {
            assert_eq!(replica.sum::<u64>("slipway_build_info", &version), 1);
        }
        for metric in [
            "slipway_reconciles_total",
            "slipway_source_fetches_total",
            "slipway_deployments_total",
        ] {
            assert_eq!(standby.sum::<u64>(metric, ""), 0, "who stands by does nothing");
        }
    }

    // === uninstall ===

    fn helm(arguments: &[&str]) -> Result<String, String> {
        try_exec(&[&["helm", "--namespace", SYSTEM], arguments].concat(), "")
    }

    /// Slipway is uninstalled as long as this lives; then it is installed again, with the values that it had.
    struct Uninstalled(tempfile::TempDir);

    impl Uninstalled {
        fn now() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let values = helm(&["get", "values", "slipway", "--output", "yaml"]).unwrap();
            fs::write(folder.path().join("values.yaml"), values).unwrap();
            helm(&["uninstall", "slipway", "--wait", "--timeout", "2m"]).unwrap();
            let uninstalled = Self(folder);
            wait("the last pod has ended", || {
                controllers().is_empty().then_some(())
            });
            uninstalled
        }
    }

    impl Drop for Uninstalled {
        fn drop(&mut self) {
            let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/slipway");
            let values = format!("--values={}", self.0.path().join("values.yaml").display());
            let chart = chart.display().to_string();
            let install = ["install", "slipway", &chart, &values, "--wait", "--timeout", "3m"];
            let installed = helm(&install);
            // What failed before says more, and a second panic would end the tests after this one.
            if !std::thread::panicking() {
                installed.unwrap();
            }
        }
    }

    /// Each definition of Slipway's kinds, and each object of the case: what it is, and its UID.
    fn objects(case: &Case) -> Vec<String> {
        let each = "-o=jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
        let kinds =
            "releases,releaserevisions,deployments,services,serviceaccounts,configmaps,secrets,jobs,pods";
        let source = format!("--field-selector=metadata.name={}", case.source);
        let lines = [
            kubectl(&["get", "crds", each]),
            kubectl(&["get", "releasesources", &source, each]),
            kubectl(&["-n", &case.ns, "get", kinds, each]),
        ];
        let mut found: Vec<String> = lines
            .iter()
            .flat_map(|text| text.lines())
            .map(str::to_owned)
            .collect();
        found.sort();
        found
    }

    #[test]
    fn an_uninstall_leaves_every_object_and_the_next_install_goes_on_with_them() {
        let _services = alone();
        let ns = "life-gone";
        let base = migrating(ns, ", MADE: {generate: hex/32}");
        let case = Case::new(ns, &base);
        case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 2");
        case.live("1.0.0");
        let (before, all) = (Before::of(&case), objects(&case));
        for kind in [
            "CustomResourceDefinition/releases.slipway.dev ",
            "CustomResourceDefinition/releaserevisions.slipway.dev ",
            "CustomResourceDefinition/releasesources.slipway.dev ",
            "ReleaseSource/life-gone ",
            "Release/app ",
            "ReleaseRevision/app-v1 ",
            "Deployment/app ",
            "ConfigMap/app-ledger ",
            "Secret/app-generated ",
        ] {
            assert!(
                all.iter().any(|object| object.starts_with(kind)),
                "{kind}: {all:#?}"
            );
        }

        let uninstalled = Uninstalled::now();
        assert_eq!(objects(&case), all, "an uninstall takes nothing away");
        before.leaves_alone(&case);
        assert!(case.ask("/").contains("version=1.0.0"));

        let since = Mark::now();
        drop(uninstalled);
        case.until_asked(2, since);
        let releases = kubectl(&["get", "releases", "-A", "-o", "name"]).lines().count();
        wait("the new one has passed over each release", || {
            let known: usize = Metrics::of_the_leader().sum("slipway_releases", "");
            (known == releases).then_some(())
        });
        assert_eq!(objects(&case), all, "a new install finds all of it");
        before.leaves_alone(&case);
        let written = since.mutations(ns);
        assert!(written.is_empty(), "all is as it is declared: {written:#?}");

        case.declare("probe 1.1.0", "version: 1.1.0\nreplicas: 2");
        case.live("1.1.0");
        let jobs = since.created(ns, "jobs");
        assert_eq!(
            jobs.len(),
            1,
            "what was migrated is known, and only the next one runs: {jobs:?}"
        );
        case.end();
    }
}
