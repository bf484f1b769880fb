//! The alerts of one rule and the incident that they are: pure, so that a change can be made durable before it counts.

use std::collections::{BTreeMap, BTreeSet};

use tenantscope_model::{Alert, TenantId};

use crate::incident::{HeldAlert, Incident};
use crate::reach::{Member, Reach, reach};

/// How long a reach must have been narrower before the incident shrinks.
const SETTLE_MS: i64 = 15 * 60_000;
/// The least time between two notifications about changes of an open incident.
const UPDATE_INTERVAL_MS: i64 = 60_000;
/// The most alerts of a rule that are kept.
const MAX_ALERTS: usize = 20_000;

/// One rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Book {
    /// Alerts that fire, by fingerprint.
    pub(crate) firing: BTreeMap<String, HeldAlert>,
    pub(crate) open: Option<Incident>,
    narrower_since_ms: Option<i64>,
}

/// What changed with a rule.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) book: Book,
    /// Alerts as they came, to be handed on as they are.
    pub(crate) alerts: Vec<HeldAlert>,
    /// Incidents whose notifiers must be told: opened, changed, or ended.
    pub(crate) told: Vec<Incident>,
    /// Incidents that ended.
    pub(crate) ended: Vec<Incident>,
    /// Alerts beyond the most that are kept.
    pub(crate) dropped: u64,
}

impl Book {
    /// What the rule's alerts at `now_ms` change. Resolved and pending ones may be among them.
    pub(crate) fn take(&self, rule: &str, alerts: &[Alert], members: &[Member], now_ms: i64) -> Change {
        let held = alerts.iter().filter_map(|alert| HeldAlert::of(alert, now_ms)).collect();
        self.advance(rule, held, members, now_ms)
    }

    /// Ends the alerts of which nothing more was heard in time; `None` if there are none.
    pub(crate) fn expire(&self, rule: &str, members: &[Member], now_ms: i64) -> Option<Change> {
        let silent = self.firing.values().filter(|alert| alert.valid_until_ms < now_ms).cloned();
        let ended: Vec<HeldAlert> =
            silent.map(|alert| HeldAlert { ended_ms: Some(alert.valid_until_ms), ..alert }).collect();
        let may_shrink = self.narrower_since_ms.is_some_and(|since| now_ms - since >= SETTLE_MS);
        // All that fired was of a tenant that was removed since, and others are part of what it was.
        let is_over = self.open.is_some() && self.firing.is_empty();
        (may_shrink || is_over || !ended.is_empty()).then(|| self.advance(rule, ended, members, now_ms))
    }

    fn advance(&self, rule: &str, alerts: Vec<HeldAlert>, members: &[Member], now_ms: i64) -> Change {
        let mut change = Change { book: self.clone(), ..Change::default() };
        let mut ended = BTreeMap::new();
        for alert in &alerts {
            let name = alert.fingerprint();
            if alert.ended_ms.is_some() {
                change.book.firing.remove(&name);
                ended.insert(name, alert.clone());
            } else if change.book.firing.len() < MAX_ALERTS || change.book.firing.contains_key(&name) {
                change.book.firing.insert(name, alert.clone());
            } else {
                change.dropped += 1;
            }
        }
        change.alerts = alerts;
        change.follow(rule, &ended, members, now_ms);
        change
    }
}

impl Change {
    /// Brings the incident to what the alerts now are.
    fn follow(&mut self, rule: &str, ended: &BTreeMap<String, HeldAlert>, members: &[Member], now_ms: i64) {
        let mut open = self.book.open.take();
        if let Some(incident) = &mut open {
            for (name, alert) in ended {
                if let Some(known) = incident.alerts.get_mut(name) {
                    *known = alert.clone();
                }
            }
        }
        if self.book.firing.is_empty() {
            self.book.narrower_since_ms = None;
            if let Some(incident) = open {
                self.end(incident, None, now_ms);
            }
            return;
        }
        let now_reach = self.reach(members);
        let incident = match open {
            None => self.opened(rule, now_reach, now_ms),
            Some(incident) if self.stays(&incident.reach, &now_reach, now_ms) => incident,
            Some(incident) => {
                let next = self.opened(rule, now_reach, now_ms);
                // The wider one first: at no time is there none.
                let (key, before) = (next.key.clone(), incident);
                let next = self.with_alerts(next, now_ms);
                self.book.open = Some(next);
                self.end(before, Some(key), now_ms);
                return;
            }
        };
        self.book.open = Some(self.with_alerts(incident, now_ms));
    }

    fn reach(&self, members: &[Member]) -> Reach {
        let firing = self.book.firing.values();
        let tenants: Option<BTreeSet<TenantId>> = firing.map(HeldAlert::tenant).collect();
        // An alert about no tenant is about all.
        tenants.map_or(Reach::Fleet, |tenants| reach(&tenants, members))
    }

    /// Whether an incident stays what it is. One that could shrink waits, so that it does not flap.
    fn stays(&mut self, before: &Reach, now: &Reach, now_ms: i64) -> bool {
        if now.width() >= before.width() {
            self.book.narrower_since_ms = None;
            return now == before;
        }
        let since_ms = *self.book.narrower_since_ms.get_or_insert(now_ms);
        let settled = now_ms - since_ms >= SETTLE_MS;
        if settled {
            self.book.narrower_since_ms = None;
        }
        !settled
    }

    fn opened(&self, rule: &str, reach: Reach, now_ms: i64) -> Incident {
        let first = self.book.firing.values().next();
        let alert = first.and_then(|alert| alert.labels.get("alertname")).cloned().unwrap_or_default();
        Incident {
            key: format!("{rule}|{}", reach.key()),
            rule: rule.to_owned(),
            alert,
            reach,
            opened_ms: now_ms,
            updated_ms: now_ms,
            resolved_ms: None,
            superseded_by: None,
            tenants: BTreeSet::new(),
            alerts: BTreeMap::new(),
            told: BTreeSet::new(),
            told_ms: i64::MIN / 2,
        }
    }

    /// The incident with the alerts that fire now; its notifiers are told if that is news.
    fn with_alerts(&mut self, mut incident: Incident, now_ms: i64) -> Incident {
        for (name, alert) in &self.book.firing {
            incident.tenants.extend(alert.tenant());
            incident.alerts.insert(name.clone(), alert.clone());
        }
        let firing = incident.firing();
        if firing != incident.told && now_ms - incident.told_ms >= UPDATE_INTERVAL_MS {
            incident.told = firing;
            incident.told_ms = now_ms;
            incident.updated_ms = now_ms;
            self.told.push(incident.clone());
        }
        incident
    }

    fn end(&mut self, mut incident: Incident, superseded_by: Option<String>, now_ms: i64) {
        incident.resolved_ms = Some(now_ms);
        incident.updated_ms = now_ms;
        incident.superseded_by = superseded_by;
        // What goes on does so in the incident that took its place.
        for alert in incident.alerts.values_mut() {
            alert.ended_ms.get_or_insert(now_ms);
        }
        self.told.push(incident.clone());
        self.ended.push(incident);
    }
}

#[cfg(test)]
mod tests {
    use tenantscope_model::{AlertState, Labels};

    use super::*;

    fn alert(tenant: &str, state: AlertState, at_ms: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Errors"), ("tenant", tenant)]),
            annotations: BTreeMap::new(),
            state,
            value: 1.0,
            active_at_ms: at_ms,
            fired_at_ms: Some(at_ms),
            resolved_at_ms: (state == AlertState::Resolved).then_some(at_ms),
            valid_until_ms: Some(at_ms + 240_000),
            generator_url: String::new(),
        }
    }

    fn firing(tenants: std::ops::Range<usize>, at_ms: i64) -> Vec<Alert> {
        tenants.map(|i| alert(&format!("t{i}"), AlertState::Firing, at_ms)).collect()
    }

    fn members(count: usize) -> Vec<Member> {
        let tenant = |i| TenantId::try_new(&format!("t{i}")).unwrap();
        (0..count).map(|i| Member { tenant: tenant(i), attributes: BTreeMap::new() }).collect()
    }

    fn keys(change: &Change) -> Vec<(&str, bool)> {
        change.told.iter().map(|incident| (incident.key.as_str(), incident.is_open())).collect()
    }

    #[test]
    fn it_opens_grows_and_ends() {
        let members = members(10);
        let change = Book::default().take("r", &firing(0..1, 0), &members, 0);
        assert_eq!(keys(&change), [("r|single:t0", true)]);
        let change = change.book.take("r", &firing(0..1, 60_000), &members, 60_000);
        assert_eq!(keys(&change), [], "no news");
        let change = change.book.take("r", &firing(0..10, 120_000), &members, 120_000);
        assert_eq!(keys(&change), [("r|fleet", true), ("r|single:t0", false)], "the wider opens first");
        assert_eq!(change.ended[0].superseded_by.as_deref(), Some("r|fleet"));
        let resolved: Vec<Alert> = (0..10).map(|i| alert(&format!("t{i}"), AlertState::Resolved, 180_000)).collect();
        let change = change.book.take("r", &resolved, &members, 180_000);
        assert_eq!(keys(&change), [("r|fleet", false)]);
        assert!(change.book.open.is_none() && change.ended[0].tenants.len() == 10);
    }

    #[test]
    fn it_shrinks_only_when_that_lasts() {
        let members = members(10);
        let change = Book::default().take("r", &firing(0..10, 0), &members, 0);
        let resolved: Vec<Alert> = (1..10).map(|i| alert(&format!("t{i}"), AlertState::Resolved, 60_000)).collect();
        let change = change.book.take("r", &resolved, &members, 60_000);
        assert_eq!(keys(&change), [("r|fleet", true)], "told that most ended");
        let book = change.book.take("r", &firing(0..1, 120_000), &members, 120_000).book;
        let later = 60_000 + SETTLE_MS;
        let change = book.take("r", &firing(0..1, later), &members, later);
        assert_eq!(keys(&change), [("r|single:t0", true), ("r|fleet", false)]);
    }

    #[test]
    fn what_falls_silent_ends() {
        let members = members(10);
        let book = Book::default().take("r", &firing(0..2, 0), &members, 0).book;
        assert!(book.expire("r", &members, 240_000).is_none());
        let change = book.expire("r", &members, 240_001).unwrap();
        assert_eq!(keys(&change), [("r|several", false)]);
        assert_eq!(change.alerts.len(), 2, "who gets alerts as they are is told too");
    }

    #[test]
    fn an_incident_of_which_only_a_removed_tenant_fired_is_over() {
        let members = members(10);
        let book = Book::default().take("r", &firing(0..2, 0), &members, 0).book;
        let mut book = book.take("r", &[alert("t1", AlertState::Resolved, 1)], &members, 1).book;
        assert!(book.expire("r", &members, 2).is_none());
        book.firing.clear();
        let change = book.expire("r", &members, 2).unwrap();
        assert_eq!(keys(&change), [("r|several", false)]);
    }

    #[test]
    fn an_alert_about_no_tenant_is_about_the_fleet() {
        let mut about_all = alert("t", AlertState::Firing, 0);
        about_all.labels = Labels::from_pairs([("alertname", "Errors")]);
        let change = Book::default().take("r", &[about_all], &members(3), 0);
        assert_eq!(keys(&change), [("r|fleet", true)]);
    }
}
