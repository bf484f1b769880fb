//! Events and links as JSON text, in a form that other engines can read, and back.

use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use serde::{Deserialize, Serialize};

use crate::attributes;

#[derive(Serialize, Deserialize)]
struct EventJson {
    time_ns: u64,
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    attributes: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_attributes: u32,
}

#[derive(Serialize, Deserialize)]
struct LinkJson {
    trace_id: String,
    span_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    trace_state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    attributes: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped_attributes: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn to_text<T: Serialize>(items: &[T]) -> String {
    // A list of plain structs always has a JSON form.
    if items.is_empty() { String::new() } else { serde_json::to_string(items).unwrap_or_default() }
}

pub(crate) fn events_to_json(events: &[Event]) -> String {
    let json = events.iter().map(|event| EventJson {
        time_ns: event.time_unix_nano,
        name: event.name.clone(),
        attributes: attributes::to_json(&event.attributes),
        dropped_attributes: event.dropped_attributes_count,
    });
    to_text(&json.collect::<Vec<_>>())
}

pub(crate) fn events_from_json(text: &str) -> Vec<Event> {
    let events: Vec<EventJson> = serde_json::from_str(text).unwrap_or_default();
    let events = events.into_iter().map(|event| Event {
        time_unix_nano: event.time_ns,
        name: event.name,
        attributes: attributes::from_json(&event.attributes),
        dropped_attributes_count: event.dropped_attributes,
    });
    events.collect()
}

pub(crate) fn links_to_json(links: &[Link]) -> String {
    let json = links.iter().map(|link| LinkJson {
        trace_id: hex::encode(&link.trace_id),
        span_id: hex::encode(&link.span_id),
        trace_state: link.trace_state.clone(),
        attributes: attributes::to_json(&link.attributes),
        dropped_attributes: link.dropped_attributes_count,
        flags: link.flags,
    });
    to_text(&json.collect::<Vec<_>>())
}

pub(crate) fn links_from_json(text: &str) -> Vec<Link> {
    let links: Vec<LinkJson> = serde_json::from_str(text).unwrap_or_default();
    let links = links.into_iter().map(|link| Link {
        trace_id: hex::decode(link.trace_id).unwrap_or_default(),
        span_id: hex::decode(link.span_id).unwrap_or_default(),
        trace_state: link.trace_state,
        attributes: attributes::from_json(&link.attributes),
        dropped_attributes_count: link.dropped_attributes,
        flags: link.flags,
    });
    links.collect()
}
