//! Whose turn it is: so many queries run at once, the others wait in a line for each reader, and the lines take turns.
//!
//! A reader that asks much waits behind itself, not in front of the others. The queue and each line are bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tenantscope_model::Scope;
use tenantscope_tenancy::Reading;
use tokio::sync::oneshot;

use super::telemetry::TELEMETRY;

/// How many queries run and wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// At once.
    pub(super) running: usize,
    /// In the queue.
    pub(super) waiting: usize,
}

/// Why a query has no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// So many wait already.
    QueueFull(usize),
    /// So many of this reader wait already.
    LineFull(usize),
    /// The deadline passed.
    TimedOut,
}

/// The queue. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    max_running: usize,
    running: usize,
    waiting: usize,
    lines: HashMap<Reader, Line>,
    /// Readers that wait, in the order of their turns.
    turns: VecDeque<Reader>,
}

/// Who has a line: a credential, however it narrows what it asks for; where nobody needs one, the tenants that are
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reader {
    name: Arc<str>,
    allowed: Scope,
}

impl From<&Reading> for Reader {
    fn from(reading: &Reading) -> Self {
        Self { name: Arc::clone(&reading.reader), allowed: reading.allowed.clone() }
    }
}

#[derive(Default)]
struct Line {
    max_running: usize,
    running: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A query's turn, over when it is dropped.
pub(super) struct Turn {
    queue: Queue,
    reader: Reader,
    /// Nobody took it.
    void: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.void {
            self.queue.over(&self.reader);
        }
    }
}

/// Leaves the line when the request is dropped while it waits.
struct Waiting<'a> {
    queue: &'a Queue,
    reader: Reader,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turn.close();
        self.queue.leave(&self.reader);
        // A turn that came in the meantime is in the channel, and over with it.
    }
}

impl Queue {
    /// A turn for this reader, at once or as soon as it comes.
    pub(super) async fn turn(
        &self,
        reading: &Reading,
        all: Room,
        own: Room,
        deadline: Instant,
    ) -> Result<Turn, NoTurn> {
        let reader = Reader::from(reading);
        let turn = match self.enter(&reader, all, own)? {
            Entered::Turn(turn) => return Ok(turn),
            Entered::Line(turn) => turn,
        };
        let mut waiting = Waiting { queue: self, reader, turn };
        match tokio::time::timeout_at(deadline.into(), &mut waiting.turn).await {
            Ok(Ok(turn)) => Ok(turn),
            // The sender lives in the line for as long as we wait.
            Ok(Err(_)) | Err(_) => Err(NoTurn::TimedOut),
        }
    }

    fn enter(&self, reader: &Reader, all: Room, own: Room) -> Result<Entered, NoTurn> {
        let mut state = self.0.lock();
        state.max_running = all.running;
        let has_room = state.running < all.running;
        let waiting = state.waiting;
        let line = state.lines.entry(reader.clone()).or_default();
        line.max_running = own.running;
        if has_room && line.running < line.max_running && line.waiting.is_empty() {
            line.running += 1;
            state.running += 1;
            state.tell();
            return Ok(Entered::Turn(Turn { queue: self.clone(), reader: reader.clone(), void: false }));
        }
        if waiting >= all.waiting || line.waiting.len() >= own.waiting {
            let own_is_full = line.waiting.len() >= own.waiting;
            let refused = if own_is_full { NoTurn::LineFull(line.waiting.len()) } else { NoTurn::QueueFull(waiting) };
            state.tidy(reader);
            return Err(refused);
        }
        let (sender, turn) = oneshot::channel();
        line.waiting.push_back(sender);
        let is_first = line.waiting.len() == 1;
        state.waiting += 1;
        if is_first {
            state.turns.push_back(reader.clone());
        }
        state.tell();
        Ok(Entered::Line(turn))
    }

    fn over(&self, reader: &Reader) {
        let mut state = self.0.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(line) = state.lines.get_mut(reader) {
            line.running = line.running.saturating_sub(1);
        }
        state.tidy(reader);
        state.give_turns(self);
        state.tell();
    }

    fn leave(&self, reader: &Reader) {
        let mut state = self.0.lock();
        if let Some(line) = state.lines.get_mut(reader) {
            let before = line.waiting.len();
            line.waiting.retain(|waiting| !waiting.is_closed());
            let left = before - line.waiting.len();
            state.waiting = state.waiting.saturating_sub(left);
        }
        state.tidy(reader);
        state.tell();
    }
}

enum Entered {
    Turn(Turn),
    Line(oneshot::Receiver<Turn>),
}

impl State {
    /// Gives what is free to those who wait, one line after another.
    fn give_turns(&mut self, queue: &Queue) {
        let mut unable = 0;
        while self.running < self.max_running && unable < self.turns.len() {
            let Some(reader) = self.turns.pop_front() else { return };
            let Some(line) = self.lines.get_mut(&reader) else { continue };
            if line.running >= line.max_running {
                self.turns.push_back(reader);
                unable += 1;
                continue;
            }
            if let Some(waiting) = line.waiting.pop_front() {
                self.waiting = self.waiting.saturating_sub(1);
                match waiting.send(Turn { queue: queue.clone(), reader: reader.clone(), void: false }) {
                    Ok(()) => {
                        line.running += 1;
                        self.running += 1;
                        unable = 0;
                    }
                    // Its request is gone; the queue is locked, so its turn must not end by itself.
                    Err(mut turn) => turn.void = true,
                }
            }
            if !line.waiting.is_empty() {
                self.turns.push_back(reader);
            } else {
                self.tidy(&reader);
            }
        }
    }

    /// Forgets a reader of whom nothing runs or waits.
    fn tidy(&mut self, reader: &Reader) {
        let Some(line) = self.lines.get(reader) else { return };
        if line.waiting.is_empty() {
            let is_idle = line.running == 0;
            self.turns.retain(|other| other != reader);
            if is_idle {
                self.lines.remove(reader);
            }
        }
    }

    fn tell(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        TELEMETRY.running.set(number(self.running));
        TELEMETRY.waiting.set(number(self.waiting));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenantscope_model::TenantId;

    use super::*;

    const PLENTY: Room = Room { running: 100, waiting: 100 };

    fn reader(name: &str) -> Reading {
        Reading { reader: name.into(), allowed: Scope::All, scope: Scope::All }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Waits for a turn and tells when it came; the turn is over when the sender says so.
    fn queued(
        queue: &Queue,
        name: &'static str,
        all: Room,
        order: &Arc<Mutex<Vec<&'static str>>>,
    ) -> tokio::task::JoinHandle<Turn> {
        let (queue, order) = (queue.clone(), Arc::clone(order));
        tokio::spawn(async move {
            let turn = queue.turn(&reader(name), all, PLENTY, soon()).await.unwrap();
            order.lock().push(name);
            turn
        })
    }

    async fn until_waiting(queue: &Queue, count: usize) {
        while queue.0.lock().waiting != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn readers_take_turns_however_much_one_asks() {
        let (queue, one) = (Queue::default(), Room { running: 1, waiting: 100 });
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = queue.turn(&reader("a"), one, PLENTY, soon()).await.unwrap();
        let mut tasks = Vec::new();
        for (count, name) in ["a", "a", "a", "b", "a", "c", "b"].into_iter().enumerate() {
            tasks.push(queued(&queue, name, one, &order));
            until_waiting(&queue, count + 1).await;
        }
        drop(first);
        for task in tasks {
            let waited = tokio::spawn(async move { drop(task.await.unwrap()) });
            drop(waited);
        }
        while order.lock().len() < 7 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*order.lock(), ["a", "b", "c", "a", "b", "a", "a"]);
        while queue.0.lock().running > 0 {
            tokio::task::yield_now().await;
        }
        let state = queue.0.lock();
        assert!(state.lines.is_empty() && state.turns.is_empty() && state.waiting == 0, "nothing is left behind");
    }

    #[tokio::test]
    async fn a_reader_at_its_limit_leaves_room_for_others() {
        let (queue, all) = (Queue::default(), Room { running: 2, waiting: 2 });
        let own = Room { running: 1, waiting: 1 };
        let turn = queue.turn(&reader("a"), all, own, soon()).await.unwrap();
        let second = tokio::spawn({
            let queue = queue.clone();
            async move { queue.turn(&reader("a"), all, own, soon()).await }
        });
        until_waiting(&queue, 1).await;
        let third = queue.turn(&reader("a"), all, own, soon()).await;
        assert_eq!(third.err(), Some(NoTurn::LineFull(1)));
        let other = queue.turn(&reader("b"), all, own, soon()).await;
        assert!(other.is_ok(), "another reader has its own room");
        drop(turn);
        assert!(second.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_reader_that_narrows_its_scope_stays_in_its_line() {
        let (queue, all) = (Queue::default(), Room { running: 3, waiting: 3 });
        let own = Room { running: 1, waiting: 1 };
        let narrowed = |name: &str, tenant: &str| Reading {
            scope: Scope::only(TenantId::try_new(tenant).unwrap()),
            ..reader(name)
        };
        let _turn = queue.turn(&narrowed("a", "x"), all, own, soon()).await.unwrap();
        let at_once = Instant::now();
        let second = queue.turn(&narrowed("a", "y"), all, own, at_once).await;
        assert_eq!(second.err(), Some(NoTurn::TimedOut));
        assert!(queue.turn(&narrowed("b", "x"), all, own, at_once).await.is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_time_in_it_ends() {
        let (queue, all) = (Queue::default(), Room { running: 1, waiting: 1 });
        let turn = queue.turn(&reader("a"), all, PLENTY, soon()).await.unwrap();
        let late = queue.turn(&reader("b"), all, PLENTY, Instant::now() + Duration::from_millis(1)).await;
        assert_eq!(late.err(), Some(NoTurn::TimedOut));
        let gone = tokio::spawn({
            let queue = queue.clone();
            async move { queue.turn(&reader("b"), all, PLENTY, soon()).await.map(drop) }
        });
        until_waiting(&queue, 1).await;
        assert_eq!(queue.turn(&reader("c"), all, PLENTY, soon()).await.err(), Some(NoTurn::QueueFull(1)));
        gone.abort();
        assert!(gone.await.is_err());
        until_waiting(&queue, 0).await;
        drop(turn);
        assert!(queue.turn(&reader("c"), all, PLENTY, soon()).await.is_ok());
    }
}
