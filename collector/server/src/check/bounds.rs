//! What may be used, and what it costs: `limits`, `query`, `cost`, `journal`, `metrics`, `lake`, `audit`.

use tenantscope_tenancy::{CostConfig, Quotas, TIER_ATTRIBUTE};

use super::findings::Finder;
use super::known::Known;
use crate::config::{At, RetentionConfig};

impl Finder<'_> {
    pub(super) fn bounds(&mut self, known: &Known) {
        self.limits(known);
        self.query();
        self.prices();
        self.stores(known);
    }

    fn limits(&mut self, known: &Known) {
        let limits = &self.config.limits;
        let at = At::key_of("limits");
        for tier in limits.tiers.keys() {
            self.attribute(&at.key("tiers").key(tier), TIER_ATTRIBUTE, tier, known);
        }
        if !(1..=100).contains(&limits.max_sender_percent) {
            self.error(&at.key("max_sender_percent"), "it is from 1 to 100");
        }
        let is_zero = [
            ("max_body_bytes", limits.max_body_bytes.0 == 0),
            ("max_decoded_bytes", limits.max_decoded_bytes.0 == 0),
            ("max_in_flight_bytes", limits.max_in_flight_bytes.0 == 0),
            ("max_decoding", limits.max_decoding == 0),
            ("cursor_interval", limits.cursor_interval.0.is_zero()),
            ("state_interval", limits.state_interval.0.is_zero()),
            ("own_series_interval", limits.own_series_interval.0.is_zero()),
        ];
        self.more_than_zero(&at, is_zero);
        if limits.max_in_flight_bytes < limits.max_body_bytes {
            self.warn(&at.key("max_in_flight_bytes"), "it is less than max_body_bytes, which counts instead");
        }
        let Quotas { default, tiers } = self.config.quotas();
        let at_tiers = at.key("tiers");
        for (at, quota) in [(at.key("default"), default)]
            .into_iter()
            .chain(tiers.into_iter().map(|(tier, quota)| (at_tiers.key(tier), quota)))
        {
            let is_zero = [
                ("timeout", quota.query.timeout.is_some_and(|span| span.0.is_zero())),
                ("max_concurrent", quota.query.max_concurrent == Some(0)),
            ];
            self.more_than_zero(&at.key("query"), is_zero);
        }
    }

    fn query(&mut self) {
        let (at, query) = (At::key_of("query"), &self.config.query);
        let span_is_zero = |span: Option<tenantscope_model::TimeSpan>| span.is_some_and(|span| span.0.is_zero());
        let bytes_are_zero = |bytes: Option<tenantscope_model::Bytes>| bytes.is_some_and(|bytes| bytes.0 == 0);
        let is_zero = [
            ("timeout", span_is_zero(query.timeout)),
            ("max_range", span_is_zero(query.max_range)),
            ("lookback", span_is_zero(query.lookback)),
            ("max_concurrent", query.max_concurrent == Some(0)),
            ("max_concurrent_per_reader", query.max_concurrent_per_reader == Some(0)),
            ("max_samples", query.max_samples == Some(0)),
            ("max_series", query.max_series == Some(0)),
            ("max_steps", query.max_steps == Some(0)),
            ("max_bytes", bytes_are_zero(query.max_bytes)),
            ("memory_max_bytes", bytes_are_zero(query.memory_max_bytes)),
        ];
        self.more_than_zero(&at, is_zero);
        let limits = self.config.query_limits();
        let query = &self.config.query;
        let pairs = [
            (
                "max_concurrent_per_reader",
                query.max_concurrent_per_reader.is_some_and(|it| it > limits.max_concurrent),
                "max_concurrent",
            ),
            (
                "max_waiting_per_reader",
                query.max_waiting_per_reader.is_some_and(|it| it > limits.max_waiting),
                "max_waiting",
            ),
            ("max_bytes", query.max_bytes.is_some_and(|it| it.0 > limits.memory_max_bytes), "memory_max_bytes"),
        ];
        for (key, _, other) in pairs.into_iter().filter(|(_, is_more, _)| *is_more) {
            self.warn(&at.key(key), format_args!("it is more than {other}, which bounds it"));
        }
    }

    fn prices(&mut self) {
        let at = At::key_of("cost");
        let CostConfig { prices, currency } = &self.config.cost;
        let wrong = prices.each().into_iter().filter(|(_, price)| !price.is_finite() || *price < 0.0);
        for (name, price) in wrong.collect::<Vec<_>>() {
            self.error(&at.key("prices").key(name), format_args!("{price} is no price; give a number from 0 on"));
        }
        let of_currency = CostConfig { currency: currency.clone(), ..CostConfig::default() };
        if of_currency.check().is_err() {
            self.error(&at.key("currency"), format_args!("{currency:?} is no currency; give a word such as USD"));
        }
    }

    fn stores(&mut self, known: &Known) {
        let config = self.config;
        let (journal, metrics, lake) = (&config.journal, &config.metrics, &config.lake);
        let bytes_are_zero = |bytes: Option<tenantscope_model::Bytes>| bytes.is_some_and(|bytes| bytes.0 == 0);
        let span_is_zero = |span: Option<tenantscope_model::TimeSpan>| span.is_some_and(|span| span.0.is_zero());
        let of_journal = [
            ("segment_max_bytes", bytes_are_zero(journal.segment_max_bytes)),
            ("max_bytes", bytes_are_zero(journal.max_bytes)),
        ];
        self.more_than_zero(&At::key_of("journal"), of_journal);
        let of_metrics = [
            ("memory_max_bytes", bytes_are_zero(metrics.memory_max_bytes)),
            ("flush_interval", span_is_zero(metrics.flush_interval)),
        ];
        self.more_than_zero(&At::key_of("metrics"), of_metrics);
        let of_lake = [
            ("buffer_max_bytes", bytes_are_zero(lake.buffer_max_bytes)),
            ("flush_bytes", bytes_are_zero(lake.flush_bytes)),
            ("flush_interval", span_is_zero(lake.flush_interval)),
            ("retention", span_is_zero(lake.retention)),
            ("query_memory_bytes", bytes_are_zero(lake.query_memory_bytes)),
        ];
        self.more_than_zero(&At::key_of("lake"), of_lake);
        let of_audit = [("max_bytes", config.audit.max_bytes.0 == 0), ("max_age", config.audit.max_age.0.is_zero())];
        self.more_than_zero(&At::key_of("audit"), of_audit);
        self.retention(known);
    }

    fn retention(&mut self, known: &Known) {
        let at = At::key_of("metrics.retention");
        match &self.config.metrics.retention {
            Some(RetentionConfig::All(keep)) => {
                self.more_than_zero(&At::key_of("metrics"), [("retention", keep.0.is_zero())]);
            }
            Some(RetentionConfig::Classes(classes)) => {
                for (name, class) in &classes.classes {
                    self.more_than_zero(&at.key("classes"), [(name.as_str(), class.keep.0.is_zero())]);
                }
                for tier in classes.tiers.keys() {
                    self.attribute(&at.key("tiers").key(tier), TIER_ATTRIBUTE, tier, known);
                }
            }
            None => {}
        }
    }

    fn more_than_zero<'k>(&mut self, at: &At, is_zero: impl IntoIterator<Item = (&'k str, bool)>) {
        for (key, _) in is_zero.into_iter().filter(|(_, is_zero)| *is_zero) {
            self.error(&at.key(key), "it must be more than 0; leave it out for the default");
        }
    }
}
