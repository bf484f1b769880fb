//! Fuzz targets as tests of the room whose decoder they judge.
//!
//! ```text
//! collector/ROOM/fuzz/TARGET.txt ── each line an input, escaped ──→ judge ←── inputs made of them, always the same
//!          ↑                                                          ↑
//!          └─ tests/fuzz/run ROOM TARGET --keep ←── libFuzzer ────────┘  tests/fuzz/run ROOM TARGET SECONDS
//! ```
//! A target is a `#[test]` with the one line `fuzz!("name", judge)`. `cargo test` tries the inputs that are kept, and a
//! few hundred that are made of them with a fixed seed, on the stable toolchain. `tests/fuzz/run` builds the same test
//! with coverage and hands it to libFuzzer, for as long as one likes.
//!
//! # Invariants
//! - A judge is pure: the same input, the same judgement.
//! - Without the feature `guided` nothing hangs on chance or on the clock.

mod allocator;
#[cfg(feature = "guided")]
mod guided;
mod kept;
#[cfg(any(not(feature = "guided"), test))]
mod mutant;

pub use allocator::{Counting, peak_bytes};

/// Judges the inputs that are kept under a name, and more of their kind; the judge panics at one that is not well.
#[macro_export]
macro_rules! fuzz {
    ($name:literal, $judge:expr) => {
        $crate::run(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/", $name, ".txt"), $judge)
    };
}

/// What [`fuzz!`] does, with the file that holds the inputs.
pub fn run(file: &str, judge: fn(&[u8])) {
    let inputs = kept::read(file);
    #[cfg(feature = "guided")]
    guided::run(file, &inputs, judge);
    #[cfg(not(feature = "guided"))]
    every_time(file, &inputs, judge);
}

/// How many inputs are made anew of those that are kept.
#[cfg(any(not(feature = "guided"), test))]
const MUTANTS: usize = 1000;

#[cfg(any(not(feature = "guided"), test))]
fn every_time(file: &str, inputs: &[Vec<u8>], judge: fn(&[u8])) {
    for input in inputs {
        judged(file, input, judge);
    }
    let mut random = mutant::Random::seeded(file.rsplit('/').next().unwrap_or(file));
    for _ in 0..MUTANTS {
        judged(file, &mutant::of(inputs, &mut random), judge);
    }
}

/// Names the input if the judge panics.
#[cfg(any(not(feature = "guided"), test))]
fn judged(file: &str, input: &[u8], judge: fn(&[u8])) {
    struct Named<'a>(&'a str, &'a [u8]);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input, as a line for {}:\n{}", self.0, self.1.escape_ascii());
            }
        }
    }
    let named = Named(file, input);
    judge(input);
    drop(named);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static JUDGED: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn what_is_kept_and_what_is_made_of_it_is_judged() {
        every_time("x/y.txt", &[b"{\"a\":1}".to_vec(), b"\x0a\x03abc".to_vec()], |_| {
            JUDGED.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(JUDGED.load(Ordering::Relaxed), 2 + MUTANTS);
    }

    #[test]
    #[should_panic(expected = "not well")]
    fn a_judge_that_panics_fails_the_test() {
        every_time("x/y.txt", &[b"good".to_vec(), b"bad".to_vec()], |input| assert_ne!(input, b"bad", "not well"));
    }
}
