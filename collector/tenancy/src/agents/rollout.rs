//! Which wave has which release of the documents: what is kept on disk, and each step of it.
//!
//! ```text
//! files changed → release n+1 → first wave at once → its hold → second wave → … → the rest
//!                                    └ an agent refuses it or fails under it → halted → a newer release, or an admin's word
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Selector;
use super::config::WaveConfig;
use super::documents::ReadDocument;

/// What is kept of why a rollout was halted.
const MAX_REASONS: usize = 5;

/// Where a rollout stands; the content of the file in the data folder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Rollout {
    /// The last version that a document was given.
    last_version: u64,
    /// The releases that some wave has, by number; 0 is the one before the first, without documents.
    releases: BTreeMap<u64, Release>,
    /// The newest of them.
    newest: u64,
    /// When it came, in milliseconds since the epoch.
    newest_ms: i64,
    /// The waves in their order; the last one is the rest.
    waves: Vec<Wave>,
    halt: Option<Halt>,
    /// So many agents may report errors without a halt: those that did when an admin let it go on.
    accepted_errors: usize,
}

/// All documents of one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Release {
    pub(super) documents: Vec<Document>,
}

/// One document of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    #[serde(rename = "match")]
    pub(super) matching: Selector,
    pub(super) file: String,
    pub(super) version: u64,
    pub(super) content: Value,
}

/// A wave, and which release it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wave {
    /// Absent for the rest.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) matching: Option<Selector>,
    pub(super) hold_ms: i64,
    pub(super) release: u64,
    pub(super) since_ms: i64,
}

/// Why a rollout does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    /// The wave of the first error, from 0.
    pub wave: usize,
    /// Agents that reported errors then.
    pub errors: usize,
    /// What some of them said.
    pub reasons: Vec<String>,
}

/// Agents that report errors with what is rolled out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) count: usize,
    /// The first wave that has one.
    pub(super) wave: usize,
    pub(super) reasons: Vec<String>,
}

impl Errors {
    pub(super) fn add(&mut self, wave: usize, reason: &str) {
        self.wave = if self.count == 0 { wave } else { self.wave.min(wave) };
        self.count += 1;
        if self.reasons.len() < MAX_REASONS && !self.reasons.iter().any(|known| known == reason) {
            self.reasons.push(reason.to_owned());
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// This wave got the newest release.
    Reached(usize),
    /// It was halted.
    Halted(Halt),
}

/// Why a rollout can't be made to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotResumed {
    /// It was not halted.
    #[error("the rollout is not halted")]
    NotHalted,
    /// Another release came since whoever asks looked.
    #[error("the newest release is {0}, not the one that was asked for")]
    OtherRelease(u64),
}

impl Rollout {
    /// A rollout whose last one was lost. Versions then go on from the clock, so that none is given to two documents.
    pub(super) fn after_loss(now_ms: i64) -> Self {
        Self { last_version: u64::try_from(now_ms / 1000).unwrap_or(0), ..Self::default() }
    }

    /// With the waves and documents that are configured now. The same documents as before change nothing; others are a new
    /// release, which the first wave gets at once.
    #[must_use]
    pub(super) fn with(&self, waves: &[WaveConfig], documents: &[ReadDocument], now_ms: i64) -> Self {
        let mut next = self.clone();
        next.releases.entry(next.newest).or_default();
        next.waves = self.rearranged(waves);
        if !next.newest_release().is_same_as(documents) {
            next.release(documents, now_ms);
        }
        next.forget_releases();
        next
    }

    /// The configured waves, each with the release that it has; a new one has what the rest has.
    fn rearranged(&self, waves: &[WaveConfig]) -> Vec<Wave> {
        let (release, since_ms) =
            self.waves.last().map_or((self.newest, self.newest_ms), |rest| (rest.release, rest.since_ms));
        let arranged = |wave: &WaveConfig| {
            let matching = Some(wave.matching.clone());
            let known = self.waves.iter().find(|known| known.matching == matching);
            let (release, since_ms) = known.map_or((release, since_ms), |known| (known.release, known.since_ms));
            Wave { matching, hold_ms: wave.hold.as_ms(), release, since_ms }
        };
        let rest = Wave { matching: None, hold_ms: 0, release, since_ms };
        waves.iter().map(arranged).chain([rest]).collect()
    }

    fn release(&mut self, documents: &[ReadDocument], now_ms: i64) {
        let before = self.newest_release().clone();
        let mut given: BTreeMap<&str, u64> = BTreeMap::new();
        let mut release = Release::default();
        for ReadDocument { matching, file, content } in documents {
            let unchanged = before.documents.iter().find(|old| old.file == *file && old.content == *content);
            let version = *given.entry(file).or_insert_with(|| {
                unchanged.map_or_else(
                    || {
                        self.last_version += 1;
                        self.last_version
                    },
                    |old| old.version,
                )
            });
            let (matching, file, content) = (matching.clone(), file.clone(), content.clone());
            release.documents.push(Document { matching, file, version, content });
        }
        self.newest += 1;
        self.newest_ms = now_ms;
        self.releases.insert(self.newest, release);
        (self.halt, self.accepted_errors) = (None, 0);
        self.reach(0, now_ms);
    }

    fn reach(&mut self, wave: usize, now_ms: i64) {
        if let Some(wave) = self.waves.get_mut(wave) {
            (wave.release, wave.since_ms) = (self.newest, now_ms);
        }
        self.forget_releases();
    }

    fn forget_releases(&mut self) {
        let used: BTreeSet<u64> = self.waves.iter().map(|wave| wave.release).chain([self.newest]).collect();
        self.releases.retain(|number, _| used.contains(number));
    }

    /// The step that is due, if one is. `started_ms` is when the program began to hear of errors: what the waves' agents had
    /// to say before is not known, so each gets the time to say it again.
    pub(super) fn step(&self, errors: &Errors, started_ms: i64, patience_ms: i64, now_ms: i64) -> Option<(Self, Step)> {
        let next = self.next_wave()?;
        if self.halt.is_some() {
            return None;
        }
        let mut after = self.clone();
        if errors.count > self.accepted_errors {
            let Errors { count, wave, reasons } = errors.clone();
            let halt = Halt { since_ms: now_ms, wave, errors: count, reasons };
            after.halt = Some(halt.clone());
            return Some((after, Step::Halted(halt)));
        }
        (now_ms >= self.due_ms(started_ms, patience_ms)?).then(|| {
            after.reach(next, now_ms);
            (after, Step::Reached(next))
        })
    }

    /// The next wave to get the newest release; none where all have it.
    pub(super) fn next_wave(&self) -> Option<usize> {
        self.waves.iter().position(|wave| wave.release != self.newest)
    }

    /// When the next wave gets it, unless it is halted.
    pub(super) fn due_ms(&self, started_ms: i64, patience_ms: i64) -> Option<i64> {
        let Some(before) = self.next_wave()?.checked_sub(1) else { return Some(self.newest_ms) };
        let Wave { since_ms, hold_ms, .. } = self.waves.get(before)?;
        let heard_out_ms = started_ms.saturating_add(patience_ms.min(*hold_ms));
        Some(since_ms.saturating_add(*hold_ms).max(heard_out_ms))
    }

    /// Goes on though agents report errors, until more do.
    pub(super) fn resumed(&self, release: u64, errors: usize) -> Result<Self, NotResumed> {
        if release != self.newest {
            return Err(NotResumed::OtherRelease(self.newest));
        }
        let halt = self.halt.as_ref().ok_or(NotResumed::NotHalted)?;
        let accepted_errors = errors.max(halt.errors);
        Ok(Self { halt: None, accepted_errors, ..self.clone() })
    }

    /// The versions that only the newest release has: errors with these are errors of the rollout.
    pub(super) fn new_versions(&self) -> BTreeSet<u64> {
        let old = self.releases.iter().filter(|(number, _)| **number != self.newest);
        let old: BTreeSet<u64> = old.flat_map(|(_, release)| release.versions()).collect();
        self.newest_release().versions().filter(|version| !old.contains(version)).collect()
    }

    /// In which wave somebody of whom these values are known is.
    pub(super) fn wave_of<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> usize {
        let is_in = |wave: &Wave| wave.matching.as_ref().is_none_or(|matching| matching.matches(&value_of));
        self.waves.iter().position(is_in).unwrap_or(0)
    }

    /// The document of somebody in this wave.
    pub(super) fn document_of<'a>(&self, wave: usize, value_of: impl Fn(&str) -> Option<&'a str>) -> Option<&Document> {
        let release = self.releases.get(&self.waves.get(wave)?.release)?;
        release.documents.iter().find(|document| document.matching.matches(&value_of))
    }

    pub(super) fn newest(&self) -> (u64, i64) {
        (self.newest, self.newest_ms)
    }

    pub(super) fn newest_release(&self) -> &Release {
        const NONE: &Release = &Release { documents: Vec::new() };
        self.releases.get(&self.newest).unwrap_or(NONE)
    }

    pub(super) fn waves(&self) -> &[Wave] {
        &self.waves
    }

    pub(super) fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }
}

impl Release {
    fn versions(&self) -> impl Iterator<Item = u64> {
        self.documents.iter().map(|document| document.version)
    }

    fn is_same_as(&self, read: &[ReadDocument]) -> bool {
        let same = |(old, new): (&Document, &ReadDocument)| {
            old.matching == new.matching && old.file == new.file && old.content == new.content
        };
        self.documents.len() == read.len() && self.documents.iter().zip(read).all(same)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const PATIENCE_MS: i64 = 900_000;
    const T0_MS: i64 = 1_790_000_000_000;

    fn waves() -> Vec<WaveConfig> {
        serde_saphyr::from_str("[{match: {wave: canary}, hold: 1h}, {match: {wave: early}, hold: 2h}]").unwrap()
    }

    fn documents(contents: &[(&str, u64)]) -> Vec<ReadDocument> {
        let read = |(file, budget): &(&str, u64)| {
            let matching = serde_json::from_value(json!({"tier": file})).unwrap();
            ReadDocument { matching, file: (*file).to_owned(), content: json!({"budget_usd_per_month": budget}) }
        };
        contents.iter().map(read).collect()
    }

    fn releases(rollout: &Rollout) -> Vec<u64> {
        rollout.waves.iter().map(|wave| wave.release).collect()
    }

    fn versions(rollout: &Rollout) -> Vec<u64> {
        rollout.newest_release().versions().collect()
    }

    /// Steps until nothing is due.
    fn stepped(rollout: &Rollout, errors: usize, now_ms: i64) -> Rollout {
        let mut found = Errors::default();
        (0..errors).for_each(|_| found.add(0, "broken"));
        let mut now = rollout.clone();
        while let Some((next, _)) = now.step(&found, 0, PATIENCE_MS, now_ms) {
            now = next;
        }
        now
    }

    fn complete(contents: &[(&str, u64)]) -> Rollout {
        let first = Rollout::default().with(&waves(), &documents(contents), T0_MS);
        stepped(&stepped(&first, 0, T0_MS + HOUR_MS), 0, T0_MS + 3 * HOUR_MS)
    }

    #[test]
    fn a_change_goes_wave_by_wave_each_after_the_hold_of_the_one_before() {
        let first = Rollout::default().with(&waves(), &documents(&[("gold", 1)]), T0_MS);
        assert_eq!(releases(&first), [1, 0, 0], "the first documents of all go by waves too");
        assert_eq!(stepped(&first, 0, T0_MS + HOUR_MS - 1), first);
        let second = stepped(&first, 0, T0_MS + HOUR_MS);
        assert_eq!(releases(&second), [1, 1, 0]);
        assert_eq!(stepped(&second, 0, T0_MS + 3 * HOUR_MS - 1), second, "its own hold is two hours");
        let third = stepped(&second, 0, T0_MS + 3 * HOUR_MS);
        assert_eq!((releases(&third), third.releases.len()), (vec![1, 1, 1], 1));
        assert_eq!(
            third.with(&waves(), &documents(&[("gold", 1)]), T0_MS + 4 * HOUR_MS),
            third,
            "no change, no release"
        );
    }

    #[test]
    fn versions_rise_with_each_change_of_a_document_and_only_then() {
        let one = complete(&[("gold", 1), ("silver", 1)]);
        assert_eq!(versions(&one), [1, 2]);
        let two = one.with(&waves(), &documents(&[("gold", 9), ("silver", 1)]), T0_MS);
        assert_eq!(versions(&two), [3, 2]);
        let back = two.with(&waves(), &documents(&[("gold", 1), ("silver", 1)]), T0_MS);
        assert_eq!(versions(&back), [4, 2], "what comes back is newer than what it replaces");
        let json = serde_json::to_string(&back).unwrap();
        let kept: Rollout = serde_json::from_str(&json).unwrap();
        assert_eq!(kept, back);
    }

    #[test]
    fn errors_halt_until_a_newer_release() {
        let changed = complete(&[("gold", 1)]).with(&waves(), &documents(&[("gold", 2)]), T0_MS);
        let halted = stepped(&changed, 1, T0_MS + 1);
        assert_eq!(halted.halt().map(|halt| (halt.errors, halt.wave)), Some((1, 0)));
        assert_eq!(releases(&stepped(&halted, 0, T0_MS + 9 * HOUR_MS)), [2, 1, 1], "also where the errors are gone");
        let newer = halted.with(&waves(), &documents(&[("gold", 3)]), T0_MS + HOUR_MS);
        assert_eq!((releases(&newer), newer.halt()), (vec![3, 1, 1], None));
    }

    #[test]
    fn an_admin_lets_it_go_on_until_more_agents_report_errors() {
        let changed = complete(&[("gold", 1)]).with(&waves(), &documents(&[("gold", 2)]), T0_MS);
        let halted = stepped(&changed, 2, T0_MS + 1);
        assert_eq!(changed.resumed(2, 0), Err(NotResumed::NotHalted));
        assert_eq!(halted.resumed(1, 2), Err(NotResumed::OtherRelease(2)));
        let resumed = halted.resumed(2, 2).unwrap();
        assert_eq!(releases(&stepped(&resumed, 2, T0_MS + HOUR_MS)), [2, 2, 1]);
        assert!(stepped(&resumed, 3, T0_MS + HOUR_MS).halt().is_some());
    }

    #[test]
    fn errors_with_what_the_later_waves_have_anyway_are_not_the_rollouts() {
        let changed =
            complete(&[("gold", 1), ("silver", 1)]).with(&waves(), &documents(&[("gold", 1), ("silver", 2)]), T0_MS);
        assert_eq!(changed.new_versions(), BTreeSet::from([3]));
    }

    #[test]
    fn after_a_restart_agents_have_time_to_report_before_the_next_wave() {
        let changed = complete(&[("gold", 1)]).with(&waves(), &documents(&[("gold", 2)]), T0_MS);
        let started_ms = T0_MS + 2 * HOUR_MS;
        assert!(changed.step(&Errors::default(), started_ms, PATIENCE_MS, started_ms).is_none());
        let heard = changed.step(&Errors::default(), started_ms, PATIENCE_MS, started_ms + PATIENCE_MS);
        assert_eq!(heard.unwrap().1, Step::Reached(1));
    }

    #[test]
    fn other_waves_keep_what_each_has() {
        let changed = complete(&[("gold", 1)]).with(&waves(), &documents(&[("gold", 2)]), T0_MS);
        let more = serde_saphyr::from_str::<Vec<WaveConfig>>(
            "[{match: {wave: staff}, hold: 1h}, {match: {wave: canary}, hold: 1h}]",
        );
        let rearranged = changed.with(&more.unwrap(), &documents(&[("gold", 2)]), T0_MS + 1);
        assert_eq!(releases(&rearranged), [1, 2, 1]);
        assert_eq!(releases(&stepped(&rearranged, 0, T0_MS + 1)), [2, 2, 1]);
        let none = rearranged.with(&[], &documents(&[("gold", 2)]), T0_MS + 1);
        assert_eq!(releases(&stepped(&none, 0, T0_MS + 1)), [2], "without waves all are reached at once");
    }

    #[test]
    fn whose_document_and_which_wave() {
        let rollout = complete(&[("gold", 1), ("silver", 1)]).with(&waves(), &documents(&[("gold", 2)]), T0_MS);
        let gold = |name: &str| (name == "tier").then_some("gold");
        let silver = |name: &str| (name == "tier").then_some("silver");
        let canary = |name: &str| if name == "wave" { Some("canary") } else { gold(name) };
        assert_eq!((rollout.wave_of(canary), rollout.wave_of(gold)), (0, 2));
        assert_eq!(rollout.document_of(0, canary).map(|it| it.version), Some(3));
        assert_eq!(rollout.document_of(2, gold).map(|it| it.version), Some(1));
        assert_eq!(rollout.document_of(2, silver).map(|it| it.version), Some(2), "withdrawn for the first wave only");
        assert_eq!(rollout.document_of(0, silver), None);
    }
}
