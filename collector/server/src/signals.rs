//! What the system tells the program: SIGTERM and SIGINT end it, SIGHUP reloads.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::reload::Reload;

/// Received from the moment that this is made; before, each of them would kill the program.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn try_new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves at SIGTERM or SIGINT.
    pub(crate) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Resolves at SIGTERM or SIGINT; SIGHUP reloads meanwhile.
    pub(crate) async fn end_after_reloads(&mut self, reload: &Reload) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Its outcome is logged there; the old configuration stays in force if it failed.
                _ = self.hangup.recv() => drop(reload.reload("SIGHUP").await),
            }
        }
    }
}
