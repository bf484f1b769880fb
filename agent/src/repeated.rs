//! What goes wrong again and again is said when it begins, when it changes, and now and then.

use std::time::{Duration, Instant};

/// How long the same thing is not said again.
const AGAIN_AFTER: Duration = Duration::from_secs(300);

/// The last thing that was said.
#[derive(Debug, Default)]
pub struct Repeated(Option<(String, Instant)>);

impl Repeated {
    /// Whether this is to be said now.
    pub fn is_news(&mut self, text: &str, now: Instant) -> bool {
        let is_known = |(said, at): &(String, Instant)| said == text && now.duration_since(*at) < AGAIN_AFTER;
        if self.0.as_ref().is_some_and(is_known) {
            return false;
        }
        self.0 = Some((text.to_owned(), now));
        true
    }

    /// It went well: what goes wrong next is news.
    pub fn went_well(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_again_after_a_while_or_after_it_went_well() {
        let (mut repeated, start) = (Repeated::default(), Instant::now());
        let mut said = |text: &str, seconds| repeated.is_news(text, start + Duration::from_secs(seconds));
        assert_eq!(
            [said("a", 0), said("a", 299), said("b", 299), said("b", 300), said("b", 599)],
            [true, false, true, false, true]
        );
        repeated.went_well();
        assert!(repeated.is_news("b", start + Duration::from_secs(600)));
    }
}
