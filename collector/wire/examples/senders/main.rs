//! Sends prepared requests and says how long each took: `senders PLAN.json` prints JSON.
//!
//! ```json
//! {"seconds": 10, "senders": [{"name": "acme", "address": "127.0.0.1:4318", "form": "http1", "files": ["acme.request"],
//!   "connections": 4, "per_second": 100, "stamp": "ns"}]}
//! ```
//! An `http1` file is a whole request as it goes over the wire; a `grpc` file is a message, and `path` and `headers` say
//! the rest. With `per_second` a request has a time at which it is due, whether the one before it was answered or not, and
//! what it took counts from then on, so that a collector that stalls can't hide it. Without, each connection sends as fast
//! as it is answered. Eight bytes `0x1122334455667788` become the time in nanoseconds with `stamp: "ns"`, the six bytes of
//! the varint 1,111,111,111,111 the milliseconds with `"ms"`.
//!
//! One thread for each connection and blocking calls: what a request costs here is a write and a few reads.
#![allow(clippy::print_stdout, reason = "it is a command-line program")]

mod grpc;
mod http1;
mod stamp;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::stamp::{Stamp, Stamped};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    seconds: f64,
    senders: Vec<Sender>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sender {
    name: String,
    address: String,
    form: Form,
    files: Vec<String>,
    connections: usize,
    per_second: Option<f64>,
    /// Whether it ends in time, rather than send late what became due.
    #[serde(default)]
    ends_in_time: bool,
    stamp: Option<Stamp>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Form {
    Http1,
    Grpc,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// By status; the text of gRPC's is `ok` or `refused`.
    statuses: BTreeMap<String, u64>,
    /// Of the accepted ones.
    micros: Vec<u64>,
}

/// A connection that sends one request at a time.
trait Connection {
    /// Sends it and waits for the answer's status.
    fn ask(&mut self, request: &[u8]) -> io::Result<String>;
}

fn connect(sender: &Sender) -> io::Result<Box<dyn Connection>> {
    Ok(match sender.form {
        Form::Http1 => Box::new(http1::Http1::connect(sender)?),
        Form::Grpc => Box::new(grpc::Grpc::connect(sender)?),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("senders PLAN.json")?;
    let plan: Plan = serde_json::from_slice(&std::fs::read(path)?)?;
    let begin = Instant::now() + Duration::from_millis(200);
    let end = begin + Duration::from_secs_f64(plan.seconds);
    let mut running = Vec::new();
    for sender in &plan.senders {
        let files = sender.files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
        let requests: Arc<[Stamped]> = files.into_iter().map(|bytes| Stamped::new(bytes, sender.stamp)).collect();
        for place in 0..sender.connections {
            let (sender, requests) = (sender.clone(), Arc::clone(&requests));
            let name = sender.name.clone();
            running.push((name, thread::spawn(move || run(&sender, place, &requests, begin, end))));
        }
    }
    let mut by_sender: BTreeMap<String, Seen> = BTreeMap::new();
    for (name, thread) in running {
        let seen = thread.join().map_err(|_| "a connection's thread panicked")?;
        let all = by_sender.entry(name).or_default();
        all.micros.extend(seen.micros);
        for (status, count) in seen.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
    }
    let told = by_sender
        .into_iter()
        .map(|(name, seen)| (name, json!({"statuses": seen.statuses, "accepted_micros": seen.micros})));
    println!("{}", serde_json::Value::Object(told.collect()));
    Ok(())
}

fn run(sender: &Sender, place: usize, requests: &[Stamped], begin: Instant, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut connection: Option<Box<dyn Connection>> = None;
    let every = sender.per_second.map(|rate| Duration::from_secs_f64(sender.connections as f64 / rate));
    // The connections of a sender take turns, evenly.
    let mut due = begin + every.unwrap_or_default().mul_f64(place as f64 / sender.connections as f64);
    let mut sent = place;
    while due < end && !(sender.ends_in_time && Instant::now() > end) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Some(request) = requests.get(sent % requests.len().max(1)) {
            let status = ask(sender, &mut connection, &request.now());
            let accepted = ["200", "204", "ok"].contains(&status.as_str());
            *seen.statuses.entry(status).or_default() += 1;
            if accepted {
                seen.micros.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
        sent += 1;
        due = every.map_or_else(Instant::now, |every| due + every);
    }
    seen
}

/// A connection that breaks is made anew for the next request.
fn ask(sender: &Sender, connection: &mut Option<Box<dyn Connection>>, request: &[u8]) -> String {
    let mut open = match connection.take().map_or_else(|| connect(sender), Ok) {
        Ok(open) => open,
        Err(error) => {
            thread::sleep(Duration::from_millis(10));
            return format!("connect: {}", error.kind());
        }
    };
    match open.ask(request) {
        Ok(status) => {
            *connection = Some(open);
            status
        }
        Err(error) => error.kind().to_string(),
    }
}
