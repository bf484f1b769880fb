//! A segment's fields as attributes by OpenTelemetry's semantic conventions.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::{Map, Value};

use super::document::Segment;
use crate::attributes::{boolean, double, int, text, texts};

/// The attributes of a segment's or subsegment's span.
pub(super) fn attributes(segment: &Segment) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    http(&segment.http, &mut attributes);
    aws(segment, &mut attributes);
    sql(&segment.sql, &mut attributes);
    if let Some(user) = &segment.user {
        attributes.push(text("enduser.id", user.as_str()));
    }
    if segment.in_progress {
        attributes.push(boolean("aws.xray.in_progress", true));
    }
    if segment.inferred {
        attributes.push(boolean("aws.xray.inferred", true));
    }
    if segment.throttle {
        attributes.push(boolean("aws.xray.throttle", true));
    }
    attributes.extend(segment.annotations.iter().filter_map(|(key, value)| scalar(key, value)));
    attributes.extend(
        segment
            .metadata
            .iter()
            .map(|(namespace, value)| text(&format!("aws.xray.metadata.{namespace}"), value.to_string())),
    );
    attributes
}

fn http(http: &Map<String, Value>, attributes: &mut Vec<KeyValue>) {
    let request = http.get("request").and_then(Value::as_object);
    for (name, key) in [
        ("method", "http.request.method"),
        ("url", "url.full"),
        ("user_agent", "user_agent.original"),
        ("client_ip", "client.address"),
    ] {
        if let Some(value) = request.and_then(|request| request.get(name)).and_then(Value::as_str) {
            attributes.push(text(key, value));
        }
    }
    let response = http.get("response").and_then(Value::as_object);
    for (name, key) in [("status", "http.response.status_code"), ("content_length", "http.response.body.size")] {
        if let Some(value) = response.and_then(|response| response.get(name)).and_then(whole) {
            attributes.push(int(key, value));
        }
    }
}

fn aws(segment: &Segment, attributes: &mut Vec<KeyValue>) {
    for (name, value) in &segment.aws {
        let as_text = value.as_str();
        match (name.as_str(), as_text) {
            ("operation", Some(operation)) => {
                attributes.push(text("rpc.system", "aws-api"));
                attributes.push(text("rpc.service", segment.name.as_str()));
                attributes.push(text("rpc.method", operation));
            }
            ("request_id", Some(id)) => attributes.push(text("aws.request_id", id)),
            ("id_2", Some(id)) => attributes.push(text("aws.extended_request_id", id)),
            ("region", Some(region)) => attributes.push(text("cloud.region", region)),
            ("account_id", Some(account)) => attributes.push(text("cloud.account.id", account)),
            ("table_name", Some(table)) => attributes.push(texts("aws.dynamodb.table_names", [table])),
            ("table_names", _) => {
                let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                attributes.push(texts("aws.dynamodb.table_names", names));
            }
            ("queue_url", Some(url)) => attributes.push(text("aws.sqs.queue.url", url)),
            ("topic_arn", Some(arn)) => attributes.push(text("aws.sns.topic.arn", arn)),
            ("bucket_name", Some(bucket)) => attributes.push(text("aws.s3.bucket", bucket)),
            ("key", Some(key)) => attributes.push(text("aws.s3.key", key)),
            ("function_name", Some(function)) => attributes.push(text("faas.invoked_name", function)),
            ("function_arn", Some(arn)) => attributes.push(text("cloud.resource_id", arn)),
            _ => attributes.extend(scalar(&format!("aws.{name}"), value)),
        }
    }
}

fn sql(sql: &Map<String, Value>, attributes: &mut Vec<KeyValue>) {
    let field = |name: &str| sql.get(name).and_then(Value::as_str);
    if let Some(kind) = field("database_type") {
        attributes.push(text("db.system.name", database_system(kind)));
    }
    if let Some(query) = field("sanitized_query") {
        attributes.push(text("db.query.text", query));
    }
    if let Some(user) = field("user") {
        attributes.push(text("db.user", user));
    }
    if let Some((host, database)) = field("url").or_else(|| field("connection_string")).and_then(host_and_database) {
        attributes.push(text("server.address", host));
        if !database.is_empty() {
            attributes.push(text("db.namespace", database));
        }
    }
    for name in ["database_version", "driver_version", "preparation"] {
        if let Some(value) = field(name) {
            attributes.push(text(&format!("aws.xray.sql.{name}"), value));
        }
    }
}

fn database_system(kind: &str) -> String {
    match kind.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" => "postgresql".to_owned(),
        "microsoft sql server" | "mssql" | "sql server" => "microsoft.sql_server".to_owned(),
        "oracle" => "oracle.db".to_owned(),
        other => other.replace(' ', "_"),
    }
}

/// Host and database of `jdbc:postgresql://host:5432/name?…`; credentials in it are left out.
fn host_and_database(url: &str) -> Option<(String, String)> {
    let (_, behind) = url.split_once("://")?;
    let (authority, path) = behind.split_once('/').unwrap_or((behind, ""));
    let host = authority.rsplit('@').next()?.split(':').next()?;
    let database = path.split(['?', ';']).next().unwrap_or_default();
    (!host.is_empty()).then(|| (host.to_owned(), database.to_owned()))
}

/// A number that may be written as a text.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A scalar as an attribute; what has parts, as JSON text; null not at all.
fn scalar(key: &str, value: &Value) -> Option<KeyValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => boolean(key, *value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => int(key, value),
            None => double(key, number.as_f64()?),
        },
        Value::String(value) => text(key, value.as_str()),
        Value::Array(_) | Value::Object(_) => text(key, value.to_string()),
    })
}
