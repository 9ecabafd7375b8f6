//! Where a move may go in several ways: drawn from one number, or tried one after the other.

/// What chooses.
pub enum Random {
    /// Splitmix64: the whole of a move follows from one number.
    Drawn(u64),
    /// The first choices are given, and the first of what there is to choose from is taken after that.
    Tried(Tried),
}

/// Choices that are tried, each with how many there were to choose from.
#[derive(Default)]
pub struct Tried {
    given: Vec<usize>,
    made: Vec<(usize, usize)>,
}

impl Random {
    pub fn next(&mut self) -> u64 {
        match self {
            Self::Drawn(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^ (z >> 31)
            }
            Self::Tried(_) => unreachable!("every number cannot be tried"),
        }
    }

    /// `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        match self {
            Self::Tried(tried) => tried.choose(n),
            Self::Drawn(_) => usize::try_from(self.next() % n.max(1) as u64).unwrap(),
        }
    }

    /// So many times out of a hundred; where it is tried, both ways.
    pub fn percent(&mut self, chance: usize) -> bool {
        match self {
            Self::Tried(tried) => tried.choose(2) == 1,
            Self::Drawn(_) => self.below(100) < chance,
        }
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// One of these, each as often as its weight says; where it is tried, each.
    pub fn one_of<T: Copy>(&mut self, weighted: &[(usize, T)]) -> T {
        if let Self::Tried(tried) = self {
            return weighted[tried.choose(weighted.len())].1;
        }
        let mut at = self.below(weighted.iter().map(|(weight, _)| weight).sum());
        let found = weighted.iter().find(|(weight, _)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        found.unwrap().1
    }

    /// Always the first of what there is to choose from.
    pub fn first() -> Self {
        Self::Tried(Tried::default())
    }

    /// Runs `then` once for each way in which its choices can be made.
    pub fn each(mut then: impl FnMut(&mut Self)) {
        let mut given = Vec::new();
        loop {
            let mut random = Self::Tried(Tried {
                given,
                made: Vec::new(),
            });
            then(&mut random);
            let Self::Tried(Tried { mut made, .. }) = random else {
                unreachable!()
            };
            // The last choice that can be another one, like the digits of a counter.
            while made.last().is_some_and(|(choice, of)| choice + 1 == *of) {
                made.pop();
            }
            let Some((choice, _)) = made.last_mut() else {
                return;
            };
            *choice += 1;
            given = made.into_iter().map(|(choice, _)| choice).collect();
        }
    }
}

impl Tried {
    fn choose(&mut self, of: usize) -> usize {
        let choice = self.given.get(self.made.len()).copied().unwrap_or(0);
        self.made.push((choice, of.max(1)));
        choice
    }
}

#[test]
fn each_way_is_tried_once() {
    let mut seen = Vec::new();
    Random::each(|random| {
        let first = random.below(3);
        let second = if first == 1 { random.below(2) } else { 9 };
        seen.push((first, second));
    });
    assert_eq!(seen, [(0, 9), (1, 0), (1, 1), (2, 9)]);
}

#[test]
fn weights_are_kept() {
    let mut random = Random::Drawn(7);
    let mut count = [0, 0];
    for _ in 0..1000 {
        count[random.one_of(&[(1, 0), (9, 1)])] += 1;
    }
    assert!((50..200).contains(&count[0]), "{count:?}");
}
