//! The loop: kept inputs, changes, and what is worth keeping.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    fs,
    hash::{Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Without a time, so many inputs: every `cargo test` waits for them.
const FEW: usize = 300;
/// Inputs grow by changes; what reads them has limits of its own, which the corpus reaches.
const LONGEST: usize = 8 * 1024;
/// So many inputs are changed further.
const MOST: usize = 5_000;
/// No input may take this long; one that does would hang. Far above what a busy machine makes of milliseconds.
const HANG: Duration = Duration::from_secs(120);

/// Words that the formats know, and what their readers stumble over.
const WORDS: [&str; 48] = [
    "apiVersion: slipway.dev/v1alpha1\n",
    "kind: Release\n",
    "kind: Secret\n",
    "metadata: {name: a, namespace: b}\n",
    "spec:\n",
    "---\n",
    "...\n",
    "=====\n",
    "  env: {A: x}\n",
    "  version: 1.0.0\n",
    "  image: x\n",
    "  port: 80\n",
    "  migrate: [x]\n",
    "  migrate: false\n",
    "  processes: {w: {command: [x]}}\n",
    "  preset: phoenix\n",
    "  requires: []\n",
    "null",
    "~",
    "true",
    "{}",
    "[]",
    "{secret: a/b}",
    "{value: x, public: true}",
    "{generate: hex/32}",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!x ",
    "? ",
    "|\n",
    ">-\n",
    "# ",
    "\"",
    "'",
    "\\u0000",
    "\u{feff}",
    "\u{202e}",
    "\u{0}",
    "😀",
    "e\u{301}",
    "9223372036854775808",
    "-1",
    "1e400",
    ".nan",
    "/",
    "@sha256:",
];

/// The same numbers for the same seed, everywhere (`SplitMix64`).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// What was answered, as far as one answer differs from another in kind.
pub fn kind_of<'a>(answers: impl IntoIterator<Item = &'a str>) -> u64 {
    let kinds: BTreeSet<String> = answers.into_iter().map(plain).collect();
    let mut hash = DefaultHasher::new();
    kinds.hash(&mut hash);
    hash.finish()
}

/// Without what stands in quotation marks, names and numbers.
fn plain(answer: &str) -> String {
    let unquoted: String = answer.split(['`', '"']).step_by(2).collect::<Vec<_>>().join("_");
    unquoted
        .split_whitespace()
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit() || ['.', '/', '$'].contains(&c)))
        .collect::<Vec<_>>()
        .join(" ")
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{} has inputs", folder.display());
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// What is being looked at, for who watches whether it ends.
type Now = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Runs a target: `check` fails where a claim does not hold of an input, and else says of which kind the answer was.
pub fn run(target: &'static str, check: impl Fn(&[u8]) -> u64) {
    let seconds = number("SLIPWAY_FUZZ_SECONDS");
    let seed =
        number("SLIPWAY_FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { nanoseconds() } else { 1 });
    let mut random = Random::new(seed);
    let now = Now::default();
    watch(target, &now);
    let look = |input: &[u8]| looked(target, &now, input, &check);

    let (mut pool, mut kinds) = (Vec::new(), BTreeSet::new());
    for (path, input) in corpus(target) {
        println!("{target}: {}", path.file_name().unwrap().to_string_lossy());
        kinds.insert(look(&input));
        pool.push(input);
    }
    let (kept, start, mut inputs) = (pool.len(), Instant::now(), 0_usize);
    let goes_on = |inputs: usize| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => inputs < FEW,
    };
    while goes_on(inputs) {
        let input = changed(&pool, &mut random);
        inputs += 1;
        if kinds.insert(look(&input)) && pool.len() < MOST {
            pool.push(input);
        }
    }
    println!(
        "{target}: {inputs} inputs from seed {seed}, {} kinds of answers, {} inputs new to them",
        kinds.len(),
        pool.len() - kept
    );
    assert!(kinds.len() > 3, "answers of {target} differ");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

fn nanoseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_nanos() & u128::from(u64::MAX)).unwrap()
}

fn looked(target: &str, now: &Now, input: &[u8], check: &impl Fn(&[u8]) -> u64) -> u64 {
    *now.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), input.to_vec()));
    let kind = catch_unwind(AssertUnwindSafe(|| check(input)));
    *now.lock().unwrap_or_else(PoisonError::into_inner) = None;
    kind.unwrap_or_else(|cause| {
        eprintln!("{target}: the input is {}", leave(target, input).display());
        resume_unwind(cause)
    })
}

/// Ends the process where an input does not come to its end: nothing else could end the thread that reads it.
fn watch(target: &'static str, now: &Now) {
    let now = Arc::clone(now);
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let now = now.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, input)) = now.as_ref()
                && since.elapsed() > HANG
            {
                eprintln!("{target}: it hangs at {}", leave(target, input).display());
                process::exit(1);
            }
        }
    });
}

fn leave(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&folder).unwrap();
    let mut hash = DefaultHasher::new();
    input.hash(&mut hash);
    let path = folder.join(format!("{target}-{:016x}", hash.finish()));
    fs::write(&path, input).unwrap();
    path
}

// === changes ===

fn changed(pool: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = pool[random.below(pool.len())].clone();
    for _ in 0..=random.below(4) {
        input = match random.below(5) {
            0 => bytes(input, random),
            1 | 2 => lines(&input, random),
            3 => word(input, random),
            _ => spliced(&input, &pool[random.below(pool.len())], random),
        };
    }
    input.truncate(LONGEST);
    input
}

fn bytes(mut input: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let at = random.below(input.len());
    let end = (at + random.below(16)).min(input.len());
    match random.below(4) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 => drop(input.drain(at..end)),
        2 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        _ => input.truncate(at),
    }
    input
}

fn lines(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = input
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    if lines.is_empty() {
        return Vec::new();
    }
    match random.below(5) {
        0 => lines.swap(one, other),
        1 => drop(lines.remove(one)),
        2 => {
            let line = lines[one].clone();
            lines.insert(other, line);
        }
        3 => drop(lines[one].splice(0..0, *b"  ")),
        _ if lines[one].starts_with(b"  ") => drop(lines[one].drain(..2)),
        _ => {}
    }
    lines.concat()
}

fn word(mut input: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let word = WORDS[random.below(WORDS.len())];
    let at = random.below(input.len() + 1);
    // In place of what stands there, up to the next edge of a word, or before it.
    let edge = |byte: &u8| b" \n,:{}[]".contains(byte);
    let end = if random.below(2) == 0 {
        input[at..]
            .iter()
            .position(edge)
            .map_or(input.len(), |length| at + length)
    } else {
        at
    };
    input.splice(at..end, word.bytes());
    input
}

fn spliced(one: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    // Where lines begin, so that most of them stay whole.
    let cut = |text: &[u8], random: &mut Random| {
        let mut starts: Vec<usize> = (0..text.len())
            .filter(|at| text[*at] == b'\n')
            .map(|at| at + 1)
            .collect();
        starts.push(0);
        starts[random.below(starts.len())]
    };
    let (from, to) = (cut(one, random), cut(other, random));
    [&one[..from], &other[to..]].concat()
}

#[test]
fn answers_are_of_one_kind_where_only_names_and_numbers_differ() {
    let kind = |answer: &str| kind_of([answer]);
    assert_eq!(
        kind("a.yaml:1:2: unknown field `a`: did you mean `b`?"),
        kind("a.yaml:9:7: unknown field `c`: did you mean `d`?")
    );
    assert_ne!(kind("must be a text"), kind("must be a number"));
}

#[test]
fn changes_reach_the_words_and_lines_of_an_input() {
    let pool = vec![b"a: 1\nb: 2\n".to_vec(), b"c: 3\n".to_vec()];
    let mut random = Random::new(7);
    let all: BTreeSet<Vec<u8>> = (0..20_000).map(|_| changed(&pool, &mut random)).collect();
    assert!(all.len() > 5_000, "{}", all.len());
    for reached in ["a: 1\nc: 3\n", "b: 2\na: 1\n", "  a: 1\nb: 2\n", "b: 2\n"] {
        assert!(all.contains(reached.as_bytes()), "{reached:?}");
    }
}
