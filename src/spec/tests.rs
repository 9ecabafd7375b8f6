//! Bad inputs, as far as files of specs can hold them: each with what its author is told, and where.
//! What a repository can hold besides (links, submodules, odd names, sizes) is told by the tests of `source`; what
//! stands in other objects, replies and requests by those of their own rooms.
//!
//! # What there is, and what shows it
//!
//! In the last column stand tests, and rows of the tables below by their first word; `tests/docs.rs` holds them to be there.
//!
//! | | What is given | Shown by |
//! |---|---|---|
//! | 1 | An empty file, remarks alone, a byte order mark, a zero byte | `a_file_that_says_nothing_is_skipped_and_a_nul_byte_is_not` |
//! | 2 | Bytes that are no UTF-8, or longer than they must be | `what_is_not_utf_8_is_refused_with_its_place` |
//! | 3 | Aliases that grow | `bombs_are_refused_at_once`, `billion_laughs_and_deep_nesting_are_refused` |
//! | 4 | An alias of itself | `alias` |
//! | 5 | Nesting | `depth`, `bombs_are_refused_at_once` |
//! | 6 | A text, keys or documents without end | `bombs_are_refused_at_once` |
//! | 7 | A key twice | `duplicate key`, `duplicate_keys_in_env_are_refused_with_their_place` |
//! | 8 | Merge keys, tags, directives | `merge key, tag`, `merge_keys_tags_and_directives_are_refused_without_their_text` |
//! | 9 | A field that is none | `unknown field`, `a_misspelt_field_names_the_right_one_and_its_place` |
//! | 10 | Another type | `wrong type`, `other_types_say_what_they_must_be_and_where` |
//! | 11 | Texts that are taken for something else | `odd scalar`, `what_only_looks_odd_is_read_as_it_is_written` |
//! | 12 | Numbers beyond what can be | `number` |
//! | 13 | Ports | `port` |
//! | 14 | Durations | `duration` |
//! | 15 | Amounts of processor and memory | `quantity` |
//! | 16 | Names | `name`, `what_is_too_long_is_refused_by_its_length` |
//! | 17 | Invisible characters and those that steer a terminal | `odd character`, `no_character_of_a_file_steers_the_terminal` |
//! | 18 | Labels and annotations of others | `reserved key` |
//! | 19 | One release in two places, or in other letters | `duplicate release`, `every_claimant_of_a_name_is_held`, `the_same_release_twice_in_one_layer_is_left_out_and_both_places_are_named` |
//! | 20 | Two releases that would share an object | `one name twice`, `releases_that_would_share_an_object_are_both_held`, `a_budget_that_a_migration_needs_is_an_object_like_any_other` |
//! | 21 | Namespaces | `namespace`, `a_namespace_that_the_source_may_not_write_to_is_said`, `a_missing_namespace_is_waited_for_or_made_and_never_deleted` |
//! | 22 | Paths that leave the repository, or lead into its insides | `paths_that_leave_or_overlap_are_refused`, `other_spellings_of_the_directory_of_git_are_plain_names_that_are_not_there` |
//! | 23 | Symbolic links | `links_and_submodules_are_reported_and_never_followed`, `a_link_in_place_of_an_overlay_holds_what_it_may_hide`, `links_and_odd_names_are_problems_and_hidden_files_are_passed_over` |
//! | 24 | Names that git forbids | `names_that_git_forbids_are_reported_not_read` |
//! | 25 | Submodules, files in LFS | `links_and_submodules_are_reported_and_never_followed`, `each_oddity_of_a_repository_is_told_at_its_place_and_its_neighbours_are_read` |
//! | 26 | Deep directories, long names, many files | `thousands_of_directories_below_each_other_end_at_the_limit_and_not_on_the_stack`, `names_and_paths_that_are_too_long_are_their_own_problem_and_are_not_shown_whole`, `limits_on_the_whole_end_the_reading` |
//! | 27 | Extensions that look like ours | `only_yaml_and_yml_in_lower_case_are_read_and_lookalikes_are_reported`, `spec_files_end_in_yaml_or_yml` |
//! | 28 | Addresses of other transports | `other_transports_and_paths_are_refused` |
//! | 29 | Options in disguise | `options_in_disguise_are_refused` |
//! | 30 | Odd characters and credentials in an address | `odd_characters_are_refused_wherever_they_stand`, `credentials_in_the_url_are_refused_and_not_repeated` |
//! | 31 | Addresses of the machine and of its cloud | `disguised_and_link_local_addresses_are_refused`, `the_own_machine_is_known_however_it_is_written`, `what_answers_for_a_machine_or_its_cloud_is_no_registry_however_it_is_written` |
//! | 32 | Expressions and options in place of a branch or tag | `revision_expressions_and_options_are_no_names` |
//! | 33 | Short ids, a tag named as a branch or as an id | `commits_are_full_ids_only`, `a_tag_and_a_branch_of_one_name_are_told_apart` |
//! | 34 | Tags and digests of images | `image`, `references_that_no_registry_has_are_refused`, `a_digest_wins_over_a_tag` |
//! | 35 | Hosts of images | `image host`, `references_that_no_registry_has_are_refused` |
//! | 36 | Paths of images | `image path`, `names_that_would_change_the_url_are_refused` |
//! | 37 | Commands with the signs of a shell | `command`, `what_only_looks_odd_is_read_as_it_is_written`, `words_and_values_reach_the_pod_as_they_are_written` |
//! | 38 | Variables in commands that would show a secret, and in values, where they are not read | `expansion`, `a_value_that_names_a_variable_of_the_release_is_refused_since_nothing_is_put_into_it` |
//! | 39 | Names of variables | `variable` |
//! | 40 | Values that look like secrets | `literal secret`, `secrets_are_found_by_form_and_by_name`, `near_misses_pass`, `of_every_bad_spec_that_is_known_no_form_shows_a_part_of_its_secret` |
//! | 41 | References to Secrets of others | `reference` |
//! | 42 | Privileges | `privilege` |
//! | 43 | Migrations | `migration` |
//! | 44 | Dependencies | `dependency` |
//! | 45 | Two versions at once, one version with another image | `two versions`, `a_missing_tag_is_waited_for_and_a_moved_one_is_reported_and_not_followed` |
//! | 46 | Authors and messages of commits | `a_commit_that_was_never_made_by_git_is_read_or_refused_and_harms_nobody`, `the_author_is_shown_without_control_characters_and_short` |
//! | 47 | Ends of lines of another system | `line_ends_and_a_byte_order_mark_change_no_hash`, `crlf_and_a_byte_order_mark_give_the_same_documents` |
//! | 48 | Objects of other kinds | `other kind`, `what_is_plainly_not_slipways_speaks_of_no_release` |
//! | 49 | Templates, unfinished merges, blanks that indent nothing | `what_is_plainly_no_spec_is_told_by_its_name`, `what_stands_inside_of_a_text_is_a_part_of_it` |
//! | 50 | Pipes, files without the right to read | `what_cannot_be_read_is_a_problem_of_its_own_and_the_others_are_read`, `a_pipe_is_not_waited_for_and_a_file_without_the_right_to_read_hides_no_other` |

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    declare::spec_hash,
    file::{File, MAX_BYTES},
    reading::{self, Named, Reading},
};
use crate::{api::release::EnvValue, render};

const HEAD: &str = "apiVersion: slipway.dev/v1alpha1\nkind: Release\n";
const NEIGHBOUR: &str = "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: neighbour, namespace: shop}\n\
                         spec: {image: x, port: 80, version: 1.0.0}\n";
/// Parts of what the rows have for secrets.
pub(crate) const SECRETS: [&str; 6] = [
    "hunter",
    "HUNTER",
    "IOSFODNN7",
    "ghp_",
    "eyJ",
    "0123456789abcdefghij",
];

/// One file beside a good one, which must never suffer.
fn read(text: &[u8]) -> Reading {
    let own = reading::Own {
        slipway: "slipway-system".parse().unwrap(),
        builds: "slipway-builds".parse().unwrap(),
    };
    let layer = vec![
        Arc::new(File::read("a.yaml", text)),
        Arc::new(File::read("neighbour.yaml", NEIGHBOUR.as_bytes())),
    ];
    let reading = reading::read(&[layer], &Named::new(), &|namespace| {
        reading::forbidden(namespace, &[], &own)
    });
    assert!(
        reading.releases.keys().any(|id| id.name.as_str() == "neighbour"),
        "{}",
        String::from_utf8_lossy(text)
    );
    for problem in &reading.problems {
        let said = problem.to_string();
        assert!(
            problem.message.len() <= 1024 && !said.contains(char::is_control),
            "{said}"
        );
        assert!(!SECRETS.iter().any(|secret| said.contains(secret)), "{said}");
    }
    reading
}

/// What is wrong with a file, as `line:column: sentence`.
fn told(text: &[u8]) -> Vec<String> {
    let problems = read(text).problems;
    problems
        .iter()
        .map(|problem| problem.to_string().replacen("a.yaml:", "", 1))
        .collect()
}

/// A row is fields of a spec (indented), a `metadata` (in braces), or a whole file. A spec gets what it lacks to be
/// deployed, so that the row alone can be what is wrong.
fn file(row: &str) -> String {
    if row.starts_with('{') {
        return format!("{HEAD}metadata: {row}\nspec: {{}}\n");
    }
    if !row.starts_with("  ") {
        return row.to_owned();
    }
    let mut text = format!("{HEAD}metadata: {{name: billing, namespace: shop}}\nspec:\n{row}\n");
    for (field, line) in [
        ("image", "  image: ghcr.io/acme/billing\n"),
        ("version", "  version: 1.0.0\n"),
        ("port", "  port: 80\n"),
    ] {
        if !row.contains(&format!("  {field}:")) {
            text += line;
        }
    }
    text
}

/// What is odd, input, the beginning of each sentence.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, &[&str])] = &[
    ("alias", "  command: &a [*a]", &["5:16: not readable as YAML: Recursive reference not allowed here"]),
    ("depth", "  args: [[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]", &["5:23: the document is too large, too deep (16 levels) or uses too many aliases (20)"]),
    ("duplicate key", "  image: a\n  \"image\": b", &["6:3: `image` is written twice in one mapping: remove one"]),
    ("duplicate key", "  Image: a", &["5:3: unknown field `Image`: did you mean `image`?"]),
    ("duplicate key", "  env:\n    DB_PASSWORD: hunter22\n    DB_PASSWORD: hunter33", &["7:5: `DB_PASSWORD` is written twice in one mapping: remove one"]),
    ("merge key, tag", "  ingress: &a {class: x}\n  processes: {w: {<<: *a}}", &["6:19: merge keys (`<<`) are not read: write the fields out"]),
    ("merge key, tag", "  env: {A: !include x}", &["5:21: tags (`!…`) are not read: remove it, or put the text in quotes"]),
    ("merge key, tag", "  env: {A: !!python/object x}", &["5:28: tags (`!…`) are not read: remove it, or put the text in quotes"]),
    ("merge key, tag", "  env: {A: !!binary aGk=}", &["5:21: tags (`!…`) are not read: remove it, or put the text in quotes"]),
    ("merge key, tag", "%YAML 1.1\n---\na: b", &["1:1: directives (`%…`) are not read: remove the line", "3:1: only Release documents of slipway.dev/v1alpha1 may be here: move this elsewhere"]),
    ("unknown field", "  replcias: 3", &["5:3: unknown field `replcias`: did you mean `replicas`?"]),
    ("unknown field", "  rollout: {minredy: 1s}", &["5:13: unknown field `rollout.minredy`: did you mean `minReady`?"]),
    ("unknown field", "  env: {A: {secrets: a/b}}", &["5:13: unknown field `env.A.secrets`: did you mean `secret`?"]),
    ("unknown field", "  verify: {smoke: /x}", &["5:12: `verify.smoke` is not built yet: remove it"]),
    ("unknown field", "  qqqqqqqq: 1", &["5:3: unknown field `qqqqqqqq`"]),
    ("wrong type", "  replicas: \"3\"", &["5:3: `replicas` must be a whole number, without quotes"]),
    ("wrong type", "  replicas: 3.0", &["5:3: `replicas` must be a whole number"]),
    ("wrong type", "  replicas: true", &["5:3: `replicas` must be a whole number"]),
    ("wrong type", "  replicas: [3]", &["5:3: `replicas` must be a whole number"]),
    ("wrong type", "  replicas: {min: 1}", &["5:3: `replicas` as an object is not built yet: write a number"]),
    ("wrong type", "  command: ls", &["5:3: `command` must be a list"]),
    ("wrong type", "  health: 7", &["5:3: `health` must be a path such as /health, or {path, port, headers, startup}; put numbers and true/false in quotes"]),
    ("wrong type", "  env: [A]", &["5:3: `env` must be a mapping of fields"]),
    ("wrong type", "  env: {A: 5}", &["5:9: `env.A` must be a text or one of"]),
    ("odd scalar", "  env: {A: no, B: on, C: y, D: 1_000, E: 12:30:00, F: 2026-01-01, G: 1.2.3}", &["5:29: `env.D` must be a text or one of"]),
    ("odd scalar", "  env: {A: 0o17}", &["5:9: `env.A` must be a text or one of"]),
    ("odd scalar", "  env: {A: 017}", &["5:9: `env.A` must be a text or one of"]),
    ("odd scalar", "  env: {A: .inf}", &["5:12: must be a finite number, or a text in quotes"]),
    ("odd scalar", "  env: {A: .nan}", &["5:12: must be a finite number, or a text in quotes"]),
    ("odd scalar", "  version: 1.10", &["5:3: `version` must be a text, and YAML reads this as a number: put it in quotes"]),
    ("odd scalar", "  version: 12e4567", &["5:12: must be a finite number, or a text in quotes"]),
    ("odd scalar", "  version: 1234567", &["5:3: `version` must be a text, and YAML reads this as a number: put it in quotes"]),
    ("odd scalar", "  security: {readOnlyRoot: no}", &["5:14: `security.readOnlyRoot` must be true or false, without quotes; `no` is a text in YAML 1.2: write false"]),
    ("odd scalar", "  env: {A: True}", &["5:9: `env.A` must be a text or one of"]),
    ("number", "  replicas: 0777", &["5:3: `replicas`: a leading zero is not read: write 777"]),
    ("number", "  replicas: 00", &["5:3: `replicas`: a leading zero is not read: write 0"]),
    ("number", "  health: {port: 080}", &["5:12: `health.port`: a leading zero is not read: write 80"]),
    ("number", "  replicas: 1_000", &["5:3: `replicas`: `_` is not read in a number: write 1000"]),
    ("number", "  replicas: 0o17", &["5:3: `replicas`: only decimal digits are read: write 15"]),
    ("port", "  port: 0x50", &["5:3: `port`: only decimal digits are read: write 80"]),
    ("number", "  version: 0777", &["5:3: `version` must be a text, and YAML reads this as a number: put it in quotes"]),
    ("number", "  replicas: -1", &["5:3: release shop/billing: spec.replicas: -1 is out of range; it is a number from 0 to 1000"]),
    ("number", "  replicas: 2147483648", &["5:3: release shop/billing: spec.replicas: 2147483648 is out of range; it is a number from 0 to 1000"]),
    ("number", "  replicas: 9223372036854775808", &["5:3: `replicas` must be a whole number that is not too large"]),
    ("number", "  replicas: 1e9", &["5:3: `replicas` must be a whole number"]),
    ("number", "  replicas: .nan", &["5:13: must be a finite number, or a text in quotes"]),
    ("number", "  replicas: 1001", &["5:3: release shop/billing: spec.replicas: 1001 is out of range; it is a number from 0 to 1000"]),
    ("number", "  attempt: -1", &["5:3: release shop/billing: spec.attempt: -1 is out of range; it is a number from 0 to 1000000"]),
    ("number", "  migrate: {command: [x], rerun: -1}", &["5:27: `migrate.rerun` must be a whole number that is not too large"]),
    ("number", "  migrate: {command: [x], rerun: 4294967296}", &["5:27: `migrate.rerun` must be a whole number that is not too large"]),
    ("number", "  verify: {maxRestarts: -1}", &["5:12: release shop/billing: spec.verify.maxRestarts: -1 is out of range; it is a number from 0 to 1000"]),
    ("number", "  retain: {revisions: 0}", &["5:12: release shop/billing: spec.retain.revisions: 0 is out of range; it is a number from 1 to 100"]),
    ("number", "  processes: {w: {replicas: -1}}", &["5:19: release shop/billing: spec.processes.w.replicas: -1 is out of range; it is a number from 0 to 1000"]),
    ("number", "  replicas: 18446744073709551616", &["5:3: `replicas` must be a whole number"]),
    ("port", "  port: 0", &["5:3: release shop/billing: spec.port: 0 is not a port; it is a number from 1 to 65535"]),
    ("port", "  port: 65536", &["5:3: release shop/billing: spec.port: 65536 is not a port; it is a number from 1 to 65535"]),
    ("port", "  port: -1", &["5:3: release shop/billing: spec.port: -1 is not a port; it is a number from 1 to 65535"]),
    ("port", "  port: http", &["5:3: `port` must be a whole number, without quotes"]),
    ("port", "  port: 4294967376", &["5:3: release shop/billing: spec.port: 4294967376 is not a port; it is a number from 1 to 65535"]),
    ("port", "  health: {port: 0}", &["5:12: `health.port` must be a number from 1 to 65535"]),
    ("port", "  health: {port: 4294967376}", &["5:12: `health.port` must be a number from 1 to 65535"]),
    ("duration", "  rollout: {deadline: -1s}", &["5:13: `rollout.deadline` \"-1s\" is not a duration: write whole numbers with h, m or s, such as 90s or 1h30m"]),
    ("duration", "  rollout: {deadline: 9999999h}", &["5:13: `rollout.deadline` \"9999999h\" is longer than 7 days"]),
    ("duration", "  rollout: {deadline: 1e30}", &["5:13: `rollout.deadline` must be a duration with a unit, such as 10m"]),
    ("duration", "  rollout: {deadline: \"\"}", &["5:13: `rollout.deadline` \"\" is not a duration: write whole numbers with h, m or s, such as 90s or 1h30m"]),
    ("duration", "  verify: {window: 90}", &["5:12: `verify.window` must be a duration with a unit, such as 10m"]),
    ("duration", "  rollout: {deadline: 10}", &["5:13: `rollout.deadline` must be a duration with a unit, such as 10m"]),
    ("duration", "  rollout: {deadline: \"10\"}", &["5:13: `rollout.deadline` \"10\" is not a duration: write whole numbers with h, m or s, such as 90s or 1h30m"]),
    ("duration", "  health: {startup: soon}", &["5:12: `health.startup` \"soon\" is not a duration: write whole numbers with h, m or s, such as 90s or 1h30m"]),
    ("duration", "  migrate: {command: [x], timeout: 0x10}", &["5:27: `migrate.timeout` must be a duration with a unit, such as 10m"]),
    ("quantity", "  resources: {requests: {cpu: 1e100}}", &["5:26: `resources.requests.cpu` must be a text, and YAML reads this as a number: put it in quotes"]),
    ("quantity", "  resources: {requests: {cpu: \"1e100\"}}", &["5:26: release shop/billing: spec.resources.requests.cpu: \"1e100\" is not an amount; write such as 250m, 0.5, 128Mi or 1Gi"]),
    ("quantity", "  resources: {requests: {cpu: \"-1\"}}", &["5:26: release shop/billing: spec.resources.requests.cpu: \"-1\" is not an amount; write such as 250m, 0.5, 128Mi or 1Gi"]),
    ("quantity", "  resources: {limits: {memory: 10Zi}}", &["5:24: release shop/billing: spec.resources.limits.memory: \"10Zi\" is not an amount; write such as 250m, 0.5, 128Mi or 1Gi"]),
    ("quantity", "  resources: {limits: {memory: NaN}}", &["5:24: release shop/billing: spec.resources.limits.memory: \"NaN\" is not an amount; write such as 250m, 0.5, 128Mi or 1Gi"]),
    ("quantity", "  resources: {limits: {memory: 1}}", &["5:24: `resources.limits.memory` must be a text, and YAML reads this as a number: put it in quotes"]),
    ("quantity", "  resources: {limits: {mem ory: \"1\"}}", &["5:24: release shop/billing: spec.resources.limits.mem ory: is not a resource"]),
    ("quantity", "  resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}", &["5:26: release shop/billing: spec.resources.requests.memory: 2Gi is more than its limit 1Gi"]),
    ("quantity", "  resources: {requests: {cpu: \"2\"}, limits: {cpu: \"1\"}}", &["5:26: release shop/billing: spec.resources.requests.cpu: 2 is more than its limit 1"]),
    ("quantity", "  resources: {limits: {memory: 100m}}", &["5:24: release shop/billing: spec.resources.limits.memory: \"100m\" is in thousandths of a byte; write such as 128Mi or 1Gi"]),
    ("quantity", "  resources: {limits: {cpu: 4Gi}}", &["5:24: release shop/billing: spec.resources.limits.cpu: \"4Gi\" is not an amount of cpu; write such as 250m, 0.5 or 2"]),
    ("quantity", "  writable: {/tmp: 100m}", &["5:14: release shop/billing: spec.writable./tmp: \"100m\" is in thousandths of a byte"]),
    ("quantity", "  writable: {/tmp: 10Zi}", &["5:14: release shop/billing: spec.writable./tmp: \"10Zi\" is not an amount; write such as 250m, 0.5, 128Mi or 1Gi"]),
    ("name", "{name: Billing, namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("name", "{name: bill_ing, namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("name", "{name: -billing, namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("name", "{name: \".\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("name", "{name: \"billing\\n\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("name", "{name: 12, namespace: shop}", &["3:12: metadata.name must be a text: put it in quotes"]),
    ("name", "  processes: {Worker: {}}", &["5:15: release shop/billing: spec.processes.Worker: must consist of lower-case letters, digits and '-'"]),
    ("name", "  processes: {migrate: {}}", &["5:15: release shop/billing: spec.processes.migrate: \"migrate\" is a name that Slipway uses for objects of its own"]),
    ("name", "  preset: pheonix", &["5:3: release shop/billing: spec.preset: there is no preset \"pheonix\": did you mean `phoenix`?"]),
    ("name", "  host: Shop.example.com", &["5:3: release shop/billing: spec.host: must be a host name in lower case without scheme or port, such as shop.example.com"]),
    ("name", "  health: health", &["5:3: release shop/billing: spec.health: must be a path that begins with '/', such as /health"]),
    ("name", "  pullSecret: Up_Per", &["5:3: release shop/billing: spec.pullSecret: must consist of lower-case letters, digits and '-'"]),
    ("odd character", "{name: \"bil\u{202e}ling\", namespace: shop}", &["3:22: the character U+202E is invisible and not allowed here: remove it"]),
    ("odd character", "{name: \"bil\u{200b}ling\", namespace: shop}", &["3:22: the character U+200B is invisible and not allowed here: remove it, or write it as \\u200B in a text in double quotes"]),
    ("odd character", "{name: \"bіlling\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("odd character", "{name: \"billing😀\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("odd character", "{name: \"bil\\0ling\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("odd character", "{name: \"bil\\u202eling\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("odd character", "{name: \"\\e[31mbilling\", namespace: shop}", &["3:12: metadata.name must consist of lower-case letters, digits and '-'"]),
    ("odd character", "  env: {\"\\e[31mA\": x}", &["5:9: the name of a field has an invisible character in it: write it anew"]),
    ("odd character", "  \"\\e[31mA\": x", &["5:3: the name of a field has an invisible character in it: write it anew"]),
    ("odd character", "  \"a\u{200d}b\": x", &["5:5: the character U+200D is invisible and not allowed here: remove it, or write it as \\u200D in a text in double quotes"]),
    ("odd character", "  env: {A: \"x\\u202ey\"}", &["5:12: the text contains the invisible character U+202E, which no program can be given"]),
    ("odd character", "  command: [\"a\\0b\"]", &["5:13: the text contains the invisible character U+0000, which no program can be given"]),
    ("odd character", "  version: \"1.0\\u202e\"", &["5:12: the text contains the invisible character U+202E, which no program can be given"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {kubernetes.io/ingress.class: nginx}}", &["6:27: release shop/billing: spec.ingress.annotations.kubernetes.io/ingress.class: give `ingress.class` instead"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {slipway.dev/object: x}}", &["6:27: release shop/billing: spec.ingress.annotations.slipway.dev/object: is Slipway's own"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {argocd.argoproj.io/sync-wave: \"1\"}}", &["6:27: release shop/billing: spec.ingress.annotations.argocd.argoproj.io/sync-wave: belongs to another program that applies objects, and would make it touch this one"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}", &["6:27: release shop/billing: spec.ingress.annotations.kustomize.toolkit.fluxcd.io/prune: belongs to another program that applies objects, and would make it touch this one"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {kubectl.kubernetes.io/restartedAt: x}}", &["6:27: release shop/billing: spec.ingress.annotations.kubectl.kubernetes.io/restartedAt: is set by Kubernetes and its tools, not by a spec"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {\"a b\": x}}", &["6:27: release shop/billing: spec.ingress.annotations.a b: is not the name of an annotation, such as nginx.ingress.kubernetes.io/proxy-body-size"]),
    ("reserved key", "{name: billing, namespace: shop, labels: {a: b}}", &["3:44: remove `labels`: Slipway sets them"]),
    ("reserved key", "  host: a.example.com\n  ingress: {annotations: {a/b/c: x}}", &["6:27: release shop/billing: spec.ingress.annotations.a/b/c: is not the name of an annotation, such as nginx.ingress.kubernetes.io/proxy-body-size"]),
    ("duplicate release", "{name: billing, namespace: Shop}", &["3:27: metadata.namespace must consist of lower-case letters, digits and '-'"]),
    ("one name twice", "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: billing, namespace: shop}\nspec: {version: 1.0.0, image: x, port: 80, processes: {jobs: {}}}\n---\napiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: billing-jobs, namespace: shop}\nspec: {version: 2.0.0, image: x, port: 80}", &["4:56: release shop/billing: its Deployment billing-jobs would also be that of shop/billing-jobs: rename a process or a release", "9:1: release shop/billing-jobs: its Deployment billing-jobs would also be that of shop/billing: rename a process or a release"]),
    ("namespace", "{name: billing, namespace: kube-system}", &["4:1: this source may not write to namespace kube-system; see `namespaces` of the ReleaseSource"]),
    ("namespace", "{name: billing, namespace: slipway-system}", &["4:1: this source may not write to namespace slipway-system; see `namespaces` of the ReleaseSource"]),
    ("namespace", "{name: billing, namespace: ../x}", &["3:27: metadata.namespace must consist of lower-case letters, digits and '-'"]),
    ("namespace", "{name: billing}", &["3:1: metadata.namespace is missing"]),
    ("namespace", "{name: billing, namespace: [shop]}", &["3:27: metadata.namespace must be a text: put it in quotes"]),
    ("image", "  image: ghcr.io/a/b@sha256:abc", &["5:3: release shop/billing: spec.image: what follows '@' must be sha256: and 64 lower-case hex digits (a user or password cannot be part of an image reference)"]),
    ("image", "  image: ghcr.io/a/b@md5:0123456789abcdef0123456789abcdef", &["5:3: release shop/billing: spec.image: what follows '@' must be sha256: and 64 lower-case hex digits (a user or password cannot be part of an image reference)"]),
    ("image", "  image: ghcr.io/a/b:a b", &["5:3: release shop/billing: spec.image: the tag must be usable as an image tag: letters, digits, '.', '_', '-', at most 128 characters"]),
    ("image host", "  image: localhost/x", &["5:3: release shop/billing: spec.image: the registry must be reachable from every node: localhost, loopback and link-local addresses are not"]),
    ("image host", "  image: 127.0.0.1/x", &["5:3: release shop/billing: spec.image: the registry must be reachable from every node: localhost, loopback and link-local addresses are not"]),
    ("image host", "  image: user:hunter22@ghcr.io/a/b", &["5:3: release shop/billing: spec.image: what follows '@' must be sha256: and 64 lower-case hex digits (a user or password cannot be part of an image reference)"]),
    ("image host", "  image: http://ghcr.io/a/b", &["5:3: release shop/billing: spec.image: an image reference has no scheme; write registry.example.com/team/app"]),
    ("image host", "  image: gхcr.io/a/b", &["5:3: release shop/billing: spec.image: the registry must be a host name with an optional port, such as registry.example.com:5000"]),
    ("image host", "  image: ghcr.io:99999/a/b", &["5:3: release shop/billing: spec.image: the registry must be a host name with an optional port, such as registry.example.com:5000"]),
    ("image path", "  image: ghcr.io/../b", &["5:3: release shop/billing: spec.image: an image's path consists of lower-case letters, digits, '.', '_' and '-' between slashes"]),
    ("image path", "  image: ghcr.io/a//b", &["5:3: release shop/billing: spec.image: an image's path consists of lower-case letters, digits, '.', '_' and '-' between slashes"]),
    ("image path", "  image: ghcr.io/A/b", &["5:3: release shop/billing: spec.image: an image's path consists of lower-case letters, digits, '.', '_' and '-' between slashes"]),
    ("command", "  args: [\"a\\0b\"]", &["5:10: the text contains the invisible character U+0000, which no program can be given"]),
    ("command", "  args: [\"x\"]\n  command: [\"a\\0b\"]", &["6:13: the text contains the invisible character U+0000, which no program can be given"]),
    ("expansion", "  env: {TOKEN: {secret: a/b}}\n  args: [\"--token=$(TOKEN)\"]", &["6:10: release shop/billing: spec.args.0: $(TOKEN) would put the value of a secret on the command line, where every list of processes shows it: let the program read the variable"]),
    ("expansion", "  processes: {w: {env: {TOKEN: {generate: hex/32}}, command: [\"x$(TOKEN)\"]}}", &["5:63: release shop/billing: spec.processes.w.command.0: $(TOKEN) would put the value of a secret on the command line, where every list of processes shows it: let the program read the variable"]),
    ("expansion", "  env: {TOKEN: {secret: a/b}}\n  migrate: [\"m\", \"$(TOKEN)\"]", &["6:18: release shop/billing: spec.migrate.1: $(TOKEN) would put the value of a secret on the command line, where every list of processes shows it: let the program read the variable"]),
    ("expansion", "  env:\n    PASSWORD: {secret: db/password}\n    DATABASE_URL: \"ecto://app:$(PASSWORD)@db/shop\"", &["7:5: release shop/billing: spec.env.DATABASE_URL: the program would get $(PASSWORD) as it is written, since values are not put together: put the whole value into a Secret, or let the program put it together"]),
    ("variable", "  env: {\"A B\": x}", &["5:9: release shop/billing: spec.env.A B: must be letters, digits and '_', not starting with a digit, at most 256 characters"]),
    ("variable", "  env: {\"A=B\": x}", &["5:9: release shop/billing: spec.env.A=B: must be letters, digits and '_', not starting with a digit, at most 256 characters"]),
    ("variable", "  env: {\"1A\": x}", &["5:9: release shop/billing: spec.env.1A: must be letters, digits and '_', not starting with a digit, at most 256 characters"]),
    ("variable", "  env: {LD_PRELOAD: x, KUBERNETES_X: y, SLIPWAY_TASK: z}", &["5:9: release shop/billing: spec.env.LD_PRELOAD: LD_PRELOAD cannot be set: it changes what code runs", "5:24: release shop/billing: spec.env.KUBERNETES_X: KUBERNETES_X cannot be set: Kubernetes sets it", "5:41: release shop/billing: spec.env.SLIPWAY_TASK: SLIPWAY_TASK cannot be set: Slipway sets it"]),
    ("variable", "  env: {PORT: \"1\"}", &["5:9: release shop/billing: spec.env.PORT: PORT is set from `port`; give the number there"]),
    ("variable", "  env: {\"A/B\": x}", &["5:9: release shop/billing: spec.env.A/B: must be letters, digits and '_', not starting with a digit, at most 256 characters"]),
    ("literal secret", "  env: {X: AKIAIOSFODNN7EXAMPLE}", &["5:9: looks like a secret (an AWS access key, 20 characters)"]),
    ("literal secret", "  env: {X: \"postgres://u:hunter22@h/d\"}", &["5:9: looks like a secret (a URL with a password, 25 characters)"]),
    ("literal secret", "  env: {DB_PASSWORD: hunter22}", &["5:9: looks like a secret (a literal under a name that contains PASSWORD, 8 characters)"]),
    ("literal secret", "  env: {X: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop}", &["5:9: looks like a secret (a JSON web token, 57 characters)"]),
    ("literal secret", "  args: [--password=hunter22]", &["5:10: looks like a secret (a password inside a command, 19 characters)"]),
    ("literal secret", "  version: AKIAIOSFODNN7EXAMPLE", &["5:3: looks like a secret (an AWS access key, 20 characters)"]),
    ("literal secret", "  host: postgres://u:hunter22@h/d", &["5:3: looks like a secret (a URL with a password, 25 characters)"]),
    ("literal secret", "  AKIAIOSFODNN7EXAMPLE: x", &["5:3: this is not possible here; it is not shown, since it has the form of a secret"]),
    ("literal secret", "  preset: AKIAIOSFODNN7EXAMPLE", &["5:3: looks like a secret (an AWS access key, 20 characters)"]),
    ("literal secret", "  rollout: {deadline: AKIAIOSFODNN7EXAMPLE}", &["5:13: `rollout.deadline` must be a duration with a unit, such as 10m", "5:13: looks like a secret (an AWS access key"]),
    ("literal secret", "  args: [--password, hunter22]", &["5:22: looks like a secret (a password inside a command, 8 characters)"]),
    ("literal secret", "  args: [-c, \"PGPASSWORD=hunter22 psql\"]", &["5:14: looks like a secret (a password inside a command, 24 characters)"]),
    ("literal secret", "  health: {path: /, headers: {Authorization: \"Bearer ghp_0123456789abcdefghij0123456789abcdef\"}}", &["5:31: looks like a secret (a GitHub token, 47 characters)"]),
    ("literal secret", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: y}\nstringData: {password: hunter22}", &["2:1: a Secret must not be in git: remove it and rotate its values, since git keeps them"]),
    ("literal secret", "apiVersion: v1\nkind: List\nitems:\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n  - apiVersion: v1\n    kind: Secret\n    stringData: {password: hunter22}", &["6:5: a Secret must not be in git: remove it and rotate its values, since git keeps them"]),
    ("other kind", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: y, labels: {a: b}}\ndata: {a: b}", &["2:1: only Release documents of slipway.dev/v1alpha1 may be here: move kind ConfigMap elsewhere"]),
    ("other kind", "apiVersion: v1\nkind: List\nitems: []", &["2:1: only Release documents of slipway.dev/v1alpha1 may be here: move kind List elsewhere"]),
    ("other kind", "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: x}\nspec: {}", &["2:1: only Release documents of slipway.dev/v1alpha1 may be here: move kind SealedSecret elsewhere"]),
    ("other kind", "resources:\n  - a.yaml", &["1:1: only Release documents of slipway.dev/v1alpha1 may be here: move this elsewhere"]),
    ("other kind", "apiVersion: slipway.dev/v1alpha1\nkind: Relase\nmetadata: {name: billing, namespace: shop}\nspec: {}", &["2:1: kind Relase is not read here, only Release"]),
    ("literal secret", "  env:\n  - name: DB_PASSWORD\n    value: hunter22", &["5:3: `env` must be a mapping of fields", "7:5: looks like a secret (a literal under a name that contains PASSWORD, 8 characters)"]),
    ("literal secret", "  env: {DB_PASSWORD: 48877348877}", &["5:9: `env.DB_PASSWORD` must be a reference to a Secret, {secret: name/key}", "5:9: looks like a secret (a literal under a name that contains PASSWORD, 11 characters)"]),
    ("literal secret", "  enviroment:\n    DB_PASSWORD: hunter22", &["5:3: unknown field `enviroment`", "6:5: looks like a secret (a literal under a name that contains PASSWORD, 8 characters)"]),
    ("literal secret", "  env: {DB_PASSWORD: $uperHUNTER22}", &["5:9: looks like a secret (a literal under a name that contains PASSWORD, 13 characters)"]),
    ("literal secret", "  env: {DB_PASSWORD: \"${DB_PASSWORD}\"}", &["5:9: nothing expands `$…` here"]),
    ("literal secret", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {url: \"postgres://a:hunter22@db/x\"}", &["2:1: only Release documents of slipway.dev/v1alpha1 may be here: move kind ConfigMap elsewhere", "4:14: looks like a secret (a URL with a password, 26 characters)"]),
    ("literal secret", "{name: billing, namespace: shop, annotations: {a: AKIAIOSFODNN7EXAMPLE}}", &["3:44: remove `annotations`: Slipway sets them", "3:61: looks like a secret (an AWS access key, 20 characters)"]),
    ("literal secret", "  env:\n    A: \"hunter22\n    B: x", &["7:5: not readable as YAML: invalid indentation in multiline quoted scalar"]),
    ("literal secret", "  env: {A: {hunter22}}", &["5:13: `env.A` has an unknown field"]),
    ("literal secret", "  env: {A: {secret: HUNTER22}}", &["5:13: `env.A.secret` must be name/key; only Secrets of the release's own namespace can be named"]),
    ("reference", "  env: {A: {secret: other/ns/key}}", &["5:13: `env.A.secret` must be name/key; only Secrets of the release's own namespace can be named"]),
    ("reference", "  env: {A: {secret: slipway-keys/key}}", &["5:9: release shop/billing: spec.env.A: Secret slipway-keys belongs to Slipway and is not for applications"]),
    ("reference", "  env: {A: {secret: default-token-x7k2p/token}}", &["5:9: release shop/billing: spec.env.A: Secret default-token-x7k2p has the name of a ServiceAccount's token, which is not for applications"]),
    ("reference", "  envFrom: [{secret: default-token-x7k2p}]", &["5:14: release shop/billing: spec.envFrom.0.secret: Secret default-token-x7k2p has the name of a ServiceAccount's token"]),
    ("reference", "  pullSecret: slipway-keys", &["5:3: release shop/billing: spec.pullSecret: Secret slipway-keys belongs to Slipway and is not for applications"]),
    ("reference", "  files: {/a: {secret: other/ns/key}}", &["5:16: `files./a.secret` must be name/key; only Secrets of the release's own namespace can be named"]),
    ("reference", "  env: {A: {config: a}}", &["5:13: `env.A.config` must be name/key; only ConfigMaps of the release's own namespace can be named"]),
    ("reference", "  env: {A: {secret: a/b, optional: true}}", &["5:26: `env.A` has an unknown field"]),
    ("reference", "  env: {A: {secret: a}}", &["5:13: `env.A.secret` must be name/key; only Secrets of the release's own namespace can be named"]),
    ("reference", "  env: {A: {field: spec.serviceAccountToken}}", &["5:9: release shop/billing: spec.env.A: {field: …} is one of metadata.name, metadata.namespace, metadata.uid, spec.nodeName, spec.serviceAccountName, status.hostIP, status.podIP, status.podIPs"]),
    ("reference", "  env: {A: {secret: {name: a, namespace: kube-system, key: b}}}", &["5:13: `env.A.secret` must be a text"]),
    ("privilege", "  privileged: true", &["5:3: unknown field `privileged`"]),
    ("privilege", "  security: {privileged: true, capabilities: {add: [ALL]}, runAsUser: 0, seccomp: Unconfined}", &["5:14: unknown field `security.privileged`", "5:32: unknown field `security.capabilities`", "5:74: unknown field `security.seccomp`"]),
    ("privilege", "  security: {runAsUser: 0}", &["5:14: release shop/billing: spec.security.runAsUser: must be a numeric user other than 0 (root)"]),
    ("privilege", "  hostNetwork: true\n  hostPort: 80\n  nodeName: a\n  initContainers: []\n  serviceAccountName: a", &["5:3: unknown field `hostNetwork`", "6:3: unknown field `hostPort`", "7:3: unknown field `nodeName`", "8:3: unknown field `initContainers`", "9:3: unknown field `serviceAccountName`"]),
    ("privilege", "  volumes: [{hostPath: {path: /}}]", &["5:3: unknown field `volumes`"]),
    ("privilege", "  writable: {/etc: 1Gi}", &["5:14: release shop/billing: spec.writable./etc: a path of the system cannot be made writable"]),
    ("privilege", "  writable: {../x: 1Gi}", &["5:14: release shop/billing: spec.writable.../x: must be an absolute path without '..', such as /app/uploads"]),
    ("migration", "  migrate: {command: [x], parallelism: 2}", &["5:27: unknown field `migrate.parallelism`"]),
    ("migration", "  migrate: {command: [x], restartPolicy: Always}", &["5:27: unknown field `migrate.restartPolicy`"]),
    ("migration", "  migrate: {command: [x], backoffLimit: 99}", &["5:27: unknown field `migrate.backoffLimit`"]),
    ("migration", "  migrate: {command: [x], timeout: -1s}", &["5:27: `migrate.timeout` \"-1s\" is not a duration: write whole numbers with h, m or s, such as 90s or 1h30m"]),
    ("migration", "  migrate: []", &["5:3: release shop/billing: spec.migrate: say what migrates: a command or args, such as [/app/bin/migrate], or false"]),
    ("migration", "  migrate: {command: []}", &["5:3: release shop/billing: spec.migrate: say what migrates: a command or args, such as [/app/bin/migrate], or false"]),
    ("migration", "  migrate: true", &["5:3: `migrate` must be a command list, {command, args, env, timeout, retries, resources, lock, serviceAccount, database, proof, compatible, rerun, accept}, or false"]),
    ("migration", "  migrate: {command: [\"\"]}", &["5:23: release shop/billing: spec.migrate.command.0: an empty text is no program"]),
    ("duration", "  migrate: {command: [x], timeout: 0s}", &["5:27: release shop/billing: spec.migrate.timeout: must be at least 1s; 0 is not \"no limit\""]),
    ("duration", "  rollout: {deadline: 30s, minReady: 1m}", &["5:28: release shop/billing: spec.rollout.minReady: no rollout could succeed"]),
    ("name", "  host: 10.0.0.1", &["5:3: release shop/billing: spec.host: must be the name of a host: an Ingress takes no address"]),
    ("image path", "  image: ghcr.io/a/b._c", &["5:3: release shop/billing: spec.image: an image's path consists of lower-case letters"]),
    ("privilege", "  files: {/etc: {secret: s/k}}", &["5:11: release shop/billing: spec.files./etc: is a directory: give the path of a file in it, such as /etc/key.pem"]),
    ("dependency", "  dependsOn: [{name: billing}]", &["5:3: `dependsOn` is not built yet: remove it"]),
    ("two versions", "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: billing, namespace: shop}\nspec: {version: 1.0.0}\n---\napiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: billing, namespace: shop}\nspec: {version: 2.0.0}", &["8:12: shop/billing is already declared at a.yaml:3:12 in the same layer: keep one of the two"]),
    ("migration", "  migrate: no", &["5:3: `migrate` must be a command list, {command, args, env, timeout, retries, resources, lock, serviceAccount, database, proof, compatible, rerun, accept}, or false; `no` is a text in YAML 1.2: write false"]),
    ("build", "  build: {args: {TOKEN: AKIAIOSFODNN7EXAMPLE}}", &["5:18: looks like a secret (an AWS access key, 20 characters)"]),
];

/// The files of all rows that are refused.
#[cfg(not(feature = "pure"))]
pub(crate) fn bad_specs() -> impl Iterator<Item = String> {
    REFUSED.iter().map(|(_, row, _)| file(row))
}

/// What looks odd and means something, with what it is near to.
#[rustfmt::skip]
const ALLOWED: &[(&str, &str)] = &[
    ("wrong type", "  replicas: null"),
    ("odd scalar", "  security: {readOnlyRoot: True}"),
    ("odd scalar", "  env: {A: NULL, B: Null}"),
    ("odd scalar", "  env: {A: ~}"),
    ("quantity", "  resources: {requests: {cpu: \"2\"}, limits: {cpu: \"2\"}}"),
    ("quantity", "  resources: {limits: {memory: 64Mi}}"),
    ("expansion", "  env: {A: x, B: \"$$(A) $A ${A} $(a) $(date)\"}"),
    ("quantity", "  resources: {limits: {nvidia.com/gpu: \"1\"}}"),
    ("image", "  image: evil/x:latest"),
    ("command", "  args: [\"; rm -rf /\", \"$(id)\", \"`id`\", \"%s\", \"-x\", \"a\\nb\", \"'\", \"\\\"\"]"),
    ("expansion", "  env: {TOKEN: {secret: a/b}, PLAIN: x}\n  args: [\"$$(TOKEN)\", \"$(PLAIN)\", \"$(OTHER)\"]"),
    ("variable", "  command: []"),
    ("variable", "  env: {A: x, a: y}\n"),
    ("variable", "  env: {PATH: /usr/bin}"),
    ("literal secret", "  env: {X: {value: AKIAIOSFODNN7EXAMPLE, public: true}, TOKEN_FILE: /run/secrets/token}"),
];

#[test]
fn each_bad_spec_is_refused_at_its_line_and_column_and_alone() {
    for (row, input, expected) in REFUSED {
        let told = told(file(input).as_bytes());
        let same = told.len() == expected.len()
            && told
                .iter()
                .zip(*expected)
                .all(|(said, start)| said.starts_with(start));
        assert!(same, "{row} {input}\n{told:#?}");
    }
}

#[test]
fn what_only_looks_odd_is_read_as_it_is_written() {
    for (row, input) in ALLOWED {
        let reading = read(file(input).as_bytes());
        assert_eq!(
            (reading.problems.len(), reading.releases.len()),
            (0, 2),
            "{row} {input} {:?}",
            reading.problems
        );
    }
}

#[test]
fn words_and_values_reach_the_pod_as_they_are_written() {
    // As JSON, which is YAML: what is compared is not read by the same parser.
    let odd = [
        "; rm -rf /",
        "$(id)",
        "`id`",
        "%s",
        "-x",
        "--",
        "a\nb",
        "'",
        "\"",
        "\\",
        "$$",
        "$HOME",
        "${A}",
        " a ",
        "",
        "#a",
        "~",
        "null",
        "no",
        "on",
        "0o17",
        "1_000",
        "12:30:00",
        "1.10",
        ".inf",
        "{{ x }}",
        "é😀",
        "\ta",
        "a: b",
        "!x",
        "*x",
        "&x",
    ];
    let words = serde_json::to_string(&odd).unwrap();
    let named: std::collections::BTreeMap<String, &str> = odd
        .iter()
        .enumerate()
        .map(|(n, text)| (format!("V{n}"), *text))
        .collect();
    let values = serde_json::to_string(&named).unwrap();
    let row = format!("  command: {words}\n  args: {words}\n  env: {values}\n  migrate: {words}");
    let reading = read(file(&row).as_bytes());
    assert_eq!(reading.problems, []);
    let mut all = reading.releases.iter();
    let (id, release) = all.find(|(id, _)| id.name.as_str() == "billing").unwrap();
    let declared = release.declared.as_ref().unwrap();
    let web = declared.processes.values().next().unwrap();
    assert_eq!(web.command.as_deref().unwrap(), odd);
    assert_eq!(web.args.as_deref().unwrap(), odd);
    assert_eq!(
        declared.migrate.as_ref().unwrap().command.as_deref().unwrap(),
        odd
    );
    for (name, text) in &named {
        let value = &web.env[&name.parse().unwrap()];
        assert_eq!(*value, EnvValue::Literal((*text).to_owned()), "{name}");
    }
    // In the pod a word is the word; of a value every `$` is doubled, which the kubelet undoes.
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let input = render::Input::of(id, declared, &digest);
    let objects = render::render(&input);
    let deployment = objects
        .iter()
        .find(|object| object.key.kind == render::Kind::Deployment)
        .unwrap();
    let container = &deployment.value["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(odd));
    assert_eq!(container["args"], serde_json::json!(odd));
    for variable in container["env"].as_array().unwrap() {
        let Some(text) = named.get(variable["name"].as_str().unwrap()) else {
            continue;
        };
        let shown = variable["value"].as_str().unwrap_or_default();
        assert_eq!(shown, text.replace('$', "$$"), "{variable}");
    }
}

#[test]
fn a_file_that_says_nothing_is_skipped_and_a_nul_byte_is_not() {
    for nothing in [
        "",
        "\n",
        "# words\n",
        "---\n",
        "---\n...\n",
        "\u{feff}",
        "\u{feff}# words\n",
        "null\n",
        "~\n",
    ] {
        assert_eq!(told(nothing.as_bytes()), [] as [&str; 0], "{nothing:?}");
    }
    assert!(told(b"a: x\nb: \0\n")[0].starts_with("2:4: the character U+0000 is invisible"));
    assert!(told("a: \u{feff}x\n".as_bytes())[0].starts_with("1:4: the character U+FEFF"));
}

#[test]
fn what_is_not_utf_8_is_refused_with_its_place() {
    for (bytes, place) in [
        (&b"a: 1\nb: \xc3\xa4\xff\n"[..], "2:5"),
        (b"a: \xc0\xaf\n", "1:4"),
        (b"\xff\xfea\0:\0", "1:1"),
    ] {
        assert_eq!(
            told(bytes)[0],
            format!("{place}: the file is not UTF-8: save it as UTF-8")
        );
    }
}

#[test]
fn bombs_are_refused_at_once() {
    let mut laughs = String::from("  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs = format!("{laughs}  a{level}: &a{level} [{inner}]\n");
    }
    let document = "---\na: b\n";
    for (text, part) in [
        (file(&laughs), "too many aliases"),
        ("[".repeat(MAX_BYTES), "too deep"),
        ("{a: ".repeat(MAX_BYTES / 4), "too deep"),
        (file(&format!("  args: [{}]", "1,".repeat(6000))), "too large"),
        ("a".repeat(10 * MAX_BYTES), "larger than 64 KiB"),
        ("a: b\n".repeat(MAX_BYTES), "larger than 64 KiB"),
        (document.repeat(101), "more than 100 documents"),
    ] {
        let start = Instant::now();
        let told = told(text.as_bytes());
        assert!(told[0].contains(part), "{told:?}");
        // Tells milliseconds from for ever, on a machine with other things to do.
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{part}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn what_is_too_long_is_refused_by_its_length() {
    let long = |count: usize| "a".repeat(count);
    for (row, start) in [
        (
            format!("{{name: {}, namespace: shop}}", long(41)),
            "3:12: metadata.name must have 1 to 40 characters, has 41",
        ),
        (
            format!("{{name: a, namespace: {}}}", long(300)),
            "3:21: metadata.namespace must have 1 to 63 characters, has 300",
        ),
        (
            format!("  image: ghcr.io/a/b:{}", long(300)),
            "5:3: release shop/billing: spec.image: the tag must be usable",
        ),
        (
            format!("  image: {}", long(600)),
            "5:3: `image` has 600 characters; at most 512 are allowed",
        ),
        (
            format!("  version: {}", long(129)),
            "5:3: `version` has 129 characters; at most 128 are allowed",
        ),
        (
            format!("  env: {{A: {}}}", long(33_000)),
            "5:9: `env.A` has 33000 characters; at most 32768 are allowed",
        ),
        (
            format!("  args: [{}]", long(5000)),
            "5:10: `args.0` has 5000 characters; at most 4096 are allowed",
        ),
        (
            format!("  args: [{}]", "a, ".repeat(65)),
            "5:3: `args` has 65 elements; at most 64 are allowed",
        ),
        (
            format!(
                "  env: {{{}}}",
                (0..201)
                    .map(|n| format!("A{n}: x"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            "5:3: `env` has 201 entries; at most 200 are allowed",
        ),
        (
            format!(
                "  host: a.example.com\n  ingress: {{annotations: {{a/b: {}}}}}",
                long(5000)
            ),
            "6:27: `ingress.annotations.a/b` has 5000 characters; at most 4096 are allowed",
        ),
    ] {
        let told = told(file(&row).as_bytes());
        assert!(told.len() == 1 && told[0].starts_with(start), "{told:?}");
    }
}

#[test]
fn every_claimant_of_a_name_is_held() {
    let one = file("  replicas: 1");
    let reading = read(format!("{one}---\n{one}").as_bytes());
    assert_eq!((reading.releases.len(), reading.held.len()), (1, 1));
    assert!(
        reading.problems[0].message.contains("a.yaml:3:12"),
        "{:?}",
        reading.problems
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_change_no_hash() {
    let unix = file("  env:\n    A: |\n      one\n      two\n  args: [x]");
    let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
    let hash = |text: &str| {
        let reading = read(text.as_bytes());
        let release = reading.releases.into_values().next().unwrap();
        spec_hash(&release.merged.spec)
    };
    assert_eq!(hash(&unix), hash(&windows));
}

#[test]
fn no_release_lives_beside_the_credentials_of_builds_not_even_where_a_source_names_that_namespace() {
    let own = reading::Own {
        slipway: "slipway-system".parse().unwrap(),
        builds: "slipway-builds".parse().unwrap(),
    };
    let forbidden = |namespace: &str, allowed: &[&str]| {
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        reading::forbidden(&namespace.parse().unwrap(), &allowed, &own)
    };
    let why = forbidden("slipway-builds", &[]).unwrap();
    assert!(why.contains("where the credentials of builds are"), "{why}");
    assert_eq!(forbidden("slipway-builds", &["slipway-builds"]), Some(why));
    assert!(forbidden("slipway-system", &[]).is_some());
    assert_eq!(forbidden("slipway-system", &["slipway-system"]), None);
    assert_eq!(forbidden("shop", &[]), None);
    assert!(forbidden("shop", &["billing"]).is_some());
}
